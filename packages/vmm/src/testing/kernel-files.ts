/** Small kernel files of each kind. */
import { encodeUtf8 } from "@hvjournal/core";

/** An arm64 `Image` header on `bytes` bytes. */
export function arm64Image(
  bytes: number,
  fields: { readonly textOffset?: number; readonly imageBytes?: number; readonly flags?: number } = {},
): Uint8Array {
  const image = new Uint8Array(bytes);
  const view = new DataView(image.buffer);
  view.setBigUint64(8, BigInt(fields.textOffset ?? 0), true);
  view.setBigUint64(16, BigInt(fields.imageBytes ?? bytes), true);
  view.setBigUint64(24, BigInt(fields.flags ?? 0xa), true);
  view.setUint32(56, 0x644d_5241, true);
  return image;
}

export interface TestSegment {
  readonly virtual: bigint;
  readonly physical: bigint;
  readonly content: readonly number[];
  readonly memoryBytes?: number;
  readonly isNote?: boolean;
}

export interface TestNote {
  readonly owner: string;
  readonly type: number;
  readonly content: readonly number[];
}

/** An ELF note, padded. */
export function elfNote({ owner, type, content }: TestNote): number[] {
  const name = [...encodeUtf8(`${owner}\0`)];
  const padded = (bytes: readonly number[]): number[] => [...bytes, ...Array<number>(-bytes.length & 3).fill(0)];
  const words = Uint32Array.of(name.length, content.length, type);
  return [...new Uint8Array(words.buffer), ...padded(name), ...padded(content)];
}

/** An ELF64 executable; a segment whose `isNote` is set holds notes. */
export function elf(entry: bigint, segments: readonly TestSegment[], machine = 183): Uint8Array {
  const headers = 64 + segments.length * 56;
  const file = new Uint8Array(headers + segments.reduce((sum, { content }) => sum + content.length, 0));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(24, entry, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, segments.length, true);
  let offset = headers;
  segments.forEach(({ virtual, physical, content, memoryBytes, isNote = false }, index) => {
    const at = 64 + index * 56;
    view.setUint32(at, isNote ? 4 : 1, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, virtual, true);
    view.setBigUint64(at + 24, physical, true);
    view.setBigUint64(at + 32, BigInt(content.length), true);
    view.setBigUint64(at + 40, BigInt(memoryBytes ?? content.length), true);
    file.set(content, offset);
    offset += content.length;
  });
  return file;
}
