/** The x86 Linux `bzImage`, entered in 64-bit mode (Linux, Documentation/arch/x86/boot.rst). */
import { BootError } from "./boot-error.js";
import type { KernelFile, RamRange } from "./kernel-format.js";
import type { X86Kernel } from "./x86-kernel-format.js";

const SECTOR_BYTES = 512;
/** Setup sectors that a header means which says 0. */
const SETUP_SECTORS_DEFAULT = 4;
const HEADER_MAGIC = 0x5372_6448;
const BOOT_FLAG = 0xaa55;
const PARAGRAPH_BYTES = 16;
/** 2.12: xloadflags, which say whether there is a 64-bit entry. */
const PROTOCOL_MIN = 0x20c;
const LOADED_HIGH = 1;
const KERNEL_64 = 1;
const ENTRY_64_OFFSET = 0x200;
const COMMAND_LINE_BYTES_DEFAULT = 255;

/** From the start of the file; those of the header are the same in the zero page. */
export const BzImageOffset = {
  setupSectors: 0x1f1,
  systemParagraphs: 0x1f4,
  bootFlag: 0x1fe,
  /** The second byte of a jump, which ends where the header ends. */
  jump: 0x201,
  magic: 0x202,
  version: 0x206,
  loaderType: 0x210,
  loadFlags: 0x211,
  initrdAddress: 0x218,
  initrdBytes: 0x21c,
  commandLine: 0x228,
  initrdAddressMax: 0x22c,
  kernelAlignment: 0x230,
  relocatable: 0x234,
  extendedLoadFlags: 0x236,
  commandLineBytesMax: 0x238,
  setupData: 0x250,
  preferredAddress: 0x258,
  initBytes: 0x260,
} as const;
const HEADER_START = BzImageOffset.setupSectors;
const HEADER_END_MIN = BzImageOffset.initBytes + 4;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function isBzImage(bytes: Uint8Array): boolean {
  return bytes.length >= BzImageOffset.version && viewOf(bytes).getUint32(BzImageOffset.magic, true) === HEADER_MAGIC;
}

function checkHeader({ bytes, name }: KernelFile, view: DataView): void {
  if (bytes.length < HEADER_END_MIN) {
    throw new BootError(`can't boot ${name}: it is truncated: ${bytes.length} bytes, within a bzImage's header`);
  }
  if (view.getUint16(BzImageOffset.bootFlag, true) !== BOOT_FLAG) {
    throw new BootError(`can't boot ${name}: it is a damaged bzImage: no 0xaa55 at the end of its first sector`);
  }
  const version = view.getUint16(BzImageOffset.version, true);
  const shown = `${version >> 8}.${String(version & 0xff).padStart(2, "0")}`;
  if (version < PROTOCOL_MIN) {
    throw new BootError(
      `can't boot ${name}: it has boot protocol ${shown}; 2.12, of Linux 3.8, is the first with a 64-bit entry`,
    );
  }
  if ((view.getUint8(BzImageOffset.loadFlags) & LOADED_HIGH) === 0) {
    throw new BootError(`can't boot ${name}: it is a zImage, which is loaded below 1 MiB; build a bzImage`);
  }
  if ((view.getUint16(BzImageOffset.extendedLoadFlags, true) & KERNEL_64) === 0) {
    throw new BootError(`can't boot ${name}: it is a 32-bit kernel (no XLF_KERNEL_64); take one for amd64`);
  }
}

/** The kernel proper, behind its setup sectors. */
function payload({ bytes, name }: KernelFile, view: DataView): Uint8Array {
  const sectors = view.getUint8(BzImageOffset.setupSectors) || SETUP_SECTORS_DEFAULT;
  const start = (sectors + 1) * SECTOR_BYTES;
  const expected = start + view.getUint32(BzImageOffset.systemParagraphs, true) * PARAGRAPH_BYTES;
  // The size counts whole paragraphs, so up to 15 bytes of it need not be there.
  if (bytes.length <= expected - PARAGRAPH_BYTES) {
    throw new BootError(`can't boot ${name}: it is truncated: ${bytes.length} of ${expected} bytes`);
  }
  return bytes.subarray(start);
}

/** Where it would rather be, so that it needn't move itself; in a smaller RAM as low as it can go. */
function loadAddress({ name }: KernelFile, view: DataView, ram: RamRange): { address: number; takes: number } {
  const takes = view.getUint32(BzImageOffset.initBytes, true);
  const preferred = Number(view.getBigUint64(BzImageOffset.preferredAddress, true));
  const alignment = view.getUint32(BzImageOffset.kernelAlignment, true);
  const isRelocatable = view.getUint8(BzImageOffset.relocatable) !== 0;
  const fits = (address: number): boolean => address + takes <= ram.base + ram.bytes;
  const places = isRelocatable ? [preferred, alignment] : [preferred];
  const address = places.find(fits);
  if (address === undefined) {
    throw new BootError(
      `can't boot ${name}: it takes ${takes} bytes from 0x${preferred.toString(16)} on, and RAM has ${ram.bytes}; give it more memory`,
    );
  }
  return { address, takes };
}

/** Throws `BootError` when it is truncated, for 32 bits, of an old protocol, or larger than RAM. */
export function loadBzImage(file: KernelFile, ram: RamRange): X86Kernel {
  const view = viewOf(file.bytes);
  checkHeader(file, view);
  const kernel = payload(file, view);
  const { address, takes } = loadAddress(file, view, ram);
  const headerEnd = BzImageOffset.jump + 1 + view.getUint8(BzImageOffset.jump);
  return {
    format: "bzImage",
    protocol: {
      kind: "linux",
      setupHeader: file.bytes.slice(HEADER_START, headerEnd),
      initrdAddressMax: view.getUint32(BzImageOffset.initrdAddressMax, true),
      commandLineBytesMax: view.getUint32(BzImageOffset.commandLineBytesMax, true) || COMMAND_LINE_BYTES_DEFAULT,
    },
    segments: [{ address, bytes: kernel }],
    entry: address + ENTRY_64_OFFSET,
    end: address + Math.max(takes, kernel.length),
  };
}
