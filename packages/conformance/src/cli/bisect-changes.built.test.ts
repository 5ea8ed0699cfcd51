/** `bisect` among changes: a recording and a new configuration, or two recordings. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { copyFileSync, readdirSync, writeFileSync } from "node:fs";
import { bareMetalImage } from "../guests/bare-metal.js";
import { commandDirectory } from "../testing/command-line.js";
import { type Finished, VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
const fixed = ["--seed", "1", "--rtc", "base=2026-01-01", "--headless", "-q"];
const GOOD_APPEND = "scenario=main input=none ticks=3";

function record(name: string, append: string, ...words: string[]): void {
  sandbox.must("record", "guest.img", "--append", append, ...fixed, "-o", `${name}.hvj`, ...words);
}

function bisect(...words: string[]): Finished {
  return sandbox.run("bisect", ...words);
}

/** Each run's set and verdict. */
function runs({ stderr }: Finished): string[] {
  return [...stderr.matchAll(/^ {2}run \d+ {2}(\S.*?) +(good|bad|skip)(:.*)?$/gm)].map(
    ([, set, verdict]) => `${set} ${verdict}`,
  );
}

const sixChanges = `
memory: 128M
append: scenario=main input=none ticks=4
cap: [ARM_SYSTEM_SUSPEND]
smccc-filter: [0xc5000000+0x10=forward, 0xc6000000+0x100=forward]
firmware-reg: {PSCI_VERSION: 0x10001}
`;

beforeAll(() => {
  copyFileSync(bareMetalImage, sandbox.path("guest.img"));
  writeFileSync(sandbox.path("six.yaml"), sixChanges);
  record("good", GOOD_APPEND);
});
afterAll(() => sandbox.close());

