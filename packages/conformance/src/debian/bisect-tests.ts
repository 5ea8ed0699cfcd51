/** A test of which of six changes keeps a stock Linux from bringing up its second CPU. */
import { afterAll, expect, it } from "@jest/globals";
import { copyFileSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import type { LinuxGuest } from "./linux-guest.js";

/** What an architecture's machine has to be changed, and what its kernel says. */
export interface BisectWords {
  /** The rest of the bad one's machine file: RAM and command line are changed anyway. */
  readonly changes: string;
  /** What a good one says; a regular expression. */
  readonly good: string;
  /** Guest time that a good run does not need. */
  readonly timeout: string;
  /** All that is said of what the cause is. */
  readonly cause: RegExp;
}

/** undefined: there is no such guest here, and it is skipped. */
export function testBisect(linux: LinuxGuest | undefined, words: BisectWords): void {
  describeWhere(linux !== undefined)("a stock Linux with two CPUs", () => {
    if (linux !== undefined) bisectTest(linux, words);
  });
}

function bisectTest({ guest, serialPort }: LinuxGuest, { changes, good, timeout, cause }: BisectWords): void {
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());

  it("names the one change among six that keeps its second CPU from coming up", () => {
    copyFileSync(guest.image, sandbox.path("kernel"));
    const append = `console=${serialPort} panic=-1`;
    writeFileSync(sandbox.path("new.yaml"), `memory: 320M\nappend: ${append} loglevel=7\n${changes}`);
    const run = ["--headless", "-q", "--until", `console:/${good}/`, "-o", "good.hvj"];
    sandbox.must("record", "kernel", "--append", append, "--smp", "2", "--seed", "1", ...run);
    const expected = ["--expect", `console =~ /${good}/`, "--timeout", timeout];
    const { status, stdout, stderr } = sandbox.run("bisect", "good.hvj", "--with", "new.yaml", ...expected);
    expect(stderr).toContain("6 differences; inputs of good.hvj re-driven\n");
    const runs = stderr.match(/^ {2}run \d+ /gm) ?? [];
    expect(runs.length).toBeLessThanOrEqual(7);
    expect(stdout).toMatch(cause);
    expect(status).toBe(0);
  });
}
