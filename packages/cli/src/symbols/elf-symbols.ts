/** The symbol table of a 64-bit little-endian ELF file (System V ABI, chapter 4). */
import type { GuestSymbol } from "@hvjournal/core";

const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const SHT_SYMTAB = 2;
const SHT_DYNSYM = 11;
const SHN_UNDEF = 0;
const SHN_ABS = 0xfff1;
const SYMBOL_BYTES = 24;
const STT_OBJECT = 1;
/** STT_NOTYPE, STT_OBJECT, STT_FUNC. */
const NAMING_TYPES: ReadonlySet<number> = new Set([0, 1, 2]);
const MAPPING_SYMBOL = /^\$[xdt](\.|$)/;
const HEADER_BYTES = 64;

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly bytes: number;
  readonly link: number;
}

/** A string says what is wrong. */
export function readElfSymbols(file: Uint8Array): GuestSymbol[] | string {
  if (file.length < HEADER_BYTES || file[4] !== ELFCLASS64 || file[5] !== ELFDATA2LSB)
    return "it is no 64-bit little-endian ELF file";
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const sections = readSections(view);
  if (typeof sections === "string") return sections;
  const table = sections.find(({ type }) => type === SHT_SYMTAB) ?? sections.find(({ type }) => type === SHT_DYNSYM);
  if (table === undefined) return "the ELF file was stripped: it has no symbol table";
  const strings = sections[table.link];
  if (strings === undefined) return `its symbol table's strings are section ${table.link} of ${sections.length}`;
  return readTable(file, view, table, strings);
}

function readSections(view: DataView): Section[] | string {
  const offset = Number(view.getBigUint64(0x28, true));
  const [entryBytes, count] = [view.getUint16(0x3a, true), view.getUint16(0x3c, true)];
  if (offset + entryBytes * count > view.byteLength) return "its section headers lie outside of the file";
  const sections = Array.from({ length: count }, (_, index): Section => {
    const at = offset + index * entryBytes;
    return {
      type: view.getUint32(at + 4, true),
      offset: Number(view.getBigUint64(at + 0x18, true)),
      bytes: Number(view.getBigUint64(at + 0x20, true)),
      link: view.getUint32(at + 0x28, true),
    };
  });
  const isOutside = ({ type, offset: start, bytes }: Section): boolean =>
    (type === SHT_SYMTAB || type === SHT_DYNSYM) && start + bytes > view.byteLength;
  return sections.some(isOutside) ? "its symbol table lies outside of the file" : sections;
}

function readTable(file: Uint8Array, view: DataView, table: Section, strings: Section): GuestSymbol[] {
  const text = Buffer.from(file.buffer, file.byteOffset, file.byteLength).subarray(
    strings.offset,
    strings.offset + strings.bytes,
  );
  const symbols: GuestSymbol[] = [];
  for (let at = table.offset; at + SYMBOL_BYTES <= table.offset + table.bytes; at += SYMBOL_BYTES) {
    const section = view.getUint16(at + 6, true);
    const type = view.getUint8(at + 4) & 0xf;
    if (section === SHN_UNDEF || section === SHN_ABS || !NAMING_TYPES.has(type)) continue;
    const start = view.getUint32(at, true);
    const end = text.indexOf(0, start);
    const name = text.toString("latin1", start, end < 0 ? text.length : end);
    if (name === "" || MAPPING_SYMBOL.test(name)) continue;
    symbols.push({
      name,
      address: view.getBigUint64(at + 8, true),
      bytes: Number(view.getBigUint64(at + 16, true)),
      ...(type === STT_OBJECT && { isData: true }),
    });
  }
  return symbols;
}
