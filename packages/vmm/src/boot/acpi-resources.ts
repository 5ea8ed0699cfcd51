/** Resource descriptors of a device's _CRS (ACPI 6.5, 6.4). */
import { concatenate } from "./byte-pieces.js";

const END_TAG = 0x79;
const Small = { irq: 0x22, io: 0x47 } as const;
const Large = { fixedMemory32: 0x86, extendedInterrupt: 0x89, dwordAddress: 0x87, wordAddress: 0x88 } as const;
const IO_DECODE_16 = 1;
const MEMORY_READ_WRITE = 1;
/** A consumer of a level-triggered, active-high interrupt that others may share: devices may have the same line. */
const CONSUMER_LEVEL_HIGH_SHARED = 1 | (1 << 3);

function littleEndian(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => (value >>> (8 * index)) & 0xff);
}

/** An ISA interrupt, edge-triggered and active-high (6.4.2.1, two bytes of mask). */
export function isaInterrupt(line: number): Uint8Array {
  return Uint8Array.of(Small.irq, ...littleEndian(1 << line, 2));
}

/** 6.4.2.5. */
export function ports(base: number, count: number): Uint8Array {
  return Uint8Array.of(Small.io, IO_DECODE_16, ...littleEndian(base, 2), ...littleEndian(base, 2), 1, count);
}

/** 6.4.3.4. */
export function fixedMemory(base: number, bytes: number): Uint8Array {
  const content = [MEMORY_READ_WRITE, ...littleEndian(base, 4), ...littleEndian(bytes, 4)];
  return Uint8Array.of(Large.fixedMemory32, ...littleEndian(content.length, 2), ...content);
}

/** 6.4.3.6. */
export function levelInterrupt(gsi: number): Uint8Array {
  const content = [CONSUMER_LEVEL_HIGH_SHARED, 1, ...littleEndian(gsi, 4)];
  return Uint8Array.of(Large.extendedInterrupt, ...littleEndian(content.length, 2), ...content);
}

/** What a bridge passes on: both ends are fixed (6.4.3.5.5). */
const WINDOW_FIXED = 0b1100;
const Window = { memory: 0, busNumbers: 2 } as const;

/** The buses behind a bridge (6.4.3.5.3). */
export function busNumbers(first: number, last: number): Uint8Array {
  const range = [0, first, last, 0, last - first + 1].flatMap((value) => littleEndian(value, 2));
  const content = [Window.busNumbers, WINDOW_FIXED, 0, ...range];
  return Uint8Array.of(Large.wordAddress, ...littleEndian(content.length, 2), ...content);
}

/** Memory behind a bridge, below 4 GiB (6.4.3.5.2). */
export function memoryWindow(base: number, bytes: number): Uint8Array {
  const range = [0, base, base + bytes - 1, 0, bytes].flatMap((value) => littleEndian(value, 4));
  const content = [Window.memory, WINDOW_FIXED, MEMORY_READ_WRITE, ...range];
  return Uint8Array.of(Large.dwordAddress, ...littleEndian(content.length, 2), ...content);
}

/** A checksum of 0 is not looked at (6.4.2.9). */
export function resourceTemplate(descriptors: readonly Uint8Array[]): Uint8Array {
  return concatenate([...descriptors, Uint8Array.of(END_TAG, 0)]);
}
