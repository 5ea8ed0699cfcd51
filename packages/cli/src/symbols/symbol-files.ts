/** `--symbols FILE`: a vmlinux or other ELF file, or a System.map. */
import { readFileSync } from "node:fs";
import type { Argv } from "yargs";
import type { GuestSymbol } from "@hvjournal/core";
import { CliError } from "../cli-error.js";
import { type Arguments, listOption, textOption } from "../commands/command.js";
import { reason } from "../host/drive-file.js";
import { readElfSymbols } from "./elf-symbols.js";
import { SymbolList, Symbols } from "./symbols.js";
import { placeholderFor, readSystemMap } from "./system-map.js";

const ELF_MAGIC = 0x7f45_4c46;
const WITHOUT =
  "a recorded kernel's functions are named without --symbols too, by its own kallsyms, which are read from guest memory";

export function symbolOptions(yargs: Argv): Argv {
  return yargs.option("symbols", textOption("vmlinux, other ELF file, or System.map; repeatable"));
}

/** The names in all files given. Throws CliError for a file that is neither. */
export function symbolsFromFiles(args: Arguments): Symbols {
  return new Symbols(new SymbolList(listOption(args, "symbols").flatMap(readSymbolFile)));
}

function readSymbolFile(path: string): GuestSymbol[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new CliError(`can't read symbols ${path}: ${reason(cause)}`, { code: "no-file", cause });
  }
  const real = placeholderFor(path, bytes);
  if (real !== undefined)
    throw new CliError(
      `can't read symbols ${path}: it is Debian's placeholder for a System.map; the real one, and vmlinux, are in the package ${real}, below /usr/lib/debug/boot`,
      { code: "symbols", details: [`note: ${WITHOUT}`] },
    );
  const symbols =
    bytes.length >= 4 && bytes.readUInt32BE(0) === ELF_MAGIC ? readElfSymbols(bytes) : readSystemMap(bytes);
  if (typeof symbols === "string") throw new CliError(`can't read symbols ${path}: ${symbols}`, { code: "symbols" });
  return symbols;
}