describe("bisect GOOD --with FILE", () => {
  it("names the one of six changes that did it, in at most 7 runs, and what it did first", () => {
    const found = bisect("good.hvj", "--with", "six.yaml", "--expect", "console =~ /psci version 1.3/");
    expect(found.status).toBe(0);
    expect(found.stderr).toContain("6 differences; inputs of good.hvj re-driven\n");
    expect(runs(found).slice(0, 2)).toEqual(["none good", "all bad"]);
    expect(runs(found).length).toBeLessThanOrEqual(7);
    const file = /bisect-\d\.hvj/.exec(found.stdout)?.[0] ?? "";
    expect(found.stdout).toMatch(
      /^caused by 1 of 6: {2}OneRegSet {2}KVM_REG_ARM_PSCI_VERSION {2}0x10003 -> 0x10001\nfirst effect\n {2}good\.hvj {6}exit:\d+ {2}HVC64 0x84000000 PSCI_VERSION {2}kernel half, default rule {2}x0 <- 0x10003.*\n {2}bisect-\d\.hvj {2}exit:\d+ {2}HVC64 0x84000000 PSCI_VERSION {2}kernel half, default rule {2}x0 <- 0x10001.*\n {2}then {10}exit:\d+ {2}console 'psci version 1.1'\n$/,
    );
    expect(found.stderr).toContain(`next: hvjournal diff good.hvj ${file}\n`);
    expect(sandbox.run("diff", "good.hvj", file).stdout).toContain("+OneRegSet KVM_REG_ARM_PSCI_VERSION");
    expect(sandbox.run("replay", file)).toMatchObject({ status: 0 });
  });

  it("says which filter took a call from the kernel half", () => {
    const found = bisect(
      "good.hvj",
      "--with",
      "six.yaml",
      "--expect",
      String.raw`console =~ /hvc 0xc6000001: 0xf{16} 0x0{16}/`,
    );
    expect(found.stdout).toMatch(/^caused by 1 of 6: {2}SmcccFilterSet {2}0xc6000000\+0x100 {2}\(none\) -> forward\n/);
    expect(found.stdout).toMatch(
      /HVC64 0xc6000000 +kernel half, default rule +x0 <- -1, x1 <- 0.*\n.*HVC64 0xc6000000 +KVM_EXIT_HYPERCALL, filter event:\d+ +x0 <- -1\n/,
    );
  });

  it("names two changes that only fail together", () => {
    const both = String.raw`!(console =~ /psci version 1.1\r?\n/) || !(console =~ /hvc 0xc6000001: 0xf+ 0x0000000000001111/)`;
    const found = bisect("good.hvj", "--with", "six.yaml", "--expect", both);
    expect(found.stdout).toMatch(
      /^caused by 2 of 6: {2}SmcccFilterSet {2}0xc6000000\+0x100 {2}\(none\) -> forward\n {19}OneRegSet {2}KVM_REG_ARM_PSCI_VERSION {2}0x10003 -> 0x10001\nfirst effect\n/,
    );
    expect(found.status).toBe(0);
  });

  it("skips what KVM's rules refuse", () => {
    const refused = [
      "--with",
      "smccc-filter=0xc6000000+0x100=forward",
      "--with",
      "smccc-filter=0xc6000080+0x10=forward",
    ];
    const found = bisect("good.hvj", ...refused, "--expect", "console =~ /psci/");
    expect(runs(found)).toEqual(["none good", "all skip"]);
    expect(found.stderr).toMatch(/run 2 {2}all +skip: KVM_ARM_VM_SMCCC_FILTER: EEXIST: /);
    expect(found).toMatchObject({ status: 128 });
  });

  it("takes options one by one, keeps all runs where it is told to, and prints JSON", () => {
    const found = bisect(
      ...["good.hvj", "--with", "smp=2", "--with", "firmware-reg=PSCI_VERSION=0x10000"],
      ...["--expect", "console =~ /psci version 1.3/", "--keep", "kept", "--json"],
    );
    const line = JSON.parse(found.stdout) as { readonly runs: readonly unknown[] };
    expect(line).toMatchObject({
      cause: [2],
      differences: [
        { what: "smp", how: "1 -> 2" },
        { what: "OneRegSet  KVM_REG_ARM_PSCI_VERSION", how: "0x10003 -> 0x10000" },
      ],
      firstEffect: { good: { path: "good.hvj" }, bad: { path: expect.stringMatching(/^kept\/bisect-\d\.hvj$/) } },
    });
    expect(readdirSync(sandbox.path("kept")).length).toBe(line.runs.length);
  });

  it.each([
    [["good.hvj", "--with", "six.yaml"], 129, "needs --expect EXPR or --run COMMAND"],
    [["good.hvj", "--with", "smq=2", "--expect", "time > 1s"], 129, "did you mean smp=?"],
    [
      ["good.hvj", "--with", "nowhere.yaml", "--expect", "time > 1s"],
      129,
      "--with nowhere.yaml: expected a machine file",
    ],
    [["good.hvj", "--with", "smp=1", "--expect", "time > 1s"], 1, "nothing differs from the machine of good.hvj"],
    [["good.hvj", "--with", "smp=2", "--expect", "console =~ /never/"], 128, "with no change applied the run is bad"],
    [
      ["good.hvj", "--with", "smp=2", "--expect", "console =~ /psci/", "--timeout", "10us"],
      128,
      "bad: it still ran at --timeout 10us",
    ],
    [
      ["good.hvj", "--with", "cap=ARM_SYSTEM_SUSPEND", "--expect", "console =~ /psci/"],
      128,
      "with all changes applied the run is good\nnext: hvjournal bisect --keep runs good.hvj --with cap=ARM_SYSTEM_SUSPEND --expect 'console =~ /psci/'\n",
    ],
    [["good.hvj", "--with", "smp=2", "--when", "time > 1s"], 129, "--when is for one recording as it is"],
    [["good.hvj", "--expect", "time > 1s"], 129, "--expect is for a search among changes"],
    [["good.hvj", "good.hvj", "--with", "smp=2"], 129, "good.hvj already says what is changed"],
  ] as const)("refuses %j", (words, status, message) => {
    const result = bisect(...words);
    expect(result.stderr).toContain(message);
    expect(result.status).toBe(status);
  });
});

