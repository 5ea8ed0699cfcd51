/**
 * `npm run fuzz -- [--seconds n] [--bits 32|64] [--oracle host|qemu] [--group general|vectors] [--match regex] [--undefined] [--seed n]`:
 * random cases against an oracle until the time is over, and what they covered by definition. With `--write-vectors FILE` it
 * writes some (`--each`) of each definition with what the oracle says instead.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Instruction } from "@hvjournal/engine";
import { type Bits, differences, RAN_OUT, type UserCase } from "./case-block.js";
import { caseText } from "./comparison.js";
import { hostOracle, type Oracle, qemuOracle } from "./native-runner.js";
import { RandomCases } from "./random-cases.js";
import { userInstructions } from "./user-instructions.js";
import { vcpuRunner } from "./vcpu-runner.js";
import { vectorOf } from "./vectors.js";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    bits: { type: "string", default: "64" },
    oracle: { type: "string", default: "host" },
    group: { type: "string", default: "general" },
    match: { type: "string", default: "" },
    seed: { type: "string", default: String(Date.now() % 0x1_0000_0000) },
    undefined: { type: "boolean", default: false },
    blocks: { type: "boolean", default: false },
    "write-vectors": { type: "string" },
    each: { type: "string", default: "3" },
  },
});

/** Of one definition. */
interface Coverage {
  cases: number;
  ended: number;
  differing: number;
}

const SHOWN = 12;
const SEQUENCES_A_ROUND = 200;
const SEQUENCE_LENGTH = 6;

function oracleOf(name: string, bits: Bits): Oracle {
  const oracle = name === "qemu" ? qemuOracle(bits) : hostOracle(bits);
  if (typeof oracle === "string") throw new Error(oracle);
  return oracle;
}

/** What the options ask for. */
function chosen(): { readonly bits: Bits; readonly oracle: Oracle; readonly instructions: readonly Instruction[] } {
  const bits: Bits = values.bits === "32" ? 32 : 64;
  const oracle = oracleOf(values.oracle, bits);
  const group = values.group === "general" ? "general" : "floats and vectors";
  const pattern = new RegExp(values.match);
  const instructions = userInstructions(bits, group, oracle).filter(({ mnemonic }) => pattern.test(mnemonic));
  return { bits, oracle, instructions };
}

function fuzz(): number {
  const { bits, oracle, instructions } = chosen();
  const run = vcpuRunner(values.blocks ? { tier: "blocks" } : {});
  const covered = new Map<string, Coverage>(
    instructions.map(({ mnemonic }) => [mnemonic, { cases: 0, ended: 0, differing: 0 }]),
  );
  const end = performance.now() + 1000 * Number(values.seconds);
  let shown = 0;
  let total = 0;
  for (let round = 0; round === 0 || performance.now() < end; round++) {
    const cases = roundOf(new RandomCases(Number(values.seed) + round, bits), instructions);
    const expected = oracle.run(cases);
    run(cases).forEach((result, index) => {
      const [userCase, wanted] = [cases[index], expected[index]];
      if (userCase === undefined || wanted === undefined) return;
      const { toEndOnly, hasX87 } = oracle;
      const lines = differences(userCase, result, wanted, { toEndOnly, hasX87, undefinedToo: values.undefined });
      total += 1;
      note(covered, userCase, wanted.end.vector === RAN_OUT, lines.length > 0);
      if (lines.length > 0 && shown++ < SHOWN) console.log(caseText(userCase, lines));
    });
  }
  print(covered, `${total} cases of ${bits} bits against ${oracle.name}, seed ${values.seed}: ${shown} differ`);
  return shown === 0 ? 0 : 1;
}

function roundOf(random: RandomCases, instructions: readonly Instruction[]): UserCase[] {
  const single = instructions.flatMap((instruction) => random.single(instruction) ?? []);
  const sequences = Array.from({ length: SEQUENCES_A_ROUND }, () => random.sequence(instructions, SEQUENCE_LENGTH));
  return [...single, ...sequences];
}

/** Of a sequence each definition counts; that it differs only where it stands alone. */
function note(covered: Map<string, Coverage>, { mnemonics }: UserCase, ended: boolean, differs: boolean): void {
  for (const mnemonic of mnemonics) {
    const coverage = covered.get(mnemonic);
    if (coverage === undefined) continue;
    coverage.cases += 1;
    if (ended) coverage.ended += 1;
    if (differs && mnemonics.length === 1) coverage.differing += 1;
  }
}

function print(covered: ReadonlyMap<string, Coverage>, title: string): void {
  console.log("\ndefinition                                cases  to their end  differing alone");
  for (const [mnemonic, { cases, ended, differing }] of covered) {
    const remark = cases === 0 ? "  never reached" : ended === 0 ? "  never ended" : "";
    console.log(
      `${mnemonic.padEnd(40)}${String(cases).padStart(7)}${String(ended).padStart(14)}${String(differing).padStart(17)}${remark}`,
    );
  }
  console.log(title);
}

/** Those that end by themselves, mostly. */
function writeVectors(path: string): number {
  const { bits, oracle, instructions } = chosen();
  const random = new RandomCases(Number(values.seed), bits);
  const each = Number(values.each);
  const lines = instructions.flatMap((instruction) => {
    const cases = Array.from({ length: 3 * each }, () => random.single(instruction) ?? []).flat();
    const results = cases.length === 0 ? [] : oracle.run(cases);
    const pairs = cases.flatMap((userCase, index) => {
      const result = results[index];
      const isLinux = result?.end.vector === 14 && result.end.cr2 > 0xffff_ffffn;
      return result === undefined || isLinux ? [] : [{ userCase, result }];
    });
    const ended = pairs.filter(({ result }) => result.end.vector === RAN_OUT);
    const others = pairs.filter(({ result }) => result.end.vector !== RAN_OUT);
    const taken = [...ended.slice(0, each), ...others].slice(0, each);
    return [`# ${instruction.mnemonic}`, ...taken.map(({ userCase, result }) => vectorOf(userCase, result))];
  });
  writeFileSync(path, `${lines.join("\n")}\n`);
  return 0;
}

process.exitCode = values["write-vectors"] === undefined ? fuzz() : writeVectors(values["write-vectors"]);
