/** Which integer encodings are undefined on a Cortex-A57, against QEMU. `HVJOURNAL_SEED=n` repeats a run. */
import {
  branches,
  dataProcessingImmediate,
  dataProcessingRegister,
  exclusives,
  loadsAndStores,
} from "@hvjournal/cpu-arm64";
import { Decoder } from "@hvjournal/engine";
import { describe, expect, it } from "@jest/globals";
import { isQemuUserAvailable, runUnderQemu } from "./qemu-user.js";
import { RandomCases } from "./random-cases.js";
import { RandomSource, seedOfRun } from "./random-source.js";
import type { UserState } from "./user-case.js";

const instructions = [
  ...dataProcessingImmediate,
  ...dataProcessingRegister,
  ...branches,
  ...loadsAndStores,
  ...exclusives,
];
const ENCODINGS = 2000;
const seed = seedOfRun();

/** Arm ARM C4.1: data processing and loads and stores without SIMD, and branches to registers. */
function isIntegerSpace(encoding: number): boolean {
  const op0 = (encoding >>> 25) & 15;
  if ((op0 & 0b0101) === 0b0100) return ((encoding >>> 26) & 1) === 0;
  if ((op0 & 0b1110) === 0b1010) return encoding >>> 25 === 0b1101011;
  return (op0 & 0b0111) !== 0b0111;
}

/** CONSTRAINED UNPREDICTABLE encodings that are undefined here (see the chapters' comments) and run under QEMU. */
function isChosenUndefined(encoding: number): boolean {
  const [rt, rn, rt2, rs] = [0, 5, 10, 16].map((shift) => (encoding >>> shift) & 31);
  const isLoad = ((encoding >>> 22) & 1) === 1;
  const isPair = ((encoding >>> 27) & 7) === 0b101;
  const writesBack = isPair ? ((encoding >>> 23) & 1) === 1 : ((encoding >>> 10) & 1) === 1;
  const meetsBase = rn !== 31 && (rt === rn || (isPair && rt2 === rn));
  if (isPair) return (isLoad && rt === rt2) || (writesBack && meetsBase);
  if (((encoding >>> 27) & 7) === 0b111) return writesBack && meetsBase;
  const isExclusivePair = ((encoding >>> 21) & 1) === 1;
  if (isLoad) return isExclusivePair && rt === rt2;
  return rs === rt || (isExclusivePair && rs === rt2) || (rs === rn && rn !== 31);
}

/**
 * Every base and every branch's target is page 0, which nothing maps: an encoding drawn with any offset must not
 * write over what the program under QEMU keeps to go on with the next case.
 */
function unmappedState(state: UserState): UserState {
  return { ...state, x: state.x.map(() => 0n), sp: 0n };
}

const describeWithQemu = isQemuUserAvailable() ? describe : describe.skip;

describeWithQemu(`A64 integer encodings (seed ${seed})`, () => {
  it("are undefined where QEMU has them undefined, at random and next to defined ones", () => {
    const decoder = new Decoder(instructions);
    const random = new RandomSource(seed);
    const cases = new RandomCases(seed, instructions);
    const state = unmappedState(cases.sequence(1, 0).state);
    const encodings: number[] = [];
    while (encodings.length < ENCODINGS) {
      const near = cases.single(random.pick(instructions), 0).words[0] ?? 0;
      const flipped = near ^ (1 << random.below(32)) ^ (random.oneIn(2) ? 1 << random.below(32) : 0);
      const encoding = (random.oneIn(2) ? random.word() : flipped) >>> 0;
      if (isIntegerSpace(encoding)) encodings.push(encoding);
    }
    const results = runUnderQemu(encodings.map((encoding) => ({ state, words: [encoding] })));
    const differing = encodings.filter((encoding, index) => {
      const isUndefined = results[index]?.trap?.kind === "undefined";
      const isDecoded = decoder.decode(encoding) !== undefined;
      return isUndefined === isDecoded && (isUndefined || !isChosenUndefined(encoding));
    });
    expect(differing.map((encoding) => encoding.toString(16).padStart(8, "0"))).toEqual([]);
    expect(results.filter(({ trap }) => trap?.kind === "undefined").length).toBeGreaterThan(ENCODINGS / 10);
  });
});
