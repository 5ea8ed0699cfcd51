/** Which modules a kernel module needs: the `depends=` of its .modinfo section. (The packages ship no modules.dep; depmod makes it on installation.) */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";

const ELF_MAGIC = 0x464c457f;
const ELFCLASS64 = 2;
/** Offsets in Elf64_Ehdr and Elf64_Shdr. */
const Ehdr = { class: 4, shoff: 0x28, shentsize: 0x3a, shnum: 0x3c, shstrndx: 0x3e } as const;
const Shdr = { name: 0x00, offset: 0x18, size: 0x20 } as const;

function textAt(bytes: Buffer, offset: number): string {
  return bytes.toString("latin1", offset, bytes.indexOf(0, offset));
}

/** The `key=value` strings of a module's .modinfo. Throws RangeError for a file that is no 64-bit ELF module. */
export function moduleInformation(bytes: Buffer, name: string): ReadonlyMap<string, string> {
  if (bytes.length < 64 || bytes.readUInt32LE(0) !== ELF_MAGIC || bytes[Ehdr.class] !== ELFCLASS64) {
    throw new RangeError(`${name} is not a 64-bit ELF module (compressed modules are not supported)`);
  }
  const sections = Number(bytes.readBigUInt64LE(Ehdr.shoff));
  const entryBytes = bytes.readUInt16LE(Ehdr.shentsize);
  const header = (index: number): number => sections + index * entryBytes;
  const offsetOf = (index: number): number => Number(bytes.readBigUInt64LE(header(index) + Shdr.offset));
  const names = offsetOf(bytes.readUInt16LE(Ehdr.shstrndx));
  for (let i = 0; i < bytes.readUInt16LE(Ehdr.shnum); i++) {
    if (textAt(bytes, names + bytes.readUInt32LE(header(i) + Shdr.name)) !== ".modinfo") continue;
    const start = offsetOf(i);
    const text = bytes.toString("latin1", start, start + Number(bytes.readBigUInt64LE(header(i) + Shdr.size)));
    const pairs = text.split("\0").filter((line) => line.includes("="));
    return new Map(pairs.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  }
  throw new RangeError(`${name} has no .modinfo section`);
}

/** Module names count `-` and `_` as the same. */
function canonicalName(name: string): string {
  return name.replaceAll("-", "_");
}

/** Every `.ko` below a directory, by its name. */
function findModules(modulesDir: string): ReadonlyMap<string, string> {
  const files = readdirSync(modulesDir, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ko"));
  return new Map(files.map((path) => [canonicalName(basename(path, ".ko")), join(modulesDir, path)]));
}

/**
 * Paths of the wanted modules and all they need, each behind what it needs: the order for insmod.
 * Modules that are built into the kernel are left out. Throws RangeError for one that is neither.
 */
export function modulesInLoadOrder(modulesDir: string, wanted: readonly string[]): string[] {
  const files = findModules(modulesDir);
  const builtinList = join(modulesDir, "modules.builtin");
  const builtin = existsSync(builtinList) ? readFileSync(builtinList, "utf8").split("\n") : [];
  const builtinNames = new Set(builtin.map((path) => canonicalName(basename(path, ".ko"))));
  const order = new Set<string>();
  const visit = (name: string): void => {
    if (builtinNames.has(canonicalName(name))) return;
    const path = files.get(canonicalName(name));
    if (path === undefined) throw new RangeError(`kernel module ${name} is neither below ${modulesDir} nor built in`);
    if (order.has(path)) return;
    const needs = moduleInformation(readFileSync(path), path).get("depends") ?? "";
    for (const need of needs.split(",").filter((text) => text !== "")) visit(need);
    order.add(path);
  };
  for (const name of wanted) visit(name);
  return [...order];
}
