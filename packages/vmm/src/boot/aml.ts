/** ACPI Machine Language, as much of it as describes a machine that never changes (ACPI 6.5, chapter 20). */
import { encodeUtf8 } from "@hvjournal/core";
import { concatenate } from "./byte-pieces.js";

const Opcode = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  bytePrefix: 0x0a,
  wordPrefix: 0x0b,
  dwordPrefix: 0x0c,
  stringPrefix: 0x0d,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  extension: 0x5b,
  device: 0x82,
} as const;

const NAME_SEGMENT = /^\\?[A-Z_][A-Z0-9_]{0,3}$/;
const NAME_BYTES = 4;

/** Name segments have four characters; shorter ones end in underscores (20.2.2). */
function nameString(name: string): Uint8Array {
  if (!NAME_SEGMENT.test(name)) throw new RangeError(`${name} is no ACPI name`);
  const root = name.startsWith("\\") ? "\\" : "";
  return encodeUtf8(root + name.slice(root.length).padEnd(NAME_BYTES, "_"));
}

/** Counts itself. With 0 to 3 bytes behind the first, which then holds the low four bits (20.2.4). */
function packageLength(contentBytes: number): Uint8Array {
  if (contentBytes + 1 < 0x40) return Uint8Array.of(contentBytes + 1);
  for (let following = 1; following <= 3; following += 1) {
    const length = contentBytes + 1 + following;
    if (length < 1 << (4 + 8 * following)) {
      const rest = Array.from({ length: following }, (_, index) => (length >> (4 + 8 * index)) & 0xff);
      return Uint8Array.of((following << 6) | (length & 0xf), ...rest);
    }
  }
  throw new RangeError(`${contentBytes} bytes are too many for an AML package`);
}

function counted(opcode: readonly number[], content: Uint8Array): Uint8Array {
  return concatenate([Uint8Array.from(opcode), packageLength(content.length), content]);
}

export function amlInteger(value: number): Uint8Array {
  if (value === 0) return Uint8Array.of(Opcode.zero);
  if (value === 1) return Uint8Array.of(Opcode.one);
  if (value <= 0xff) return Uint8Array.of(Opcode.bytePrefix, value);
  if (value <= 0xffff) return Uint8Array.of(Opcode.wordPrefix, value & 0xff, value >> 8);
  return Uint8Array.of(Opcode.dwordPrefix, ...[0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff));
}

export function amlString(text: string): Uint8Array {
  return concatenate([Uint8Array.of(Opcode.stringPrefix), encodeUtf8(text), Uint8Array.of(0)]);
}

export function amlBuffer(content: Uint8Array): Uint8Array {
  return counted([Opcode.buffer], concatenate([amlInteger(content.length), content]));
}

export function amlPackage(elements: readonly Uint8Array[]): Uint8Array {
  return counted([Opcode.package], concatenate([Uint8Array.of(elements.length), ...elements]));
}

export function amlName(name: string, value: Uint8Array): Uint8Array {
  return concatenate([Uint8Array.of(Opcode.name), nameString(name), value]);
}

export function amlScope(name: string, terms: readonly Uint8Array[]): Uint8Array {
  return counted([Opcode.scope], concatenate([nameString(name), ...terms]));
}

export function amlDevice(name: string, terms: readonly Uint8Array[]): Uint8Array {
  return counted([Opcode.extension, Opcode.device], concatenate([nameString(name), ...terms]));
}

/** "PNP0501" in 32 bits: three letters of five bits, four hexadecimal digits, most significant byte first (19.3.4). */
export function amlEisaId(id: string): Uint8Array {
  const [, letters = "", digits = ""] = /^([A-Z]{3})([0-9A-F]{4})$/.exec(id) ?? [];
  if (letters === "") throw new RangeError(`${id} is no EISA id`);
  const packed = encodeUtf8(letters).reduce((sum, letter) => (sum << 5) | (letter & 0x1f), 0);
  const number = Number.parseInt(digits, 16);
  return Uint8Array.of(Opcode.dwordPrefix, packed >> 8, packed & 0xff, number >> 8, number & 0xff);
}
