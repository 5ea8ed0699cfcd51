/**
 * Every SIMD and floating-point definition, interpreted and compiled, against QEMU: alone, in sequences, and which
 * encodings are undefined. `HVJOURNAL_SEED=n` repeats a run.
 */
import { simdAndFloatInstructions as instructions } from "@hvjournal/cpu-arm64";
import { compilePattern, Decoder } from "@hvjournal/engine";
import { expect, it } from "@jest/globals";
import { describeWhere } from "../testing/describe-where.js";
import { randomVector } from "./float-vectors.js";
import { compareWithQemu, seed } from "./qemu-tests.js";
import { isQemuUserAvailable, runUnderQemu } from "./qemu-user.js";
import { RandomCases } from "./random-cases.js";
import { RandomSource } from "./random-source.js";
import type { UserCase } from "./user-case.js";

/** FPCR: AHP, DN, FZ and RMode. Half the cases have none of them. */
const CONTROLS = [0, 0, 0, 0, 0x40_0000, 0x80_0000, 0xc0_0000, 0x100_0000, 0x200_0000, 0x400_0000, 0x3c0_0000];
/** FPSR: nothing, "inexact", "saturated", all but "inexact". */
const STATUSES = [0, 0x10, 0x10, 0x800_0000, 0x8f];

const CASES_EACH = 3;
const SEQUENCES = 100;
const SEQUENCE_WORDS = 30;
const ENCODINGS = 4000;

function withVectors({ state, words }: UserCase, random: RandomSource): UserCase {
  const v = Array.from({ length: 32 }, () => randomVector(random));
  // Operands of one magnitude cancel.
  for (let register = 0; register < 32; register += 5)
    v[register] = (v[register + 1] ?? 0n) ^ (1n << 127n) ^ (1n << 63n) ^ (1n << 31n);
  return { state: { ...state, v, fpsr: random.pick(STATUSES) }, words };
}

/** Arm ARM C4.1: loads and stores have 1 in bit 27 and 0 in bit 25. */
function isLoadOrStore(encoding: number): boolean {
  return ((encoding >>> 25) & 0b101) === 0b100;
}

function drawRound(round: number): UserCase[] {
  const random = new RandomSource(seed + round);
  const cases = new RandomCases(seed + round, instructions, instructions, { fpcr: CONTROLS });
  return instructions.map((instruction, index) => withVectors(cases.single(instruction, index), random));
}

function drawSequences(): UserCase[] {
  const random = new RandomSource(seed);
  const withoutMemory = instructions.filter(({ pattern }) => !isLoadOrStore(compilePattern(pattern).value));
  const cases = new RandomCases(seed, withoutMemory, instructions, { fpcr: CONTROLS });
  return Array.from({ length: SEQUENCES }, (_, index) => withVectors(cases.sequence(SEQUENCE_WORDS, index), random));
}

compareWithQemu("A64 SIMD and floating point", { rounds: CASES_EACH, drawRound, drawSequences });

/** The cryptographic extension: QEMU's Cortex-A57 has it, this one does not. Mask and value. */
const CRYPTOGRAPHIC: readonly (readonly [number, number])[] = [
  [0xff3e_0c00, 0x4e28_0800],
  [0xff20_8c00, 0x5e00_0000],
  [0xff3e_0c00, 0x5e28_0800],
  [0xbfe0_fc00, 0x0ee0_e000],
];

function isCryptographic(encoding: number): boolean {
  return CRYPTOGRAPHIC.some(([mask, value]) => (encoding & mask) >>> 0 === value);
}

function isSimdSpace(encoding: number): boolean {
  const op0 = (encoding >>> 25) & 15;
  return (op0 & 0b0111) === 0b0111 || (isLoadOrStore(encoding) && ((encoding >>> 26) & 1) === 1);
}

describeWhere(isQemuUserAvailable())(`A64 SIMD and floating-point encodings (seed ${seed})`, () => {
  it("are undefined where QEMU has them undefined, at random and next to defined ones", () => {
    const decoder = new Decoder(instructions);
    const random = new RandomSource(seed);
    const cases = new RandomCases(seed, instructions);
    const { state } = cases.sequence(1, 0);
    const encodings: number[] = [];
    while (encodings.length < ENCODINGS) {
      const near = cases.single(random.pick(instructions), 0).words[0] ?? 0;
      const flipped = near ^ (1 << random.below(32)) ^ (random.oneIn(2) ? 1 << random.below(32) : 0);
      const encoding = (random.oneIn(3) ? random.word() : flipped) >>> 0;
      // Of loads and stores only loads, which leave the oracle as it is.
      const tried = isLoadOrStore(encoding) ? (encoding | (1 << 22)) >>> 0 : encoding;
      if (isSimdSpace(tried) && !isCryptographic(tried)) encodings.push(tried);
    }
    const results = encodings
      .flatMap((_, index) => (index % 1000 === 0 ? [encodings.slice(index, index + 1000)] : []))
      .flatMap((part) => runUnderQemu(part.map((encoding) => ({ state, words: [encoding] }))));
    const differing = encodings.filter((encoding, index) => {
      const isUndefined = results[index]?.trap?.kind === "undefined";
      return isUndefined === (decoder.decode(encoding) !== undefined);
    });
    expect(differing.map((encoding) => encoding.toString(16).padStart(8, "0"))).toEqual([]);
    expect(results.filter(({ trap }) => trap?.kind === "undefined").length).toBeGreaterThan(ENCODINGS / 10);
  });
});
