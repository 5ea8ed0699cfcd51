/**
 * A vCPU whose programs never end: what faults is stepped over by the vectors, which go back into the two pages of code.
 * Completes devices and exits in the same way on each engine.
 */
import { cortexA57, refreshContext, resetValues, systemRegisterFields, vcpuState } from "@hvjournal/cpu-arm64";
import { elementOf, Engine, EngineExit, type EngineOptions, type StateField } from "@hvjournal/engine";
import { branchToRegister, moveAddress, moveImmediate16 } from "./a64-assembler.js";
import { ACCESSED, ALSO_EL0, FPEN_NO_TRAP, NOT_EXECUTABLE, NOT_WRITABLE, SCTLR, TABLE, TCR } from "./descriptors.js";
import { CODE_PAGES, type LoopProgram, Page, Register } from "./loop-programs.js";

const RAM_BASE = 0x4000_0000;
const PAGE_BYTES = 0x1000;
export const RAM_PAGES = 24;
/** Virtual address of the code; a multiple of its size. */
export const CODE = RAM_BASE + 0x4000;
const DEVICE = 0x0900_0000;
/** Pages of RAM. */
const Place = {
  level1: 1,
  level2: 2,
  level3: 3,
  vectors: 6,
  code: 8,
  data: 14,
  dataBehind: 12,
  readOnly: 16,
  otherData: 18,
} as const;
/** Virtual page of the vectors, behind all others. */
const VECTORS = RAM_BASE + 0x2_0000;

/** SA and SA0, UCI, UCT, DZE, UMA. */
const SCTLR_EL0 = (1n << 3n) | (1n << 4n) | (1n << 26n) | (1n << 15n) | (1n << 14n) | (1n << 9n);
const ERET = 0xd69f_03e0;

export interface Stop {
  readonly exit: number;
  readonly unitsLeft: number;
}

const physical = (page: number): number => RAM_BASE + page * PAGE_BYTES;

export class TierMachine {
  readonly engine: Engine;
  #deviceReads = 0;

  constructor(options: Partial<EngineOptions>) {
    this.engine = new Engine(cortexA57, {
      ramBase: RAM_BASE,
      ramBytes: RAM_PAGES * PAGE_BYTES,
      vcpuCount: 2,
      ...options,
    });
  }

  /** `seedBytes` fill the data; registers begin with them too. Caches stay as they are. */
  reset(program: LoopProgram, level: 0 | 1, seedBytes: Uint8Array): void {
    const { engine } = this;
    this.#deviceReads = 0;
    engine.memory.unwatchAll();
    engine.memory.write(RAM_BASE, new Uint8Array(RAM_PAGES * PAGE_BYTES));
    this.place(physical(Place.code), program.words);
    for (const page of [Place.data, Place.dataBehind, Place.readOnly, Place.otherData])
      engine.memory.write(physical(page), seedBytes);
    this.#placeVectors();
    this.mapPages(level);
    this.#resetRegisters(level, seedBytes);
    this.setPc(program.start);
  }

  /** As they were at the start. */
  mapPages(level: 0 | 1): void {
    const user = level === 0 ? ALSO_EL0 : 0n;
    const code = level === 0 ? ALSO_EL0 | NOT_WRITABLE : 0n;
    const entries = new BigUint64Array(512);
    const map = (page: number, place: number, attributes: bigint): void => {
      entries[4 + page] = BigInt(physical(place)) | TABLE | ACCESSED | attributes;
    };
    for (let page = 0; page < CODE_PAGES; page++) {
      map(page, Place.code + page, code);
      map(Page.codeAlias + page, Place.code + page, user);
    }
    map(Page.data, Place.data, user | NOT_EXECUTABLE);
    map(Page.dataBehind, Place.dataBehind, user | NOT_EXECUTABLE);
    map(Page.readOnly, Place.readOnly, user | NOT_EXECUTABLE | NOT_WRITABLE);
    map(Page.tables, Place.level3, user | NOT_EXECUTABLE);
    entries[4 + Page.device] = BigInt(DEVICE) | TABLE | ACCESSED | user | NOT_EXECUTABLE;
    entries[(VECTORS - RAM_BASE) / PAGE_BYTES] = BigInt(physical(Place.vectors)) | TABLE | ACCESSED;
    const { memory } = this.engine;
    memory.write(physical(Place.level3), new Uint8Array(entries.buffer));
    memory.write(
      physical(Place.level2),
      new Uint8Array(BigUint64Array.of(BigInt(physical(Place.level3)) | TABLE).buffer),
    );
    memory.write(
      physical(Place.level1) + 8,
      new Uint8Array(BigUint64Array.of(BigInt(physical(Place.level2)) | TABLE).buffer),
    );
  }

  /** Page `page` of the code gets `words` from `index` on, as a device would write them. */
  placeCode(index: number, words: readonly number[]): void {
    this.place(physical(Place.code) + 4 * index, words);
  }

  /** A page of the code is replaced by what it holds. */
  replaceCodePage(page: number): void {
    const { memory } = this.engine;
    memory.replacePage(Place.code + page, memory.page(Place.code + page).slice());
  }

