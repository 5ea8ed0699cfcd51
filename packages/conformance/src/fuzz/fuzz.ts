/**
 * `npm run fuzz`: random user code on a vCPU and on an oracle, which for x86 is the host's own CPU, or QEMU where that is
 * no x86-64 (`--oracle qemu`), and QEMU for A64. Prints what was covered by definition, and what differs, reduced to a case
 * that can be committed. With `--write-vectors FILE` it writes some cases of each definition with what the oracle says.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Bits } from "../x86/case-block.js";
import type { InstructionGroup } from "../x86/user-instructions.js";
import { arm64Targets } from "./arm64-target.js";
import { Campaign, coverageText, type Findings, type FuzzTarget } from "./campaign.js";
import { openDifferencesText } from "./open-differences.js";
import type { TargetOptions } from "./target-options.js";
import { writtenVectors } from "./written-vectors.js";
import { x86Targets } from "./x86-target.js";

const USAGE = `usage: npm run fuzz -- [options]
  --arch amd64|arm64          one architecture; both
  --cases N                   cases of each architecture (20000)
  --seed S                    repeats a run; a fresh one
  --match REGEX               definitions whose mnemonic matches
  --tier interpreter|blocks   how the vCPU runs code
  --bits 32|64                amd64: one mode; both
  --group general|vectors     amd64: one group of definitions; both
  --oracle host|qemu          amd64: what cases are compared with; the host where it can
  --undefined                 amd64: compare undefined flags too
  --open                      list what is not compared, with the manual's sections
  --write-vectors FILE        write cases with their results instead; --each N (2) of each definition`;

type Architecture = "amd64" | "arm64";

class UsageError extends Error {}

function readOptions(): ReturnType<typeof parse>["values"] {
  try {
    return parse().values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parse() {
  return parseArgs({
    options: {
      arch: { type: "string" },
      cases: { type: "string", default: "20000" },
      seed: { type: "string", default: String(Date.now() % 0x1_0000_0000) },
      match: { type: "string", default: "" },
      tier: { type: "string" },
      bits: { type: "string" },
      group: { type: "string" },
      oracle: { type: "string" },
      undefined: { type: "boolean", default: false },
      open: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      "write-vectors": { type: "string" },
      each: { type: "string", default: "2" },
    },
  });
}

type Options = ReturnType<typeof readOptions>;

/** The value of an option that has a few. */
function oneOf<Value extends string>(
  name: string,
  given: string | undefined,
  known: readonly Value[],
): Value | undefined {
  if (given === undefined) return undefined;
  const value = known.find((word) => word === given);
  if (value === undefined) throw new UsageError(`--${name} is "${given}", not one of ${known.join(", ")}`);
  return value;
}

function numberOf(name: string, given: string, most: number): number {
  const value = Number(given);
  if (given.trim() === "" || !Number.isInteger(value) || value < 0 || value > most)
    throw new UsageError(`--${name} is "${given}", not a number from 0 to ${most}`);
  return value;
}

function targetOptions({ match, tier }: Options): TargetOptions {
  try {
    return { matches: new RegExp(match), tier: oneOf("tier", tier, ["interpreter", "blocks"]) };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`--match is "${match}", no regular expression`);
  }
}

const GROUPS: Readonly<Record<"general" | "vectors", InstructionGroup>> = {
  general: "general",
  vectors: "floats and vectors",
};

function targetsOf(architecture: Architecture, options: Options): readonly FuzzTarget<unknown>[] {
  const common = targetOptions(options);
  if (architecture === "arm64") return arm64Targets(common);
  const bits = oneOf("bits", options.bits, ["32", "64"]);
  const group = oneOf("group", options.group, ["general", "vectors"]);
  return x86Targets({
    ...common,
    bits: bits === undefined ? [64, 32] : [Number(bits) as Bits],
    groups: group === undefined ? Object.values(GROUPS) : [GROUPS[group]],
    oracle: oneOf("oracle", options.oracle, ["host", "qemu"]),
    undefinedToo: options.undefined,
  });
}

function report(architecture: Architecture, seed: number, seconds: number, findings: Findings): void {
  const { coverage, cases, instructions, differing, open, shown } = findings;
  const unmet = [...coverage.values()].filter((each) => each.cases === 0).length;
  console.log(`\n${coverageText(coverage)}`);
  for (const text of shown) console.log(`\n${text}`);
  console.log(
    `\n${architecture}, seed ${seed}: ${cases} cases of ${instructions} instructions in ${seconds} s, ${differing} differ, ${open} where it is open; ` +
      `${coverage.size} definitions, ${unmet} never met`,
  );
}

function fuzz(options: Options, architectures: readonly Architecture[]): number {
  const count = numberOf("cases", options.cases, 1e9);
  const seed = numberOf("seed", options.seed, 0xffff_ffff);
  const targets = architectures.map((architecture) => [architecture, targetsOf(architecture, options)] as const);
  if (targets.every(([, all]) => all.length === 0))
    throw new UsageError(`--match is "${options.match}", which no definition's mnemonic matches`);
  let differing = 0;
  for (const [architecture, all] of targets) {
    if (all.length === 0) continue;
    const begun = performance.now();
    const elapsed = (): number => Math.round((performance.now() - begun) / 1000);
    const findings = new Campaign().run(all, seed, count, (done, differ) => {
      process.stderr.write(
        `\r${architecture}, seed ${seed}: ${done} of ${count} cases, ${differ} differ, ${elapsed()} s `,
      );
    });
    process.stderr.write("\n");
    report(architecture, seed, elapsed(), findings);
    differing += findings.differing;
  }
  return differing === 0 ? 0 : 1;
}

function main(): number {
  const options = readOptions();
  const architecture = oneOf("arch", options.arch, ["amd64", "arm64"]);
  const architectures: readonly Architecture[] = architecture === undefined ? ["amd64", "arm64"] : [architecture];
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  if (options.open) {
    console.log(openDifferencesText(architectures));
    return 0;
  }
  const path = options["write-vectors"];
  if (path === undefined) return fuzz(options, architectures);
  const seed = numberOf("seed", options.seed, 0xffff_ffff);
  const targets = architectures.flatMap((each) => targetsOf(each, options));
  writeFileSync(path, writtenVectors(targets, seed, numberOf("each", options.each, 100)));
  return 0;
}

try {
  process.exitCode = main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`${error.message}\n${USAGE}`);
  process.exitCode = 2;
}
