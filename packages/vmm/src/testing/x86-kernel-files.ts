/** Small x86 kernel files. */
import { encodeUtf8 } from "@hvjournal/core";
import type { TestSegment } from "./kernel-files.js";

const SETUP_BYTES = 1024;

export interface BzImageFields {
  readonly version?: number;
  readonly loadFlags?: number;
  readonly extendedLoadFlags?: number;
  readonly bootFlag?: number;
  readonly preferredAddress?: number;
  readonly initBytes?: number;
  readonly relocatable?: number;
  readonly initrdAddressMax?: number;
  readonly commandLineBytesMax?: number;
}

/** Two setup sectors, and `bytes` bytes of kernel that tell their place. */
export function bzImage(bytes: number, fields: BzImageFields = {}): Uint8Array {
  const image = new Uint8Array(SETUP_BYTES + bytes);
  const view = new DataView(image.buffer);
  view.setUint8(0x1f1, 1);
  view.setUint32(0x1f4, Math.ceil(bytes / 16), true);
  view.setUint16(0x1fe, fields.bootFlag ?? 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  image.set(encodeUtf8("HdrS"), 0x202);
  view.setUint16(0x206, fields.version ?? 0x20f, true);
  view.setUint8(0x211, fields.loadFlags ?? 1);
  view.setUint32(0x22c, fields.initrdAddressMax ?? 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  view.setUint8(0x234, fields.relocatable ?? 1);
  view.setUint16(0x236, fields.extendedLoadFlags ?? 0x7f, true);
  view.setUint32(0x238, fields.commandLineBytesMax ?? 2047, true);
  view.setBigUint64(0x258, BigInt(fields.preferredAddress ?? 0x100_0000), true);
  view.setUint32(0x260, fields.initBytes ?? 0x100_0000, true);
  image.fill(0x5a, SETUP_BYTES);
  return image;
}

/** An ELF32 executable for i386, of one segment at offset 0x100. */
export function elf32(entry: number, { physical, content, memoryBytes }: TestSegment): Uint8Array {
  const file = new Uint8Array(0x100 + content.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 3, true);
  view.setUint32(24, entry, true);
  view.setUint32(28, 52, true);
  view.setUint16(42, 32, true);
  view.setUint16(44, 1, true);
  const segment = [1, 0x100, Number(physical), Number(physical), content.length, memoryBytes ?? content.length];
  segment.forEach((value, index) => view.setUint32(52 + index * 4, value, true));
  file.set(content, 0x100);
  return file;
}

/** Magic, flags, checksum and what else there is, as words. */
export function multibootHeader(flags: number, ...rest: readonly number[]): number[] {
  const words = Uint32Array.of(0x1bad_b002, flags, -(0x1bad_b002 + flags), ...rest);
  return [...new Uint8Array(words.buffer)];
}