  watchData(): void {
    this.engine.memory.watch(physical(Place.data), 64);
  }

  place(address: number, words: readonly number[]): void {
    this.engine.memory.write(address, new Uint8Array(Uint32Array.from(words).buffer));
  }

  setPc(index: number): void {
    this.setField(vcpuState.pc, BigInt(CODE + 4 * index));
  }

  setField(field: StateField, value: bigint): void {
    this.engine.writeField(field, value);
    this.engine.stateWritten();
    this.engine.callRoutine(refreshContext);
  }

  /** ELR_EL1. */
  get returnAddress(): bigint {
    return this.engine.readField(systemRegisterFields.elrEl1);
  }

  /** X0. */
  get count(): bigint {
    return this.engine.readField(elementOf(vcpuState.x, 0));
  }

  get pc(): bigint {
    return this.engine.readField(vcpuState.pc);
  }

  /** Runs at most `units`, and completes what it left for; a device write is a unit when it is done. */
  run(units: number, breakPc?: bigint): Stop {
    const { engine } = this;
    const exit = engine.run(units, breakPc);
    let { unitsLeft } = engine;
    if (exit === EngineExit.mmioRead) engine.completeMmioRead(++this.#deviceReads * 0x1234_5677, engine.mmioAddress);
    if (exit === EngineExit.mmioWrite) {
      while (!engine.completeMmioWrite());
      unitsLeft -= 1;
    }
    if (exit === EngineExit.watch) engine.memory.unwatchAll();
    return { exit, unitsLeft };
  }

  #placeVectors(): void {
    // The vector of interrupts leaves, and the line is lowered. Others go on behind the instruction, wherever it was.
    const again = [
      moveImmediate16(28, 3),
      // SUBS X28, X28, #1; B.NE back to it.
      0xf100_079c,
      0x54ff_ffe1,
      // MRS X28, ELR_EL1; ADD X28, X28, #4; AND X28, X28, #0x1ffc; ADD X28, X28, X29; MSR ELR_EL1, X28
      0xd538_403c,
      0x9100_139c,
      0x927e_2b9c,
      0x8b1d_039c,
      0xd518_403c,
      ERET,
    ];
    const HVC_1 = 0xd400_0022;
    for (let vector = 0; vector < 16; vector++) {
      const words = vector % 4 === 0 ? again : [HVC_1, ERET];
      this.place(physical(Place.vectors) + vector * 0x80, [...moveAddress(Register.codeBase, CODE), ...words]);
    }
  }

  #resetRegisters(level: 0 | 1, seedBytes: Uint8Array): void {
    const { engine } = this;
    const system = systemRegisterFields;
    engine.vcpuState.fill(0);
    for (const [field, value] of resetValues) engine.writeField(field, value);
    const set = (field: StateField, value: bigint): void => engine.writeField(field, value);
    set(system.vbarEl1, BigInt(VECTORS));
    set(system.cpacrEl1, FPEN_NO_TRAP);
    set(system.ttbr0El1, BigInt(physical(Place.level1)));
    set(system.tcrEl1, TCR);
    set(system.sctlrEl1, SCTLR | SCTLR_EL0);
    const seeds = new DataView(seedBytes.buffer);
    for (let index = 0; index < 16; index++) set(elementOf(vcpuState.x, index), seeds.getBigUint64(8 * index, true));
    const page = (number: number): bigint => BigInt(CODE + number * PAGE_BYTES);
    const values: readonly (readonly [number, bigint])[] = [
      [Register.target, page(0)],
      [Register.outerCount, 3n],
      [Register.innerCount, 5n],
      [Register.index, 16n],
      [Register.alias, page(Page.codeAlias)],
      [Register.tables, page(Page.tables)],
      [
        Register.mapped,
        BigInt(physical(Place.otherData)) | TABLE | ACCESSED | NOT_EXECUTABLE | (level === 0 ? ALSO_EL0 : 0n),
      ],
      [Register.notMapped, 0n],
      [Register.codeBase, page(0)],
      [Register.link, page(0)],
      ...Register.pointers.map((register, index) => [register, page(Page.data + index)] as const),
    ];
    for (const [register, value] of values) set(elementOf(vcpuState.x, register), value);
    set(vcpuState.sp, page(Page.data) + 0x800n);
    set(vcpuState.spInactive, page(Page.dataBehind) + 0x800n);
    if (level === 0) this.#enterEl0();
    engine.stateWritten();
    engine.callRoutine(refreshContext);
  }

  /** Through ERET, so that all that hangs on the level follows. */
  #enterEl0(): void {
    const { engine } = this;
    this.place(physical(Place.vectors) + 0xf00, [ERET, branchToRegister(Register.codeBase)]);
    engine.writeField(systemRegisterFields.elrEl1, BigInt(CODE));
    engine.writeField(systemRegisterFields.spsrEl1, 0n);
    this.setField(vcpuState.pc, BigInt(VECTORS + 0xf00));
    engine.run(1);
  }
}
