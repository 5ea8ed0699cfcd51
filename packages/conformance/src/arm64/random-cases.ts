/**
 * Random A64 cases made from definitions: every field of the pattern is drawn, within what keeps a case
 * inside its own code and data.
 */
import { compilePattern, Decoder, type Instruction } from "@hvjournal/engine";
import { RandomSource } from "./random-source.js";
import { CASE_WORDS_MAX, codeAddress, DATA_ADDRESS, DATA_BYTES, type UserCase, type UserState } from "./user-case.js";

/** Pointers stay here, so that small offsets in both directions stay inside the data. */
const POINTER_FIRST = DATA_ADDRESS + 0x800;
const POINTER_LAST = DATA_ADDRESS + 0xbff;
/** Scaled unsigned offsets up to 255 elements of 16 bytes. */
const IMM12_MAX = 0xff;
const INDEX_FIRST = -16;
const INDEX_LAST = 63;

/**
 * In sequences these registers hold pointers and indices throughout. Exclusives have a pointer for each size that no
 * writeback moves: whether a store-exclusive of another size succeeds, or one that fails checks its alignment,
 * is an implementation's choice.
 */
const EXCLUSIVE_POINTER_REGISTERS = [20, 21, 22, 23, 24] as const;
export const POINTER_REGISTERS = [25, 26, 27] as const;
/** Behind all that other instructions reach, and apart: whether a plain store opens the monitor is such a choice too. */
const EXCLUSIVE_POINTER_FIRST = DATA_ADDRESS + 0x1d00;
const EXCLUSIVE_POINTER_STRIDE = 0x80;
const INDEX_REGISTERS = [16, 17, 18, 19] as const;
const FREE_REGISTERS = [...Array.from({ length: 16 }, (_, register) => register), 28, 29, 30, 31];
const REGISTER_31 = 31;
/** In sequences. */
const WRITEBACK_BYTES_MAX = 64;
const WRITEBACK_ELEMENTS_MAX = 8;

const INTERESTING = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
] as const;

type Class = "memory" | "branch" | "other";

/** Arm ARM C4.1: bits 28 to 25 tell the main classes apart. */
function classOf(encoding: number): Class {
  const op0 = (encoding >>> 25) & 15;
  if ((op0 & 0b0101) === 0b0100) return "memory";
  return (op0 & 0b1110) === 0b1010 ? "branch" : "other";
}

/** A word that is not final: the displacement of a branch waits for the places of the others. */
interface Drawn {
  readonly instruction: Instruction;
  readonly encoding: number;
  /** Field of a branch that is to be a distance in words. */
  readonly distanceShift: number | undefined;
  /** May not be reached by a branch: it needs what the word before it does. */
  readonly isGlued: boolean;
}

const DRAWS_MAX = 10_000;
/** `ADD X28, X28, #1`: tells how many words were run. */
const MARKER = 0x9100_079c;
const DISTANCE_FIELDS = ["imm26", "imm19", "imm14"];

export interface CaseOptions {
  /** FPCR at the start; one is drawn. */
  readonly fpcr?: readonly number[];
}

export class RandomCases {
  readonly #random: RandomSource;
  readonly #instructions: readonly Instruction[];
  readonly #decoder: Decoder;
  readonly #options: CaseOptions;

  /** `precedence`: all definitions that hold, in order, `instructions` among them. */
  constructor(
    seed: number,
    instructions: readonly Instruction[],
    precedence: readonly Instruction[] = instructions,
    options: CaseOptions = {},
  ) {
    this.#random = new RandomSource(seed);
    this.#instructions = instructions;
    this.#decoder = new Decoder(precedence);
    this.#options = options;
  }

