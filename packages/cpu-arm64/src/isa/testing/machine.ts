/** One vCPU with RAM for tests of the system level: code, vectors, page tables. */
import { elementOf, Engine, type EngineOptions, type StateField } from "@hvjournal/engine";
import { refreshContext } from "../context.js";
import { cortexA57, resetValues } from "../cpu.js";
import { layout, pc, x } from "../state.js";
import { systemRegisters } from "../system-registers.js";

export const RAM_BASE = 0x4000_0000;
export const RAM_BYTES = 0x80_0000;
/** Where `machine` puts the program, and pc. */
export const CODE = RAM_BASE + 0x1000;
/** VBAR_EL1: each vector starts with HVC and its number, so that a run stops there. */
export const VECTORS = RAM_BASE + 0x2000;
/** Free for data. */
export const DATA = RAM_BASE + 0x10_0000;

const VECTOR_BYTES = 0x80;
const HVC = 0xd400_0002;

export interface Machine {
  readonly engine: Engine;
  readonly get: (name: string) => bigint;
  readonly set: (name: string, value: bigint) => void;
  readonly place: (address: number, words: readonly number[]) => void;
  readonly word64: (physical: number) => bigint;
  readonly setWord64: (physical: number, value: bigint) => void;
}

/** A vCPU after reset, with `words` at pc and stop vectors at VBAR_EL1. */
export function machine(words: readonly number[], options: Partial<EngineOptions> = {}): Machine {
  const engine = new Engine(cortexA57, { ramBase: RAM_BASE, ramBytes: RAM_BYTES, vcpuCount: 1, ...options });
  for (const [field, value] of resetValues) engine.writeField(field, value);
  const place = (address: number, code: readonly number[]): void => {
    engine.memory.write(address, new Uint8Array(Uint32Array.from(code).buffer));
  };
  const get = (name: string): bigint => engine.readField(fieldOf(name));
  const set = (name: string, value: bigint): void => {
    engine.writeField(fieldOf(name), value);
    engine.stateWritten();
    engine.callRoutine(refreshContext);
  };
  for (let vector = 0; vector < 16; vector++) place(VECTORS + vector * VECTOR_BYTES, [HVC | (vector << 5)]);
  place(CODE, words);
  set("pc", BigInt(CODE));
  set("VBAR_EL1", BigInt(VECTORS));
  return { engine, get, set, place, ...wordAccess(engine) };
}

function wordAccess(engine: Engine): Pick<Machine, "word64" | "setWord64"> {
  return {
    word64(physical) {
      const { buffer, byteOffset } = engine.memory.read(physical, 8);
      return new DataView(buffer, byteOffset).getBigUint64(0, true);
    },
    setWord64(physical, value) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, value, true);
      engine.memory.write(physical, bytes);
    },
  };
}

/** A general register ("x0"), a field of the state, or a system register of the table with a field. */
function fieldOf(name: string): StateField<32 | 64> {
  const general = /^x(\d+)$/.exec(name);
  if (general !== null) return elementOf(x, Number(general[1]));
  if (name === "pc") return pc;
  const row = systemRegisters.find((register) => register.name === name);
  if (row?.home.kind === "state") return row.home.field;
  const field = [...layout.fields, ...layout.cacheFields].find((candidate) => candidate.name === name);
  if (field === undefined || field.width === 128) throw new RangeError(`no field ${name}`);
  return field as StateField<32 | 64>;
}

// Page tables

export const Attribute = {
  valid: 1n,
  table: 2n,
  user: 1n << 6n,
  readOnly: 1n << 7n,
  accessed: 1n << 10n,
  pxn: 1n << 53n,
  uxn: 1n << 54n,
} as const;
/** A page of normal memory that EL1 may read and write, and nobody may execute. */
export const PAGE = Attribute.valid | Attribute.table | Attribute.accessed | Attribute.pxn | Attribute.uxn;
export const BLOCK = Attribute.valid | Attribute.accessed | Attribute.pxn | Attribute.uxn;

/** Tables of four levels for 48-bit addresses (T0SZ = T1SZ = 16), made as pages are mapped. */
export class PageTables {
  readonly root: number;
  readonly #machine: Machine;
  #next: number;

  constructor(machine: Machine, root: number) {
    this.#machine = machine;
    this.root = root;
    this.#next = root + 0x1000;
  }

  /** Address of the entry of `virtual` at `level`; tables above it are made on demand. */
  entry(virtual: bigint, level: number): number {
    let table = this.root;
    for (let at = 0; at < level; at++) {
      const place = table + indexAt(virtual, at);
      const known = this.#machine.word64(place);
      if ((known & 3n) === 3n) table = Number(known & 0xffff_ffff_f000n);
      else {
        const made = this.#next;
        this.#next += 0x1000;
        this.#machine.setWord64(place, BigInt(made) | 3n);
        table = made;
      }
    }
    return table + indexAt(virtual, level);
  }

  map(virtual: bigint, physical: number, attributes: bigint = PAGE, level = 3): void {
    this.#machine.setWord64(this.entry(virtual, level), BigInt(physical) | attributes);
  }
}

function indexAt(virtual: bigint, level: number): number {
  return Number((virtual >> BigInt(39 - 9 * level)) & 0x1ffn) * 8;
}

/** 48-bit halves, 4 KiB granules (TG1 = 0b10), 40-bit output. */
export const TCR_48 = 16n | (16n << 16n) | (2n << 30n) | (2n << 32n);
export const SCTLR_MMU = 0x30d0_0981n;

/** Turns the MMU on with an identity map of code and vectors for EL1 below `RAM_BASE + 0x4000`. */
export function enableMmu(guest: Machine, root: number = RAM_BASE + 0x20_0000): PageTables {
  const tables = new PageTables(guest, root);
  const executable = Attribute.valid | Attribute.table | Attribute.accessed;
  for (let page = 0; page < 4; page++) {
    const address = RAM_BASE + page * 0x1000;
    tables.map(BigInt(address), address, executable);
  }
  guest.set("TTBR0_EL1", BigInt(root));
  guest.set("TTBR1_EL1", BigInt(root));
  guest.set("TCR_EL1", TCR_48);
  guest.set("SCTLR_EL1", SCTLR_MMU);
  return tables;
}
