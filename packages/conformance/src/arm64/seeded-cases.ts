/** Random cases of which a seed, a place and a few words are all there is: they can be written down in a line. */
import { compilePattern, Decoder, type Instruction } from "@hvjournal/engine";
import {
  branches,
  dataProcessingImmediate,
  dataProcessingRegister,
  exclusives,
  loadsAndStores,
  simdAndFloatInstructions,
} from "@hvjournal/cpu-arm64";
import { randomVector } from "./float-vectors.js";
import { POINTER_REGISTERS, RandomCases, randomUserState } from "./random-cases.js";
import { RandomSource } from "./random-source.js";
import type { UserCase, UserState } from "./user-case.js";

export interface SeededCase extends UserCase {
  readonly stateSeed: number;
  readonly slot: number;
}

/** All that is compared, in the order in which encodings are looked up. */
export const userInstructions: readonly Instruction[] = [
  ...dataProcessingImmediate,
  ...dataProcessingRegister,
  ...branches,
  ...loadsAndStores,
  ...exclusives,
  ...simdAndFloatInstructions,
];

export const userDecoder: Decoder = new Decoder(userInstructions);

/** Arm ARM D13.2.47: AHP, DN, FZ, RMode. A Cortex-A57 traps no exception. */
const FPCR_BITS = [0x400_0000, 0x200_0000, 0x100_0000, 0x80_0000, 0x40_0000];
/** D13.2.48: QC, IDC, IXC, UFC, OFC, DZC, IOC. */
const FPSR_BITS = 0x800_009f;
const SINGLE_PRECISION_SIGN = 1n << 31n;
const DOUBLE_PRECISION_SIGN = 1n << 63n;

/** What a seed stands for: a change needs new vectors. */
export function seededState(stateSeed: number): UserState {
  const random = new RandomSource(stateSeed);
  const fpcr = random.oneIn(2) ? 0 : FPCR_BITS.reduce((bits, bit) => bits | (random.oneIn(2) ? bit : 0), 0);
  const state = randomUserState(random, [fpcr]);
  const v = Array.from({ length: 32 }, () => randomVector(random));
  // Operands of one magnitude cancel.
  const signs = (1n << 127n) ^ DOUBLE_PRECISION_SIGN ^ SINGLE_PRECISION_SIGN;
  for (let register = 0; register < 32; register += 5) v[register] = (v[register + 1] ?? 0n) ^ signs;
  for (const register of POINTER_REGISTERS)
    if (random.oneIn(4)) state.x[register] = (state.x[register] ?? 0n) + BigInt(random.below(16));
  return { ...state, v, fpsr: random.oneIn(2) ? 0 : random.word() & FPSR_BITS };
}

export function seededCase(stateSeed: number, words: readonly number[], slot: number): SeededCase {
  return { stateSeed, words, slot, state: seededState(stateSeed) };
}

/** Definitions that a case's words are of. */
export function mnemonicsOf({ words }: UserCase): string[] {
  return words.flatMap((word) => userDecoder.decode(word)?.instruction.mnemonic ?? []);
}

/** Arm ARM C4.1: loads and stores have 1 in bit 27 and 0 in bit 25; the vector's have 1 in bit 26. */
function isVectorLoadOrStore({ pattern }: Instruction): boolean {
  return ((compilePattern(pattern).value >>> 25) & 0b111) === 0b110;
}

/** Those of structures move their base by up to 64 bytes each: a few in a row would leave the data. */
const inSequences = userInstructions.filter((instruction) => !isVectorLoadOrStore(instruction));

const SEQUENCE_WORDS_MAX = 24;

/** Of each definition one, then sequences of all: as many as there is room for. */
export function seededRound(seed: number, matching: readonly Instruction[], count: number): SeededCase[] {
  const random = new RandomSource(seed);
  const sequenced = inSequences.filter((instruction) => matching.includes(instruction));
  const alone = new RandomCases(random.word(), matching, userInstructions);
  const inRow = new RandomCases(random.word(), sequenced, userInstructions);
  return Array.from({ length: count }, (_, slot) => {
    const instruction = matching[slot % (matching.length + (sequenced.length === 0 ? 0 : matching.length))];
    const words =
      instruction === undefined
        ? inRow.words(random.between(2, SEQUENCE_WORDS_MAX), slot)
        : alone.alone(instruction, slot);
    return seededCase(random.word(), words, slot);
  });
}
