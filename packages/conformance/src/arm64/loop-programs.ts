/**
 * Random A64 programs that loop: of any instructions that are not branches, with branches in both directions, calls, faults,
 * changes of context, and stores into their own code and page tables. Whatever happens, they go on: see `TierMachine`.
 */
import {
  dataProcessingImmediate,
  dataProcessingRegister,
  exclusives,
  loadsAndStores,
  simdAndFloatInstructions,
} from "@hvjournal/cpu-arm64";
import { compilePattern, Decoder, type Instruction } from "@hvjournal/engine";
import { branch, branchToRegister, moveImmediate16, RET, SVC_0 } from "./a64-assembler.js";
import type { RandomSource } from "./random-source.js";

/** Two pages of code, and where the pages of `TierMachine` lie behind them. */
export const CODE_PAGES = 2;
export const Page = {
  unmapped: 2,
  data: 3,
  dataBehind: 4,
  readOnly: 5,
  alsoUnmapped: 6,
  device: 7,
  codeAlias: 8,
  tables: 10,
} as const;

/** Registers with a task of their own; X0 to X15 are free, X28 and X29 belong to the vectors. */
export const Register = {
  target: 16,
  outerCount: 17,
  innerCount: 18,
  index: 19,
  pointers: [20, 21, 22],
  alias: 23,
  word: 24,
  tables: 25,
  mapped: 26,
  notMapped: 27,
  codeBase: 29,
  link: 30,
} as const;
const SP = 31;
const FREE_REGISTERS = 16;
const PAGE_BYTES = 4096;
const PAGE_WORDS = PAGE_BYTES / 4;
const DRAWS_MAX = 1000;

export interface LoopProgram {
  /** Of all of the code. */
  readonly words: readonly number[];
  /** Index of the first instruction of the program. */
  readonly start: number;
  readonly length: number;
}

