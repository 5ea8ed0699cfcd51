/** Input and output blocks of a hypercall in guest memory, by the rules that KVM leaves to the VMM (TLFS, 3.7). */
import { PAGE_BYTES } from "@hvjournal/core";
import { HvStatus } from "@hvjournal/cpu-x86";

const ALIGNMENT_MASK = 7n;
const PAGE_MASK = BigInt(PAGE_BYTES - 1);

/** What reads guest memory, and knows where it ends; the port of a board, or a handler's VM. */
export interface BlockMemory {
  readonly context?: { readonly memoryBytes: number };
  readonly memoryBytes?: number;
  readMemory(physical: number, bytes: number): Uint8Array;
}

/**
 * What is wrong with a block's place: 4 (INVALID_ALIGNMENT) where it is not aligned to 8 bytes or crosses a page, 8
 * (OPERATION_DENIED) where no RAM backs it; undefined: nothing.
 */
export function blockError(memoryBytes: number, address: bigint, bytes: number): number | undefined {
  const crosses = (address & PAGE_MASK) + BigInt(bytes) > BigInt(PAGE_BYTES);
  if ((address & ALIGNMENT_MASK) !== 0n || crosses) return HvStatus.INVALID_ALIGNMENT;
  return address + BigInt(bytes) > BigInt(memoryBytes) ? HvStatus.OPERATION_DENIED : undefined;
}

/** The bytes of a block; a number is the status of a call whose block can't be read. */
export function guestBlock(memory: BlockMemory, address: bigint, bytes: number): Uint8Array | number {
  const memoryBytes = memory.memoryBytes ?? memory.context?.memoryBytes ?? 0;
  return blockError(memoryBytes, address, bytes) ?? memory.readMemory(Number(address), bytes);
}
