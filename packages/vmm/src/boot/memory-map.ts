/** What the `pc` board's guests are told of its memory, in the types of INT 15h, E820h, which all boot protocols use. */
import { PC_ADDRESS_MAP } from "../board/pc-address-map.js";

export const MemoryType = { usable: 1, reserved: 2 } as const;

export interface MemoryRange {
  readonly base: number;
  readonly bytes: number;
  readonly type: number;
}

export const ONE_MEBIBYTE = 1024 * 1024;

export function pcMemoryMap(memoryBytes: number): MemoryRange[] {
  const { firmwareArea, conventionalMemoryBytes, ram } = PC_ADDRESS_MAP;
  const conventional = Math.min(memoryBytes, conventionalMemoryBytes);
  const ranges = [
    { base: ram.base, bytes: conventional, type: MemoryType.usable },
    { ...firmwareArea, type: MemoryType.reserved },
    { base: ONE_MEBIBYTE, bytes: memoryBytes - ONE_MEBIBYTE, type: MemoryType.usable },
  ];
  return ranges.filter(({ bytes }) => bytes > 0);
}
