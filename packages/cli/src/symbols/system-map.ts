/** System.map, as nm and /proc/kallsyms print: "ffff800008010000 T _stext". */
import type { GuestSymbol } from "@hvjournal/core";

const LINE = /^([0-9a-f]{8,16}) ([A-Za-z]) (\S+)(?:\s+\[\S+\])?$/;
/** Of the compiler and the assembler: they mark stretches of code and name nothing. */
const MAPPING_SYMBOL = /^\$[xdt](\.|$)/;
const UNDEFINED = "U";
/** Of nm: sections of data, of zeros, and of what is read only. */
const DATA = /^[bdgrs]$/i;

/** Debian's kernel packages have this one line in the place of a System.map; "<version>" is Debian's own word. */
const PLACEHOLDER = /^f{16} B The real System\.map is in the (\S+) package\s*$/;

/** The package that has the real one; undefined: this is no placeholder. */
export function placeholderFor(path: string, bytes: Uint8Array): string | undefined {
  const [, name] = PLACEHOLDER.exec(Buffer.from(bytes).toString("latin1")) ?? [];
  const [, release = "<version>"] = /System\.map-([^/]+)$/.exec(path) ?? [];
  return name?.replace("<version>", release);
}

/** A string says what is wrong. */
export function readSystemMap(bytes: Uint8Array): GuestSymbol[] | string {
  const symbols: GuestSymbol[] = [];
  for (const [index, line] of Buffer.from(bytes).toString("latin1").split("\n").entries()) {
    if (line === "") continue;
    const match = LINE.exec(line);
    if (match === null) return `line ${index + 1} is no line of a System.map, and the file is no ELF file`;
    const [, address = "", type, name = ""] = match;
    if (type !== UNDEFINED && !MAPPING_SYMBOL.test(name))
      symbols.push({ name, address: BigInt(`0x${address}`), bytes: 0, ...(DATA.test(type ?? "") && { isData: true }) });
  }
  return symbols.length === 0 ? "it has no symbols" : symbols;
}
