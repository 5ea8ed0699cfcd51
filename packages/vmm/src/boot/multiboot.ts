/** Multiboot 1 (Multiboot Specification 0.6.96): how a kernel asks to be loaded, and what it is told. */
import { encodeUtf8 } from "@hvjournal/core";
import { BootError } from "./boot-error.js";
import type { KernelFile, LoadedSegment, RamRange } from "./kernel-format.js";
import { type MemoryRange, MemoryType, ONE_MEBIBYTE } from "./memory-map.js";
import type { BootInformation } from "./pvh-start-info.js";

/** Section 3.1.1. */
const HEADER_MAGIC = 0x1bad_b002;
const SEARCH_BYTES = 8192;
const HEADER_ALIGNMENT = 4;
const HeaderOffset = { flags: 4, checksum: 8, header: 12, load: 16, loadEnd: 20, clearEnd: 24, entry: 28 } as const;
const HEADER_BYTES_MIN = 12;
/** Bits 0 to 15 must be understood; of these the first two are, page-aligned modules and memory information. */
const REQUIRED_FLAGS = 0xffff;
const UNDERSTOOD_FLAGS = 0b11;
/** The header's own addresses count, and not those of the executable's format. */
const HAS_ADDRESSES = 1 << 16;
const HEADER_BYTES_WITH_ADDRESSES = 32;

/** Section 3.2: EAX at the entry. */
export const MULTIBOOT_LOADER_MAGIC = 0x2bad_b002;

export interface MultibootHeader {
  readonly offset: number;
  readonly flags: number;
}

export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(SEARCH_BYTES, bytes.length) - HEADER_BYTES_MIN;
  for (let offset = 0; offset <= end; offset += HEADER_ALIGNMENT) {
    if (view.getUint32(offset, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(offset + HeaderOffset.flags, true);
    const sum = HEADER_MAGIC + flags + view.getUint32(offset + HeaderOffset.checksum, true);
    if (sum >>> 0 === 0) return { offset, flags };
  }
  return undefined;
}

export function hasLoadAddresses({ flags }: MultibootHeader): boolean {
  return (flags & HAS_ADDRESSES) !== 0;
}

/** Throws `BootError` for a kernel that asks for something that there isn't. */
export function checkMultiboot({ name }: KernelFile, { flags }: MultibootHeader): void {
  const unknown = flags & REQUIRED_FLAGS & ~UNDERSTOOD_FLAGS;
  if (unknown !== 0) {
    throw new BootError(
      `can't boot ${name}: its Multiboot header requires 0x${unknown.toString(16)}, which is not there`,
    );
  }
}

export interface MultibootImage {
  readonly segments: readonly LoadedSegment[];
  readonly entry: number;
  readonly end: number;
}

/** By the addresses of its header (3.1.3), whatever format the file has. */
export function loadByAddresses(file: KernelFile, { offset }: MultibootHeader, ram: RamRange): MultibootImage {
  const { bytes, name } = file;
  if (offset + HEADER_BYTES_WITH_ADDRESSES > bytes.length) {
    throw new BootError(`can't boot ${name}: it is truncated: its Multiboot header is not all there`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const field = (at: number): number => view.getUint32(offset + at, true);
  const load = field(HeaderOffset.load);
  const start = offset - (field(HeaderOffset.header) - load);
  const loadEnd = field(HeaderOffset.loadEnd) || load + bytes.length - start;
  const end = Math.max(field(HeaderOffset.clearEnd), loadEnd);
  if (start < 0 || start + (loadEnd - load) > bytes.length) {
    throw new BootError(
      `can't boot ${name}: it is truncated: its Multiboot header loads more than ${bytes.length} bytes`,
    );
  }
  if (end > ram.base + ram.bytes) {
    throw new BootError(`can't boot ${name}: it takes RAM up to 0x${end.toString(16)}, which has ${ram.bytes} bytes`);
  }
  return {
    segments: [{ address: load, bytes: bytes.subarray(start, start + loadEnd - load) }],
    entry: field(HeaderOffset.entry),
    end,
  };
}

/** Section 3.3. */
const INFORMATION_BYTES = 116;
const InformationOffset = {
  flags: 0,
  lowerKibibytes: 4,
  upperKibibytes: 8,
  commandLine: 16,
  moduleCount: 20,
  modules: 24,
  memoryMapBytes: 44,
  memoryMap: 48,
  loaderName: 64,
} as const;
const InformationFlag = { memory: 1, commandLine: 4, modules: 8, memoryMap: 64, loaderName: 512 } as const;
const MODULE_BYTES = 16;
/** With its size in front, which does not count itself. */
const MEMORY_MAP_ENTRY_BYTES = 24;
const LOADER_NAME = "hvjournal\0";
const KIBIBYTE = 1024;

function bytesFrom(memoryMap: readonly MemoryRange[], base: number): number {
  return memoryMap.find((range) => range.type === MemoryType.usable && range.base === base)?.bytes ?? 0;
}

/** With its lists behind it. */
export function multibootInformation(information: BootInformation): Uint8Array {
  const { address, modules, memoryMap } = information;
  const modulesOffset = INFORMATION_BYTES;
  const mapOffset = modulesOffset + modules.length * MODULE_BYTES;
  const nameOffset = mapOffset + memoryMap.length * MEMORY_MAP_ENTRY_BYTES;
  const bytes = new Uint8Array(nameOffset + LOADER_NAME.length);
  const view = new DataView(bytes.buffer);
  const put = (at: number, value: number): void => view.setUint32(at, value, true);
  const { memory, commandLine, modules: hasModules, memoryMap: hasMap, loaderName } = InformationFlag;
  put(InformationOffset.flags, memory | commandLine | hasModules | hasMap | loaderName);
  put(InformationOffset.lowerKibibytes, Math.floor(bytesFrom(memoryMap, 0) / KIBIBYTE));
  put(InformationOffset.upperKibibytes, Math.floor(bytesFrom(memoryMap, ONE_MEBIBYTE) / KIBIBYTE));
  put(InformationOffset.commandLine, information.commandLineAddress);
  put(InformationOffset.moduleCount, modules.length);
  put(InformationOffset.modules, address + modulesOffset);
  put(InformationOffset.memoryMapBytes, memoryMap.length * MEMORY_MAP_ENTRY_BYTES);
  put(InformationOffset.memoryMap, address + mapOffset);
  put(InformationOffset.loaderName, address + nameOffset);
  modules.forEach((module, index) => {
    const at = modulesOffset + index * MODULE_BYTES;
    put(at, module.address);
    put(at + 4, module.address + module.bytes);
    put(at + 8, information.commandLineAddress);
  });
  memoryMap.forEach(({ base, bytes: length, type }, index) => {
    const at = mapOffset + index * MEMORY_MAP_ENTRY_BYTES;
    put(at, MEMORY_MAP_ENTRY_BYTES - 4);
    view.setBigUint64(at + 4, BigInt(base), true);
    view.setBigUint64(at + 12, BigInt(length), true);
    put(at + 20, type);
  });
  bytes.set(encodeUtf8(LOADER_NAME), nameOffset);
  return bytes;
}