describe("bisect GOOD BAD", () => {
  beforeAll(() => {
    const words = ["--smccc-filter", "0xc6000000+0x100=forward", "--firmware-reg", "PSCI_VERSION=0x10000"];
    record("bad", "scenario=main input=none ticks=3 end=off", ...words);
    // A guest whose power-off is denied has not ended well.
    const denied = ["--smccc-filter", "0x84000008+1=deny", "--smccc-filter", "0xc5000000+0x10=forward"];
    const all = ["record", "guest.img", "--append", GOOD_APPEND, ...fixed, "-o", "denied.hvj", ...denied];
    expect(sandbox.run(...all)).toMatchObject({ status: 1 });
  });

  it("takes the first exit to the VMM half that is not the same for what is bad", () => {
    const found = bisect("good.hvj", "bad.hvj");
    expect(found.stderr).toContain("3 differences; inputs of good.hvj re-driven\n");
    expect(found.stderr).toContain(
      "bad means: the first exit that differs from GOOD's is BAD's; --expect EXPR says something better\n",
    );
    expect(found.stdout).toMatch(
      /^caused by 1 of 3: {2}append {2}scenario=main input=none ticks=3 -> scenario=main input=none ticks=3 end=off\n/,
    );
  });

  it("takes what the recordings ended by, where that says it, and prints what bad means", () => {
    const psci = "OneRegSet  KVM_REG_ARM_PSCI_VERSION  0x10003 -> 0x10000";
    const words = ["--append", "scenario=main input=none ticks=3 end=off", "--firmware-reg", "PSCI_VERSION=0x10000"];
    const failing = ["record", "guest.img", ...fixed, ...words, "--fail-on", "console:/psci version 1.0/"];
    expect(sandbox.run(...failing, "-o", "failed.hvj")).toMatchObject({ status: 1 });
    const failed = bisect("good.hvj", "failed.hvj");
    expect(failed.stdout).toContain(`caused by 1 of 2:  ${psci}\n`);
    expect(failed.stderr).toContain("bad means: --fail-on console:/psci version 1.0/, by which failed.hvj ended\n");
    record("reached", GOOD_APPEND, "--until", "console:/psci version 1.3/");
    const unreached = bisect("reached.hvj", "bad.hvj", "--json");
    expect(JSON.parse(unreached.stdout)).toMatchObject({
      badMeans: "--until console:/psci version 1.3/, by which reached.hvj ended, is not reached",
      differences: expect.arrayContaining([expect.objectContaining({ what: "OneRegSet  KVM_REG_ARM_PSCI_VERSION" })]),
      firstEffect: { good: { what: "HVC64 0x84000000 PSCI_VERSION" } },
    });
  });

  it("takes a kernel's panic for bad", () => {
    record("panicked", `${GOOD_APPEND} said="Kernel panic - not syncing"`, "--cap", "ARM_SYSTEM_SUSPEND");
    const found = bisect("good.hvj", "panicked.hvj");
    expect(found.stderr).toContain(
      "bad means: console:/Kernel panic - not syncing/, as on the console of panicked.hvj\n",
    );
    expect(found.stdout).toMatch(/^caused by 1 of 2: {2}append /);
  });

  it("takes the end of the guest, where the two ended in two ways", () => {
    const found = bisect("good.hvj", "denied.hvj");
    expect(found.stdout).toMatch(/^caused by 1 of 2: {2}SmcccFilterSet {2}0x84000008\+0x1 {2}\(none\) -> deny\n/);
    expect(found.stdout).toMatch(
      /HVC64 0x84000008 PSCI SYSTEM_OFF .*\n.*HVC64 0x84000008 PSCI SYSTEM_OFF +kernel half, filter event:\d+ /,
    );
  });

  it("asks an EXPR, or a command, where one is given", () => {
    const byExpression = bisect("good.hvj", "bad.hvj", "--expect", "console =~ /psci version 1.3/");
    expect(byExpression.stdout).toMatch(
      /^caused by 1 of 3: {2}OneRegSet {2}KVM_REG_ARM_PSCI_VERSION {2}0x10003 -> 0x10000\n/,
    );
    const path = `${commandDirectory(sandbox.directory)}:${process.env["PATH"] ?? ""}`;
    const test = 'hvjournal log "$HVJ_RECORDING" --console | grep -q "psci version 1.3"';
    const byCommand = sandbox.runWith({ PATH: path }, "bisect", "good.hvj", "bad.hvj", "--run", "sh", "-c", test);
    expect(byCommand.stdout).toBe(byExpression.stdout);
  });

  it("says so where nothing tells them apart", () => {
    record("same", GOOD_APPEND, "--smccc-filter", "0xc5000000+0x10=forward");
    const { status, stderr } = bisect("good.hvj", "same.hvj");
    expect(stderr).toContain("good.hvj and same.hvj end alike, and the exits that reach the VMM half are the same");
    expect(status).toBe(1);
  });

  it("counts what an operator did while the guest ran", async () => {
    const append = "scenario=psci rounds=4";
    sandbox.recordWhole("quiet", append);
    sandbox.recordDetached("touched", append, "--paused", "--cap", "ARM_SYSTEM_SUSPEND");
    sandbox.must("ctl", "touched", "resume");
    await sandbox.gone("touched");
    sandbox.recordDetached("operated", append, "--paused", "--cap", "ARM_SYSTEM_SUSPEND");
    const paused = sandbox.start("ctl", "operated", "pause", "--at", "time:1.5s");
    await paused.says(/operated pauses at time:1.5s/);
    sandbox.must("ctl", "operated", "resume");
    expect(await paused.finished).toMatchObject({ status: 0 });
    sandbox.must("ctl", "operated", "one-reg", "PSCI_VERSION=0x10000");
    sandbox.must("ctl", "operated", "resume");
    await sandbox.gone("operated");
    expect(sandbox.console("operated.hvj")).toMatch(/1\.3\r?\npsci version 1\.0\r?\n/);
    const found = bisect("quiet.hvj", "operated.hvj", "--expect", "!(console =~ /psci version 1.0/)");
    expect(found.stdout).toMatch(
      /^caused by 1 of 2: {2}ctl at event:\d+ {2}OneRegSet {2}KVM_REG_ARM_PSCI_VERSION {2}0x10003 -> 0x10000\n/,
    );
  });
});
