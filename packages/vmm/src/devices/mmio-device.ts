/** What the board asks of a device behind memory-mapped registers. */
import type { StateSection, VmmPort } from "@hvjournal/core";

/** Takes one section out of a saved machine; throws `StateSectionError` when it is missing. */
export type TakeSection = (name: string) => StateSection;

export interface MmioDevice {
  /** As `log` prints it, and the end of its section's name: "pl011", "virtio-blk0". */
  readonly name: string;
  /**
   * A naturally aligned read of 1, 2 or 4 bytes at `offset` from the device's base; the value fills
   * the low bits. Registers that do not exist read as zero.
   */
  read(offset: number, bytes: number, port: VmmPort): number;
  /** A naturally aligned write of 1, 2 or 4 bytes. Writes to what does not exist are ignored. */
  write(offset: number, bytes: number, value: number, port: VmmPort): void;
  save(): StateSection[];
  restore(take: TakeSection): void;
}

/**
 * One lane of a 32-bit register on a bus that always transfers words: APB peripherals do not
 * know of narrower accesses.
 */
export function laneOfWord(word: number, offset: number, bytes: number): number {
  const lane = word >>> ((offset & 3) * 8);
  return bytes === 4 ? lane : lane & ((1 << (bytes * 8)) - 1);
}
