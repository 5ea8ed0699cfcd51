/** Resource descriptors of a device's _CRS (ACPI 6.5, 6.4). */
import { concatenate } from "./byte-pieces.js";

const END_TAG = 0x79;
const Small = { irq: 0x22, io: 0x47 } as const;
const Large = { fixedMemory32: 0x86, extendedInterrupt: 0x89 } as const;
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

/** A checksum of 0 is not looked at (6.4.2.9). */
export function resourceTemplate(descriptors: readonly Uint8Array[]): Uint8Array {
  return concatenate([...descriptors, Uint8Array.of(END_TAG, 0)]);
}
