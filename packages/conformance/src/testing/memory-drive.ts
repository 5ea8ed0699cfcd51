/** Disk images that tests make up, and that can vanish. */
import type { BlockBackend } from "@hvjournal/core";
import { createHash } from "node:crypto";
import { RandomSource } from "../arm64/random-source.js";

export const SECTOR_BYTES = 512;

export interface MemoryDrive extends BlockBackend {
  /** From now on reading it is an error: what needs the image fails. */
  remove(): void;
}

/** `content` stays as it is: what a guest writes is kept by the VM. */
export function memoryDrive(id: string, content: Uint8Array, readOnly = false): MemoryDrive {
  let isRemoved = false;
  return {
    id,
    bytes: content.length,
    readOnly,
    read(offset, bytes) {
      if (isRemoved) throw new Error(`drive ${id} is gone, and ${bytes} bytes at ${offset} are read`);
      return content.slice(offset, offset + bytes);
    },
    fingerprint: () => createHash("sha256").update(content).digest("hex"),
    remove() {
      isRemoved = true;
    },
  };
}

/** Sectors of random bytes, the same for the same seed. */
export function randomSectors(sectors: number, seed: number): Uint8Array {
  const random = new RandomSource(seed);
  const words = Uint32Array.from({ length: (sectors * SECTOR_BYTES) / 4 }, () => random.word());
  return new Uint8Array(words.buffer);
}
