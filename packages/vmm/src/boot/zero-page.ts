/** Linux's `boot_params`, the zero page (Linux, Documentation/arch/x86/zero-page.rst; arch/x86/include/uapi/asm/bootparam.h). */
import { BzImageOffset } from "./bz-image.js";
import type { MemoryRange } from "./memory-map.js";

export interface ZeroPageOptions {
  readonly setupHeader: Uint8Array;
  readonly commandLineAddress: number;
  readonly initrd: { readonly address: number; readonly bytes: number } | undefined;
  readonly rsdpAddress: number;
  readonly setupDataAddress: number;
  readonly memoryMap: readonly MemoryRange[];
}

const ZERO_PAGE_BYTES = 4096;
const ZeroPageOffset = { rsdpAddress: 0x70, memoryMapEntries: 0x1e8, memoryMap: 0x2d0 } as const;
const MEMORY_MAP_ENTRY_BYTES = 20;
/** A loader without a number of its own. */
const LOADER_TYPE_UNDEFINED = 0xff;

export function zeroPage(options: ZeroPageOptions): Uint8Array {
  const { setupHeader, initrd, memoryMap } = options;
  const bytes = new Uint8Array(ZERO_PAGE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(setupHeader, BzImageOffset.setupSectors);
  bytes[BzImageOffset.loaderType] = LOADER_TYPE_UNDEFINED;
  view.setUint32(BzImageOffset.commandLine, options.commandLineAddress, true);
  view.setUint32(BzImageOffset.initrdAddress, initrd?.address ?? 0, true);
  view.setUint32(BzImageOffset.initrdBytes, initrd?.bytes ?? 0, true);
  view.setBigUint64(BzImageOffset.setupData, BigInt(options.setupDataAddress), true);
  view.setBigUint64(ZeroPageOffset.rsdpAddress, BigInt(options.rsdpAddress), true);
  bytes[ZeroPageOffset.memoryMapEntries] = memoryMap.length;
  memoryMap.forEach(({ base, bytes: length, type }, index) => {
    const at = ZeroPageOffset.memoryMap + index * MEMORY_MAP_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(base), true);
    view.setBigUint64(at + 8, BigInt(length), true);
    view.setUint32(at + 16, type, true);
  });
  return bytes;
}

const SETUP_DATA_HEADER_BYTES = 16;
const SETUP_RNG_SEED = 9;

/** A `setup_data` list of one element: entropy for the guest's random number generator. */
export function seedSetupData(seed: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(SETUP_DATA_HEADER_BYTES + seed.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, SETUP_RNG_SEED, true);
  view.setUint32(12, seed.length, true);
  bytes.set(seed, SETUP_DATA_HEADER_BYTES);
  return bytes;
}