  /** One instruction with any registers; a branch is followed by words that tell where it went. */
  single(instruction: Instruction, caseIndex: number): UserCase {
    const start = codeAddress(caseIndex);
    const drawn = this.#draw(instruction, start, "any");
    const state = this.#state();
    const encoding = this.#encodingWithDistance(drawn, 1, 5);
    const fields = this.#fieldsOf(encoding);
    const kind = classOf(encoding);
    if (kind === "memory") this.#pointAtData(state, fields, instruction);
    if (kind !== "branch") return { state, words: [encoding] };
    if (fields["Rn"] !== undefined && fields["Rn"] !== REGISTER_31) {
      state.x[fields["Rn"]] = BigInt(start + 4 * this.#random.between(1, 5));
    }
    return { state, words: [encoding, MARKER, MARKER, MARKER, MARKER] };
  }

  /** `length` instructions of which any may follow any, with branches forward. */
  sequence(length: number, caseIndex: number): UserCase {
    const words = this.words(length, caseIndex);
    return { state: this.#state(), words };
  }

  /** The words of `sequence`, for any state whose registers are reserved as in `randomUserState`. */
  words(length: number, slot: number): number[] {
    return this.#words(slot, length, () => this.#random.pick(this.#instructions), "reserved");
  }

  /** One instruction, with what leads to it and tells where it went; only its bases and indices are reserved. */
  alone(instruction: Instruction, slot: number): number[] {
    const words = this.#words(slot, 1, () => instruction, "bases");
    return classOf(compilePattern(instruction.pattern).value) === "branch"
      ? [...words, MARKER, MARKER, MARKER, MARKER]
      : words;
  }

  #words(slot: number, length: number, next: () => Instruction, registers: "bases" | "reserved"): number[] {
    const start = codeAddress(slot);
    const drawn: Drawn[] = [];
    while (drawn.length < length) {
      const at = start + 4 * drawn.length;
      const instruction = next();
      const word = this.#draw(instruction, at, registers);
      const target = this.#fieldsOf(word.encoding)["Rn"];
      const isIndirect = classOf(word.encoding) === "branch" && target !== undefined;
      if (!isIndirect) drawn.push(word);
      // A branch to a register goes to the word behind it.
      else if (target !== REGISTER_31) drawn.push(addressOfNextButOne(instruction, target), { ...word, isGlued: true });
    }
    const words = drawn.slice(0, CASE_WORDS_MAX);
    return words.map((word, index) => this.#placed(word, index, words));
  }

  #placed(word: Drawn, index: number, words: readonly Drawn[]): number {
    let distance = this.#random.between(1, Math.min(8, words.length - index));
    while (words[index + distance]?.isGlued === true) distance += 1;
    return this.#encodingWithDistance(word, distance, distance);
  }

  #encodingWithDistance({ encoding, distanceShift }: Drawn, first: number, last: number): number {
    return distanceShift === undefined
      ? encoding
      : (encoding | (this.#random.between(first, last) << distanceShift)) >>> 0;
  }

  #fieldsOf(encoding: number): Readonly<Record<string, number>> {
    return this.#decoder.decode(encoding)?.fields ?? {};
  }

  #draw(instruction: Instruction, address: number, registers: Registers): Drawn {
    const pattern = compilePattern(instruction.pattern);
    const kind = classOf(pattern.value);
    const distance = kind === "branch" ? pattern.fields.find(({ name }) => DISTANCE_FIELDS.includes(name)) : undefined;
    // Bits that do not matter should be ones.
    const named = pattern.fields.reduce((bits, { mask, shift }) => bits | (mask << shift), pattern.mask);
    for (let draw = 0; draw < DRAWS_MAX; draw++) {
      let encoding = pattern.value | ~named;
      for (const { name, mask, shift } of pattern.fields) {
        if (name === distance?.name) continue;
        const value = registers === "any" ? undefined : this.#register(name, kind, pattern.value, registers);
        encoding |= (value ?? this.#fieldValue(name, mask, kind, address)) << shift;
      }
      encoding >>>= 0;
      // Zero stands for the distance: it decodes alike.
      if (registers !== "any" && this.#harmsReserved(encoding, kind)) continue;
      if (this.#decoder.decode(encoding)?.instruction === instruction) {
        return { instruction, encoding, distanceShift: distance?.shift, isGlued: false };
      }
    }
    throw new Error(`${instruction.mnemonic}: none of ${DRAWS_MAX} encodings is this instruction`);
  }

  #fieldValue(name: string, mask: number, kind: Class, address: number): number {
    const random = this.#random;
    if (kind === "memory" && name === "imm12") return random.below(IMM12_MAX + 1);
    if (kind === "memory" && name === "imm19") {
      return ((random.between(POINTER_FIRST, POINTER_LAST) & ~15) - address) >> 2;
    }
    if (mask > 31 && random.oneIn(4)) return random.pick([0, 1, mask, mask >>> 1, (mask >>> 1) + 1]);
    return (random.word() & mask) >>> 0;
  }

  /** In a sequence: only bases are pointers, and nothing else is a base. `bits`: what the pattern fixes. */
  #register(name: string, kind: Class, bits: number, registers: "bases" | "reserved"): number | undefined {
    if (kind === "memory" && name === "Rn") {
      return isExclusive(bits)
        ? EXCLUSIVE_POINTER_REGISTERS[(bits >>> 30) + ((bits >>> 21) & 1)]
        : this.#random.pick(registers === "bases" ? [...POINTER_REGISTERS, REGISTER_31] : POINTER_REGISTERS);
    }
    if (kind === "memory" && name === "Rm") return this.#random.pick(INDEX_REGISTERS);
    return registers === "reserved" && /^R[a-z]2?$/.test(name) ? this.#random.pick(FREE_REGISTERS) : undefined;
  }

