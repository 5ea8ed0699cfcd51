/** A64 user code against QEMU's Cortex-A57. */
import type { Instruction } from "@hvjournal/engine";
import { engineRunner } from "../arm64/engine-user.js";
import { isQemuUserAvailable, runUnderQemu } from "../arm64/qemu-user.js";
import { mnemonicsOf, seededCase, type SeededCase, seededRound, userInstructions } from "../arm64/seeded-cases.js";
import { CASE_COUNT_MAX, differences } from "../arm64/user-case.js";
import { vectorOf } from "../arm64/vectors.js";
import type { FuzzTarget } from "./campaign.js";
import type { TargetOptions } from "./target-options.js";
import type { VectorLine } from "./vector-file.js";

const NOP = 0xd503_201f;

export function arm64Targets({ matches, tier }: TargetOptions): FuzzTarget<SeededCase>[] {
  if (!isQemuUserAvailable()) throw new Error("qemu-aarch64 is not installed, and A64 code is compared with it");
  const drawn = userInstructions.filter(({ mnemonic }) => matches.test(mnemonic));
  return drawn.length === 0 ? [] : [new Arm64Target(drawn, engineRunner(tier === undefined ? {} : { tier }))];
}

class Arm64Target implements FuzzTarget<SeededCase> {
  readonly name = "arm64 against qemu-aarch64";
  readonly definitions: readonly string[];
  readonly #instructions: readonly Instruction[];
  readonly #run: ReturnType<typeof engineRunner>;

  constructor(instructions: readonly Instruction[], run: ReturnType<typeof engineRunner>) {
    this.#instructions = instructions;
    this.#run = run;
    this.definitions = instructions.map(({ mnemonic }) => mnemonic);
  }

  draw(seed: number): SeededCase[] {
    return seededRound(seed, this.#instructions, CASE_COUNT_MAX);
  }

  compare(cases: readonly SeededCase[]): ReturnType<FuzzTarget<SeededCase>["compare"]> {
    return batches(cases).flatMap((batch) => this.#compareBatch(batch));
  }

  #compareBatch(cases: readonly SeededCase[]): ReturnType<FuzzTarget<SeededCase>["compare"]> {
    const expected = runUnderQemu(cases);
    return this.#run(cases).map((actual, index) => {
      const wanted = expected[index];
      if (wanted === undefined) return { ended: false, isOpen: false, lines: ["no result of QEMU"] };
      return { ended: wanted.trap === undefined, isOpen: false, lines: differences(actual, wanted) };
    });
  }

  definitionsOf(userCase: SeededCase): string[] {
    return mnemonicsOf(userCase);
  }

  shorter({ stateSeed, words, slot }: SeededCase): SeededCase[] {
    const made = words.flatMap((word, index) =>
      word === NOP ? [] : [words.map((other, place) => (place === index ? NOP : other))],
    );
    const withoutEnd = words.at(-1) === NOP && words.length > 1 ? [words.slice(0, -1)] : [];
    return [...withoutEnd, ...made].map((shorter) => seededCase(stateSeed, shorter, slot));
  }

  vectors(cases: readonly SeededCase[]): VectorLine[] {
    const title = (userCase: SeededCase): string => mnemonicsOf(userCase).join("; ");
    return batches(cases).flatMap((batch) => {
      const results = runUnderQemu(batch);
      return batch.flatMap((userCase, index) => {
        const result = results[index];
        return result === undefined ? [] : [{ title: title(userCase), line: vectorOf(userCase, result) }];
      });
    });
  }
}

/** In order; in none are two cases of one place. */
function batches(cases: readonly SeededCase[]): SeededCase[][] {
  const made: SeededCase[][] = [];
  let slots = new Set<number>();
  for (const userCase of cases) {
    if (made.length === 0 || slots.has(userCase.slot)) {
      made.push([]);
      slots = new Set();
    }
    slots.add(userCase.slot);
    made.at(-1)?.push(userCase);
  }
  return made;
}
