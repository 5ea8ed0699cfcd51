/** System.map, as nm and /proc/kallsyms print: "ffff800008010000 T _stext". */
import type { GuestSymbol } from "@hvjournal/core";

const LINE = /^([0-9a-f]{8,16}) ([A-Za-z]) (\S+)(?:\s+\[\S+\])?$/;
/** Of the compiler and the assembler: they mark stretches of code and name nothing. */
const MAPPING_SYMBOL = /^\$[xdt](\.|$)/;
const UNDEFINED = "U";

/** A string says what is wrong. */
export function readSystemMap(bytes: Uint8Array): GuestSymbol[] | string {
  const symbols: GuestSymbol[] = [];
  for (const [index, line] of Buffer.from(bytes).toString("latin1").split("\n").entries()) {
    if (line === "") continue;
    const match = LINE.exec(line);
    if (match === null) return `line ${index + 1} is no line of a System.map, and the file is no ELF file`;
    const [, address = "", type, name = ""] = match;
    if (type !== UNDEFINED && !MAPPING_SYMBOL.test(name))
      symbols.push({ name, address: BigInt(`0x${address}`), bytes: 0 });
  }
  return symbols.length === 0 ? "it has no symbols" : symbols;
}
