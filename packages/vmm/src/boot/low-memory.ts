/** Below 640 KiB, what a loader leaves for an x86 kernel: each kind of table has its place. */
import { BootError } from "./boot-error.js";

export const LOW_MEMORY = {
  descriptorTable: 0x1000,
  /** Zero page, PVH's or Multiboot's information, and the memory map and module list that go with it. */
  bootInformation: 0x7000,
  /** A page of the top level, one of the next, and `PAGE_DIRECTORIES` of the last. */
  pageTables: 0x9000,
  commandLine: 0x2_0000,
  setupData: 0x2_1000,
} as const;

export const COMMAND_LINE_BYTES_MAX = LOW_MEMORY.setupData - LOW_MEMORY.commandLine - 1;

/** 4 GiB, what a 32-bit address reaches: RAM and every device. */
const PAGE_DIRECTORIES = 4;
const PAGE_BYTES = 4096;
const ENTRIES = 512;
const LARGE_PAGE_BYTES = 2 * 1024 * 1024;
const PageFlag = { presentWritable: 3n, large: 1n << 7n } as const;

/** Guest addresses are physical addresses, with pages of 2 MiB. */
export function identityPageTables(): Uint8Array {
  const bytes = new Uint8Array((2 + PAGE_DIRECTORIES) * PAGE_BYTES);
  const view = new DataView(bytes.buffer);
  const at = (page: number): bigint => BigInt(LOW_MEMORY.pageTables + page * PAGE_BYTES);
  view.setBigUint64(0, at(1) | PageFlag.presentWritable, true);
  for (let directory = 0; directory < PAGE_DIRECTORIES; directory += 1) {
    view.setBigUint64(PAGE_BYTES + directory * 8, at(2 + directory) | PageFlag.presentWritable, true);
  }
  for (let index = 0; index < PAGE_DIRECTORIES * ENTRIES; index += 1) {
    const page = BigInt(index * LARGE_PAGE_BYTES);
    view.setBigUint64(2 * PAGE_BYTES + index * 8, page | PageFlag.presentWritable | PageFlag.large, true);
  }
  return bytes;
}

const Descriptor = {
  null: 0n,
  code64: 0x00af_9b00_0000_ffffn,
  code32: 0x00cf_9b00_0000_ffffn,
  data: 0x00cf_9300_0000_ffffn,
} as const;

/** Linux's __BOOT_CS and __BOOT_DS, and a 32-bit code segment behind them. */
const DESCRIPTORS = [Descriptor.null, Descriptor.null, Descriptor.code64, Descriptor.data, Descriptor.code32];
export const SELECTOR = { code64: 0x10, data: 0x18, code32: 0x20 } as const;

export function descriptorTable(): Uint8Array {
  const bytes = new Uint8Array(DESCRIPTORS.length * 8);
  const view = new DataView(bytes.buffer);
  DESCRIPTORS.forEach((descriptor, index) => view.setBigUint64(index * 8, descriptor, true));
  return bytes;
}

/** With its final zero byte. Throws `BootError` for one that its kernel would cut, or that has no room. */
export function commandLineBytes(kernelName: string, text: Uint8Array, bytesMax: number): Uint8Array {
  const most = Math.min(bytesMax, COMMAND_LINE_BYTES_MAX);
  if (text.length > most) {
    throw new BootError(`can't boot ${kernelName}: its command line has ${text.length} bytes, it takes ${most}`);
  }
  const bytes = new Uint8Array(text.length + 1);
  bytes.set(text);
  return bytes;
}
