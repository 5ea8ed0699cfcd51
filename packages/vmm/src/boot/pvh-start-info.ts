/** What a PVH guest is told (Xen, public/arch-x86/hvm/start_info.h, version 1). */
import type { MemoryRange } from "./memory-map.js";

export interface BootModule {
  readonly address: number;
  readonly bytes: number;
}

export interface BootInformation {
  /** Where it will lie. */
  readonly address: number;
  readonly commandLineAddress: number;
  readonly modules: readonly BootModule[];
  readonly rsdpAddress: number;
  readonly memoryMap: readonly MemoryRange[];
}

const MAGIC = 0x336e_c578;
const VERSION = 1;
const START_INFO_BYTES = 56;
const StartInfoOffset = {
  version: 4,
  moduleCount: 12,
  modules: 16,
  commandLine: 24,
  rsdp: 32,
  memoryMap: 40,
  memoryMapEntries: 48,
} as const;
const MODULE_BYTES = 32;
const MEMORY_MAP_ENTRY_BYTES = 24;

/** With its lists behind it. */
export function pvhStartInfo(information: BootInformation): Uint8Array {
  const { address, modules, memoryMap } = information;
  const modulesOffset = START_INFO_BYTES;
  const mapOffset = modulesOffset + modules.length * MODULE_BYTES;
  const bytes = new Uint8Array(mapOffset + memoryMap.length * MEMORY_MAP_ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(StartInfoOffset.version, VERSION, true);
  view.setUint32(StartInfoOffset.moduleCount, modules.length, true);
  view.setBigUint64(StartInfoOffset.modules, BigInt(modules.length > 0 ? address + modulesOffset : 0), true);
  view.setBigUint64(StartInfoOffset.commandLine, BigInt(information.commandLineAddress), true);
  view.setBigUint64(StartInfoOffset.rsdp, BigInt(information.rsdpAddress), true);
  view.setBigUint64(StartInfoOffset.memoryMap, BigInt(address + mapOffset), true);
  view.setUint32(StartInfoOffset.memoryMapEntries, memoryMap.length, true);
  modules.forEach((module, index) => {
    view.setBigUint64(modulesOffset + index * MODULE_BYTES, BigInt(module.address), true);
    view.setBigUint64(modulesOffset + index * MODULE_BYTES + 8, BigInt(module.bytes), true);
  });
  memoryMap.forEach(({ base, bytes: length, type }, index) => {
    const at = mapOffset + index * MEMORY_MAP_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(base), true);
    view.setBigUint64(at + 8, BigInt(length), true);
    view.setUint32(at + 16, type, true);
  });
  return bytes;
}
