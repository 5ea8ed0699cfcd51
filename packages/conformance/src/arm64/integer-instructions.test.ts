/**
 * Every integer definition, interpreted and compiled, against QEMU: alone with random registers, and in
 * sequences. `HVJOURNAL_SEED=n` repeats a run.
 */
import {
  branches,
  dataProcessingImmediate,
  dataProcessingRegister,
  exclusives,
  loadsAndStores,
} from "@hvjournal/cpu-arm64";
import { compareWithQemu, seed } from "./qemu-tests.js";
import { RandomCases } from "./random-cases.js";

const instructions = [
  ...dataProcessingImmediate,
  ...dataProcessingRegister,
  ...branches,
  ...loadsAndStores,
  ...exclusives,
];
const CASES_EACH = 4;
const SEQUENCES = 200;
const SEQUENCE_WORDS = 40;

compareWithQemu("A64 integer instructions", {
  rounds: CASES_EACH,
  drawRound(round) {
    const random = new RandomCases(seed + round, instructions);
    return instructions.map((instruction, index) => random.single(instruction, index));
  },
  drawSequences() {
    const random = new RandomCases(seed, instructions);
    return Array.from({ length: SEQUENCES }, (_, index) => random.sequence(SEQUENCE_WORDS, index));
  },
});