export class LoopPrograms {
  readonly #random: RandomSource;
  readonly #decoder = new Decoder([
    ...dataProcessingImmediate,
    ...dataProcessingRegister,
    ...loadsAndStores,
    ...exclusives,
    ...simdAndFloatInstructions,
  ]);

  constructor(random: RandomSource) {
    this.#random = random;
  }

  next(): LoopProgram {
    const random = this.#random;
    const length = random.between(4, random.oneIn(3) ? 150 : 40);
    const start = random.oneIn(3)
      ? PAGE_WORDS - random.between(1, length)
      : random.below(CODE_PAGES * PAGE_WORDS - length - 1);
    const words: number[] = Array.from({ length: CODE_PAGES * PAGE_WORDS }, (_, index) => branch(4 * index, 4 * start));
    const body = random.oneIn(4) ? this.#selfModifyingLoop(start) : [];
    while (body.length < length) this.#append(body, start, length);
    body.forEach((word, index) => {
      if (index < length) words[start + index] = word;
    });
    return { words, start, length };
  }

  /** Adds another number in some turns: the immediate of its ADD counts up. In others its code stays, and is compiled. */
  #selfModifyingLoop(start: number): number[] {
    const random = this.#random;
    const drawn = Array.from({ length: random.between(1, 10) }, () =>
      this.#drawn(random.pick([dataProcessingImmediate, dataProcessingRegister])),
    );
    const added = random.below(drawn.length);
    drawn[added] = 0x9100_0400;
    const from = random.below(drawn.length + 1);
    const isBehind = added >= from;
    // TBZ X18, #n over the store.
    const over = (0x3600_0000 | (random.between(1, 5) << 19) | (4 << 5) | Register.innerCount) >>> 0;
    const place = added + (isBehind ? 4 : 0);
    const stores = [
      this.#wordAccess("load", start + place, Register.word),
      // ADD W24, W24, #4 << 10
      0x1140_0718,
      this.#wordAccess("store", start + place, Register.word),
    ];
    const body = [...drawn.slice(0, from), over, ...stores, ...drawn.slice(from)];
    const count = (0xd100_0400 | (Register.innerCount << 5) | Register.innerCount) >>> 0;
    const back = (0xb500_0000 | ((-(body.length + 1) & 0x7_ffff) << 5) | Register.innerCount) >>> 0;
    return [...body, count, back, moveImmediate16(Register.innerCount, random.between(1, 200))];
  }

  #append(body: number[], start: number, length: number): void {
    const random = this.#random;
    const kind = random.below(100);
    const at = body.length;
    if (at === 0) body.push(this.#pointer(), this.#stackPointer(), moveImmediate16(Register.outerCount, 3));
    else if (kind < 34) body.push(this.#drawn(random.pick([dataProcessingImmediate, dataProcessingRegister])));
    else if (kind < 39) body.push(this.#drawn(simdAndFloatInstructions));
    else if (kind < 57) body.push(this.#drawn(loadsAndStores));
    else if (kind < 60) body.push(this.#drawn(exclusives));
    else if (kind < 74) body.push(this.#conditionalBranch(at, length));
    else if (kind < 78) body.push(...this.#countedLoop(at));
    else if (kind < 80) body.push(branch(0, 4 * this.#distance(at, length)));
    else if (kind < 82) body.push(branch(0, 4 * this.#distance(at, length)) | 0x8000_0000);
    else if (kind < 83) body.push(RET);
    else if (kind < 85) body.push(...this.#indirectBranch(at, length));
    else if (kind < 89) body.push(this.#pointer());
    else if (kind < 90) body.push(this.#stackPointer());
    else if (kind < 92) body.push(...this.#copyOfWord(start, length));
    else if (kind < 94) body.push(this.#tableStore());
    else body.push(...this.#system());
  }

  /** To another word of the program: forward, or back in one of eight, so that few loops never end. */
  #distance(at: number, length: number): number {
    const random = this.#random;
    const isBack = random.oneIn(8);
    if (isBack) return -random.below(Math.min(at, 24) + 1);
    return random.between(1, Math.max(1, Math.min(8, length - at)));
  }

  #conditionalBranch(at: number, length: number): number {
    const random = this.#random;
    const distance = this.#distance(at, length);
    const imm19 = (distance & 0x7_ffff) << 5;
    const rt = random.below(FREE_REGISTERS);
    switch (random.below(4)) {
      case 0:
        return (0x3400_0000 | (random.below(2) << 31) | (random.below(2) << 24) | imm19 | rt) >>> 0;
      case 1: {
        const bit = random.below(64);
        const imm14 = (distance & 0x3fff) << 5;
        return (0x3600_0000 | ((bit >> 5) << 31) | (random.below(2) << 24) | ((bit & 31) << 19) | imm14 | rt) >>> 0;
      }
      default:
        return (0x5400_0000 | imm19 | random.below(16)) >>> 0;
    }
  }

  /** Counts down and goes back; the count begins again behind the loop. */
  #countedLoop(at: number): number[] {
    const random = this.#random;
    const register = random.pick([Register.outerCount, Register.innerCount]);
    const back = random.between(1, Math.min(at + 1, register === Register.innerCount ? 6 : 20));
    return [
      (0xd100_0400 | (register << 5) | register) >>> 0,
      (0xb500_0000 | ((-back & 0x7_ffff) << 5) | register) >>> 0,
      moveImmediate16(register, random.between(1, 40)),
    ];
  }

  /** `ADR` and `BR` or `BLR`, to this address of the code or to the other, rarely with an address that is none. */
  #indirectBranch(at: number, length: number): number[] {
    const random = this.#random;
    const register = random.oneIn(8) ? random.below(FREE_REGISTERS) : Register.target;
    const words = this.#distance(at, length);
    const adr = (0x1000_0000 | ((words & 0x7_ffff) << 5) | Register.target) >>> 0;
    const toAlias = (0x9140_0000 | (Page.codeAlias << 10) | (Register.target << 5) | Register.target) >>> 0;
    const jump = (branchToRegister(register) | (random.below(2) << 21)) >>> 0;
    return random.oneIn(2) ? [adr, jump] : [adr, toAlias, jump];
  }

  /** Points a register or the stack pointer at a page, mostly at data, often near its end. */
  #pointer(): number {
    return this.#pageAddress(this.#random.pick(Register.pointers));
  }

  #stackPointer(): number {
    const random = this.#random;
    // ADD SP, Xn, #imm: misaligned in one of four.
    const offset = random.oneIn(4) ? 8 : 16 * random.below(8);
    return (0x9100_0000 | (offset << 10) | (random.pick(Register.pointers) << 5) | SP) >>> 0;
  }

  #pageAddress(register: number): number {
    const random = this.#random;
    const page = random.pick([
      Page.data,
      Page.data,
      Page.data,
      Page.dataBehind,
      Page.dataBehind,
      Page.readOnly,
      Page.alsoUnmapped,
      Page.device,
      Page.codeAlias,
      ...(random.oneIn(4) ? [0, Page.tables] : [Page.data]),
    ]);
    // ADD Xd, X29, #page, LSL #12, or from the pointer there is a little on.
    if (random.oneIn(3)) {
      const from = random.pick(Register.pointers);
      const subtracts = random.below(2) << 30;
      return (0x9100_0000 | subtracts | (random.pick([1, 4, 8, 16, 64, 248]) << 10) | (from << 5) | register) >>> 0;
    }
    return (0x9140_0000 | (page << 10) | (Register.codeBase << 5) | register) >>> 0;
  }

  /**
   * Changes words of the program, at this address of the code or at the other: one becomes what another is, or two change
   * places, which is news in each turn of a loop.
   */
  #copyOfWord(start: number, length: number): number[] {
    const random = this.#random;
    const first = random.below(length);
    const second = random.oneIn(2) ? random.below(length) : Math.min(length - 1, first + 1);
    const swap = this.#swap(start, first, second);
    const copy = [swap[0] ?? 0, swap[3] ?? 0];
    if (random.oneIn(3)) return random.oneIn(2) ? copy : [random.pick(copy)];
    return swap;
  }

  #swap(start: number, first: number, second: number): number[] {
    return [
      this.#wordAccess("load", start + first, Register.word),
      this.#wordAccess("load", start + second, Register.target),
      this.#wordAccess("store", start + first, Register.target),
      this.#wordAccess("store", start + second, Register.word),
    ];
  }

  /** LDR or STR of a word of the code, at one of its two addresses. */
  #wordAccess(kind: "load" | "store", index: number, register: number): number {
    const base = this.#random.pick([Register.codeBase, Register.alias]);
    return ((kind === "load" ? 0xb940_0000 : 0xb900_0000) | (index << 10) | (base << 5) | register) >>> 0;
  }

  /** Maps a page of data elsewhere, or not at all. */
  #tableStore(): number {
    const random = this.#random;
    const value = random.pick([Register.mapped, Register.mapped, Register.notMapped]);
    const entry = 4 + random.pick([Page.data, Page.dataBehind, Page.alsoUnmapped]);
    return (0xf900_0000 | (entry << 10) | (Register.tables << 5) | value) >>> 0;
  }

  #system(): number[] {
    const random = this.#random;
    const rt = random.below(FREE_REGISTERS);
    const sctlr = 0x18_1000;
    const cpacr = 0x18_1040;
    // Reads, changes one bit (EOR #2 is SCTLR_EL1.A; of CPACR_EL1 both bits of FPEN change) and writes.
    const toggled = (register: number, eor: number): number[] => [
      (0xd520_0000 | register | Register.target) >>> 0,
      (eor | (Register.target << 5) | Register.target) >>> 0,
      (0xd500_0000 | register | Register.target) >>> 0,
    ];
    return random.pick<() => number[]>([
      () => [(0xd53b_4200 | rt) >>> 0],
      () => [(0xd51b_4200 | rt) >>> 0],
      () => [(0xd53b_4220 | rt) >>> 0],
      () => [(0xd503_40df | (random.below(16) << 8)) >>> 0],
      () => [(0xd503_40ff | (random.below(16) << 8)) >>> 0],
      () => [(0xd53b_4420 | rt) >>> 0],
      () => [SVC_0],
      () => [0xd400_0022],
      () => [0xd420_0000],
      () => [0],
      () => [0xd508_871f],
      () => [0xd503_3fdf],
      () => [0xd503_3f9f],
      () => [0xd503_207f],
      () => [0xd503_205f],
      () => [0xd503_209f],
      () => [(0xd50b_7420 | random.pick(Register.pointers)) >>> 0],
      () => [(0xd50b_7520 | Register.codeBase) >>> 0],
      () => [(0xd500_40bf | (random.below(2) << 8)) >>> 0],
      () => toggled(sctlr, 0xd27f_0000),
      () => toggled(cpacr, 0xd26c_0400),
      () => [(0xd538_2010 | 0) >>> 0, 0xd518_2010],
      () => [0xd69f_03e0],
    ])();
  }

  /** An encoding of one of these with drawn fields; registers that have a task keep it. */
  #drawn(instructions: readonly Instruction[]): number {
    const random = this.#random;
    for (let draw = 0; draw < DRAWS_MAX; draw++) {
      const instruction = random.pick(instructions);
      const pattern = compilePattern(instruction.pattern);
      const named = pattern.fields.reduce((bits, { mask, shift }) => bits | (mask << shift), pattern.mask);
      let encoding = pattern.value | ~named;
      const isMemory = ((pattern.value >>> 25) & 0b0101) === 0b0100;
      for (const { name, mask, shift } of pattern.fields) encoding |= this.#field(name, mask, isMemory) << shift;
      if (this.#decoder.decode(encoding >>> 0)?.instruction === instruction) return encoding >>> 0;
    }
    throw new Error("no encoding was drawn");
  }

  #field(name: string, mask: number, isMemory: boolean): number {
    const random = this.#random;
    if (isMemory && name === "Rn") return random.oneIn(6) ? SP : random.pick(Register.pointers);
    if (isMemory && name === "Rm") return random.pick([Register.index, SP]);
    if (/^R[a-z]2?$/.test(name)) return random.oneIn(12) && name !== "Rd" ? SP : random.below(FREE_REGISTERS);
    if (isMemory && name === "imm12") return random.below(64);
    if (isMemory && name === "imm9") return random.between(-32, 32) & 0x1ff;
    if (isMemory && name === "imm7") return random.between(-4, 4) & 0x7f;
    if (isMemory && name === "imm19") return random.between(-64, 4 * PAGE_WORDS) & 0x7_ffff;
    return (random.word() & mask) >>> 0;
  }
}