  /** A pointer must not walk out of the data in a few writebacks. */
  #harmsReserved(encoding: number, kind: Class): boolean {
    if (kind !== "memory") return false;
    const { imm9 = 0, imm7 = 0 } = this.#fieldsOf(encoding);
    return Math.abs((imm9 << 23) >> 23) > WRITEBACK_BYTES_MAX || Math.abs((imm7 << 25) >> 25) > WRITEBACK_ELEMENTS_MAX;
  }

  #pointAtData(state: MutableState, fields: Readonly<Record<string, number>>, instruction: Instruction): void {
    const { Rn: base, Rm: index } = fields;
    if (index !== undefined && index !== REGISTER_31) {
      state.x[index] = BigInt.asUintN(64, BigInt(this.#random.between(INDEX_FIRST, INDEX_LAST)));
    }
    if (base === undefined) return;
    // Whether a store-exclusive that fails checks its alignment is an implementation's choice.
    const isAligned = /^STL?X/.test(instruction.mnemonic) || !this.#random.oneIn(4);
    const pointer = this.#pointer() & (isAligned ? ~15n : ~0n);
    if (base === REGISTER_31) state.sp = pointer;
    else state.x[base] = pointer;
  }

  #pointer(): bigint {
    return randomPointer(this.#random);
  }

  #state(): MutableState {
    return randomUserState(this.#random, this.#options.fpcr ?? [0]);
  }
}

function randomPointer(random: RandomSource): bigint {
  return BigInt(random.between(POINTER_FIRST, POINTER_LAST));
}

function randomRegister(random: RandomSource): bigint {
  if (random.oneIn(3)) return random.pick(INTERESTING);
  if (random.oneIn(3)) return BigInt(random.word());
  return random.doubleword() >> BigInt(random.oneIn(2) ? random.below(64) : 0);
}

/** With pointers and indices in the registers that are reserved for them. */
export function randomUserState(random: RandomSource, fpcr: readonly number[]): MutableState {
  const x = Array.from({ length: 31 }, () => randomRegister(random));
  for (const register of POINTER_REGISTERS) x[register] = randomPointer(random) & ~15n;
  EXCLUSIVE_POINTER_REGISTERS.forEach((register, size) => {
    x[register] = BigInt(EXCLUSIVE_POINTER_FIRST + size * EXCLUSIVE_POINTER_STRIDE + 16 * random.below(8));
  });
  for (const register of INDEX_REGISTERS) {
    x[register] = BigInt(random.between(0, INDEX_LAST));
  }
  const memory = new Uint8Array(DATA_BYTES);
  const view = new DataView(memory.buffer);
  for (let offset = 0; offset < DATA_BYTES; offset += 4) view.setUint32(offset, random.word(), true);
  return {
    x,
    sp: randomPointer(random) & ~15n,
    nzcv: random.below(16),
    fpcr: random.pick(fpcr),
    fpsr: 0,
    v: Array.from({ length: 32 }, () => (randomRegister(random) << 64n) | randomRegister(random)),
    memory,
  };
}

/** Load/store exclusive, without the ordered ones: bits 29 to 24, and 23. */
function isExclusive(bits: number): boolean {
  return ((bits >>> 23) & 0b111_1111) === 0b001_0000;
}

/** `bases`: pointers and indices of loads and stores alone are reserved. `reserved`: nothing else may be in those registers. */
type Registers = "any" | "bases" | "reserved";

interface MutableState extends UserState {
  readonly x: bigint[];
  sp: bigint;
}

/** `ADR Xd, #8`, put before a branch to Xd. */
function addressOfNextButOne(instruction: Instruction, rd: number): Drawn {
  return { instruction, encoding: (0x1000_0000 | (2 << 5) | rd) >>> 0, distanceShift: undefined, isGlued: false };
}
