/** One vCPU at EL1 with the MMU on and a few pages, for what single instructions do to memory, faults and levels. */
import { cortexA57, refreshContext, resetValues, systemRegisterFields, vcpuState } from "@hvjournal/cpu-arm64";
import { elementOf, Engine, type EngineOptions, type StateField } from "@hvjournal/engine";
import { createHash } from "node:crypto";
import { STOP } from "./a64-assembler.js";
import { ACCESSED, ALSO_EL0, FPEN_NO_TRAP, NOT_EXECUTABLE, NOT_WRITABLE, SCTLR, TABLE, TCR } from "./descriptors.js";

const RAM_BASE = 0x4000_0000;
const RAM_BYTES = 0x8_0000;
const PAGE_BYTES = 0x1000;

/** Code for EL1, at the same address everywhere. */
export const CODE = RAM_BASE + 0x4000;
/** Code that EL0 may run. */
export const USER_CODE = RAM_BASE + 0x5000;
/** VBAR_EL1: each vector branches to itself. */
export const VECTORS = RAM_BASE + 0x6000;
export const Vector = { sameLevel: VECTORS + 0x200, fromEl0: VECTORS + 0x400 } as const;
/** Tables that map as the first do, but for `DATA`, which is another page there. */
export const OTHER_TABLES = RAM_BASE + 0x9000;

/** Three pages in a row: two to read and write, one to read, one that is not mapped. No two lie side by side in RAM. */
export const DATA = 0x4010_0000;
export const SECOND = DATA + PAGE_BYTES;
export const READ_ONLY = DATA + 2 * PAGE_BYTES;
export const UNMAPPED = DATA + 3 * PAGE_BYTES;
const PHYSICAL: ReadonlyMap<number, number> = new Map([
  [DATA, RAM_BASE + 0x2_4000],
  [SECOND, RAM_BASE + 0x2_1000],
  [READ_ONLY, RAM_BASE + 0x2_7000],
]);
/** What `DATA` is in the other tables. */
export const OTHER_DATA = RAM_BASE + 0x2_9000;

const TABLES = RAM_BASE + 0x1000;
export interface Outcome {
  /** Units that were counted. */
  readonly units: number;
  readonly exit: number;
}

export class SystemMachine {
  readonly engine: Engine;

  constructor(options: Partial<EngineOptions> = {}) {
    this.engine = new Engine(cortexA57, { ramBase: RAM_BASE, ramBytes: RAM_BYTES, vcpuCount: 1, ...options });
  }

  /** Everything as after construction, but for what is in the caches. `words` stand at `CODE`, and pc there. */
  reset(words: readonly number[]): void {
    const { engine } = this;
    engine.memory.write(RAM_BASE, new Uint8Array(RAM_BYTES));
    this.#map(TABLES, PHYSICAL);
    this.#map(OTHER_TABLES, new Map([...PHYSICAL, [DATA, OTHER_DATA]]));
    for (let vector = VECTORS; vector < VECTORS + 0x800; vector += 0x80) this.place(vector, [STOP]);
    this.place(CODE, [...words, STOP]);
    engine.vcpuState.fill(0);
    for (const [field, value] of resetValues) engine.writeField(field, value);
    this.set("vbarEl1", BigInt(VECTORS));
    this.set("cpacrEl1", FPEN_NO_TRAP);
    this.set("ttbr0El1", BigInt(TABLES));
    this.set("tcrEl1", TCR);
    this.set("sctlrEl1", SCTLR);
    this.setField(vcpuState.pc, BigInt(CODE));
  }

  #map(root: number, data: ReadonlyMap<number, number>): void {
    const [level2, level3] = [root + PAGE_BYTES, root + 2 * PAGE_BYTES];
    const entry = (table: number, index: number, value: bigint): void => this.write64(table + index * 8, value);
    entry(root, 1, BigInt(level2) | TABLE);
    entry(level2, 0, BigInt(level3) | TABLE);
    entry(level3, 4, BigInt(CODE) | TABLE | ACCESSED);
    entry(level3, 5, BigInt(USER_CODE) | TABLE | ACCESSED | ALSO_EL0 | NOT_WRITABLE);
    entry(level3, 6, BigInt(VECTORS) | TABLE | ACCESSED);
    // The data lie in the same 2 MiB as the code, so the same table maps them.
    for (const [virtual, physical] of data) {
      const attributes = virtual === READ_ONLY ? NOT_WRITABLE : 0n;
      entry(
        level3,
        (virtual - RAM_BASE) / PAGE_BYTES,
        BigInt(physical) | TABLE | ACCESSED | NOT_EXECUTABLE | attributes,
      );
    }
  }

  place(physical: number, words: readonly number[]): void {
    this.engine.memory.write(physical, new Uint8Array(Uint32Array.from(words).buffer));
  }

  /** Runs at most `budget` units. */
  run(budget: number): Outcome {
    const exit = this.engine.run(budget);
    return { exit, units: budget - this.engine.unitsLeft };
  }

  setField(field: StateField, value: bigint): void {
    this.engine.writeField(field, value);
    this.engine.stateWritten();
    this.engine.callRoutine(refreshContext);
  }

  set(register: keyof typeof systemRegisterFields & `${string}El${0 | 1}`, value: bigint): void {
    this.setField(systemRegisterFields[register] as StateField<64>, value);
  }

  get(register: keyof typeof systemRegisterFields & `${string}El${0 | 1}`): bigint {
    return this.engine.readField(systemRegisterFields[register] as StateField<64>);
  }

  x(index: number): bigint {
    return this.engine.readField(elementOf(vcpuState.x, index));
  }

  setX(index: number, value: bigint): void {
    this.engine.writeField(elementOf(vcpuState.x, index), value);
  }

  v(index: number): bigint {
    return this.engine.readField(elementOf(vcpuState.v, index));
  }

  get pc(): number {
    return Number(this.engine.readField(vcpuState.pc));
  }

  write64(physical: number, value: bigint): void {
    this.engine.memory.write(physical, new Uint8Array(BigUint64Array.of(value).buffer));
  }

  /** Of all data pages. */
  dataHash(): string {
    const hash = createHash("sha256");
    for (const physical of [...PHYSICAL.values(), OTHER_DATA])
      hash.update(this.engine.memory.read(physical, PAGE_BYTES));
    return hash.digest("hex");
  }

  /** By an address of the data pages; they may lie across two. */
  writeData(virtual: number, bytes: Uint8Array): void {
    bytes.forEach((byte, index) => this.engine.memory.write(physicalOf(virtual + index), Uint8Array.of(byte)));
  }

  readData(virtual: number, count: number): Uint8Array {
    return Uint8Array.from(
      { length: count },
      (_, index) => this.engine.memory.read(physicalOf(virtual + index), 1)[0] ?? 0,
    );
  }
}

/** Guest-physical address of a byte of the data pages. */
function physicalOf(virtual: number): number {
  const page = PHYSICAL.get(virtual - (virtual % PAGE_BYTES));
  if (page === undefined) throw new RangeError(`0x${virtual.toString(16)} is not mapped`);
  return page + (virtual % PAGE_BYTES);
}
