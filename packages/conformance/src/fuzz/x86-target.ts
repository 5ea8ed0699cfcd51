/** x86 user code against the host's own CPU, or QEMU. */
import type { Instruction } from "@hvjournal/engine";
import { type Bits, RAN_OUT, type UserCase, type UserRunner } from "../x86/case-block.js";
import { hostOracle, type Oracle, qemuOracle } from "../x86/native-runner.js";
import { judge } from "../x86/open-differences.js";
import { RandomCases, shorterCases } from "../x86/random-cases.js";
import { type InstructionGroup, userInstructions } from "../x86/user-instructions.js";
import { vcpuRunner } from "../x86/vcpu-runner.js";
import { vectorOf } from "../x86/vectors.js";
import type { FuzzTarget } from "./campaign.js";
import type { TargetOptions } from "./target-options.js";
import type { VectorLine } from "./vector-file.js";

export interface X86Options extends TargetOptions {
  readonly bits: readonly Bits[];
  readonly groups: readonly InstructionGroup[];
  readonly oracle: "host" | "qemu" | undefined;
  /** Compare what the manual leaves undefined of the flags too. */
  readonly undefinedToo: boolean;
}

const SEQUENCES_A_ROUND = 400;
const SEQUENCE_LENGTH = 6;

/** For each number of bits and each group one. */
export function x86Targets(options: X86Options): FuzzTarget<UserCase>[] {
  const run = vcpuRunner(options.tier === undefined ? {} : { tier: options.tier });
  return options.bits.flatMap((bits) => {
    const oracle = oracleFor(bits, options.oracle);
    return options.groups.flatMap((group) => {
      const drawn = userInstructions(bits, group, oracle).filter(({ mnemonic }) => options.matches.test(mnemonic));
      return drawn.length === 0 ? [] : [new X86Target(bits, drawn, oracle, run, options.undefinedToo)];
    });
  });
}

export function oracleFor(bits: Bits, name: X86Options["oracle"]): Oracle {
  const host = name === "qemu" ? "not asked for" : hostOracle(bits);
  const oracle = typeof host === "string" && name !== "host" ? qemuOracle(bits) : host;
  if (typeof oracle === "string") throw new Error(`no oracle for x86 code of ${bits} bits: ${oracle}`);
  return oracle;
}

class X86Target implements FuzzTarget<UserCase> {
  readonly name: string;
  readonly definitions: readonly string[];
  readonly #bits: Bits;
  readonly #instructions: readonly Instruction[];
  readonly #oracle: Oracle;
  readonly #run: UserRunner;
  readonly #undefinedToo: boolean;

  constructor(
    bits: Bits,
    instructions: readonly Instruction[],
    oracle: Oracle,
    run: UserRunner,
    undefinedToo: boolean,
  ) {
    this.name = `x86 of ${bits} bits against ${oracle.name}`;
    this.definitions = instructions.map(({ mnemonic }) => mnemonic);
    this.#bits = bits;
    this.#instructions = instructions;
    this.#oracle = oracle;
    this.#run = run;
    this.#undefinedToo = undefinedToo;
  }

  draw(seed: number): UserCase[] {
    const random = new RandomCases(seed, this.#bits);
    const sequences = Array.from({ length: SEQUENCES_A_ROUND }, () =>
      random.sequence(this.#instructions, SEQUENCE_LENGTH),
    );
    const drawn = [...sequences, ...this.#instructions.flatMap((instruction) => random.single(instruction) ?? [])];
    return drawn.filter((userCase) => this.#oracle.canEnter(userCase));
  }

  compare(cases: readonly UserCase[]): ReturnType<FuzzTarget<UserCase>["compare"]> {
    const { toEndOnly, hasX87 } = this.#oracle;
    const options = { toEndOnly, hasX87, undefinedToo: this.#undefinedToo };
    const expected = this.#oracle.run(cases);
    return this.#run(cases).map((actual, index) => {
      const [userCase, wanted] = [cases[index], expected[index]];
      if (userCase === undefined || wanted === undefined) return { ended: false, isOpen: false, lines: ["no result"] };
      if (wanted === "failed") return { ended: false, isOpen: true, lines: [] };
      const { decided, isOpen } = judge(userCase, actual, wanted, options);
      return { ended: wanted.end.vector === RAN_OUT, isOpen, lines: decided };
    });
  }

  definitionsOf({ mnemonics }: UserCase): readonly string[] {
    return mnemonics;
  }

  shorter(userCase: UserCase): UserCase[] {
    return shorterCases(userCase);
  }

  vectors(cases: readonly UserCase[]): VectorLine[] {
    const results = this.#oracle.run(cases);
    return cases.flatMap((userCase, index) => {
      const result = results[index];
      return typeof result !== "object"
        ? []
        : [{ title: userCase.mnemonics.join("; "), line: vectorOf(userCase, result) }];
    });
  }
}
