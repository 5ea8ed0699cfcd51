/** `verify` with something changed: the configuration, the guest, what it is asked for. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { bareMetalImage } from "../guests/bare-metal.js";
import { type Finished, VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
const fixed = ["--seed", "1", "--rtc", "base=2026-01-01", "--headless", "-q"];
const session = String.raw`
at console /quit ends\r?\n$/ send "first line\n"
at console /echo: first line/ send "second\nquit\n"
`;

function record(name: string, append: string, ...words: string[]): void {
  sandbox.must("record", "guest.img", "--append", append, ...fixed, "-o", `${name}.hvj`, ...words);
}

function verify(...words: string[]): Finished {
  return sandbox.run("verify", ...words);
}

function scratch(): string[] {
  return readdirSync(tmpdir()).filter(
    (name) => name.startsWith("hvjournal-") && existsSync(`${tmpdir()}/${name}/run.hvj`),
  );
}

beforeAll(() => {
  copyFileSync(bareMetalImage, sandbox.path("guest.img"));
  writeFileSync(sandbox.path("session.txt"), session);
  record("boot", "scenario=main input=none ticks=3", "--smccc-filter", "0xc6000000+0x100=forward");
  record("typed", "scenario=main ticks=3", "--input", "session.txt");
  record("cut", "scenario=loop", "--until", "exit:300");
  record("branch", "scenario=main input=none ticks=3");
  sandbox.must("record", "--from", "branch.hvj@exit:100", "--headless", "-q", "-o", "later.hvj");
});
afterAll(() => sandbox.close());

describe("verify of a changed configuration", () => {
  it("compares the exits that reach the VMM half: equal where nothing that the guest asks for has changed", () => {
    const before = scratch();
    const { status, stdout, stderr } = verify("boot.hvj", "--smccc-filter", "0xc5000000+0x10=forward");
    expect(stdout).toMatch(/^boot\.hvj: \d+ exits that reach the VMM half, equal\n$/);
    expect(stderr).toContain("changed    SmcccFilterSet  0xc5000000+0x10  (none) -> forward");
    expect(status).toBe(0);
    expect(scratch()).toEqual(before);
  });

  it("says where they first differ, on both sides, and what was changed", () => {
    const { status, stderr } = verify("boot.hvj", "--smccc-filter", "0xc6000000+0x100=deny");
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^error: exits that reach the VMM half differ at exit:\d+ \(vcpu0, icount:\d+, pc [0-9a-f]{16}\)\n {2}recorded {3}HVC64 0xc6000000.*\n {2}now {8}\S.*\n {2}before it {2}\d+ exits that reach the VMM half, equal\n {2}changed {4}SmcccFilterSet {2}0xc6000000\+0x100 {2}forward -> deny\nnext: hvjournal show boot\.hvj exit:\d+ /,
    );
  });

  it("types again what was typed, at its prompts, whatever the guest prints before them", () => {
    expect(verify("typed.hvj", "--smccc-filter", "0xc5000000+0x10=forward")).toMatchObject({ status: 0 });
    const again = verify(
      "typed.hvj",
      "--append",
      "scenario=main ticks=6",
      "--expect",
      "console =~ /echo: second/",
      "-o",
      "six.hvj",
    );
    expect(again).toMatchObject({ status: 0 });
    expect(again.stdout).toContain("'console =~ /echo: second/' holds at exit:");
    expect(sandbox.console("six.hvj")).toMatch(/ticks=6[^]*echo: first line[^]*echo: second/);
    expect(sandbox.run("replay", "six.hvj")).toMatchObject({ status: 0 });
  });

  it("says of what never came up what it waits for", () => {
    const { status, stderr } = verify("typed.hvj", "--append", "scenario=hypercalls", "--expect", "console =~ /echo/");
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^error: 'console =~ \/echo\/' does not hold\n {2}run {8}guest powered off .*\n {2}changed {4}append {2}scenario=main ticks=3 -> scenario=hypercalls\n {2}note {7}\d of \d acts from outside never came up: input 'first line\\n' \(number 1\) waits for the line 'console: type a line; quit ends\\r'; nearest is '.*'\n$/,
    );
  });

  it("takes a machine file, whose lists take the place of the machine's own", () => {
    writeFileSync(sandbox.path("new.yaml"), "memory: 256M\nsmccc-filter: [0xc6000000+0x200=deny]\n");
    const { status, stderr } = verify("boot.hvj", "-c", "new.yaml");
    expect(status).toBe(1);
    expect(stderr).toContain("changed    SmcccFilterSet  0xc6000000+0x200  (none) -> deny");
    expect(stderr).toContain("changed    SmcccFilterSet  0xc6000000+0x100  forward -> (none)");
    expect(stderr).not.toContain("memory");
  });

  it("is over where the recording's host ended it, and all was equal up to there", () => {
    const { status, stdout } = verify("cut.hvj", "--cap", "ARM_SYSTEM_SUSPEND");
    expect(stdout).toMatch(/^cut\.hvj: 2\d\d exits that reach the VMM half, equal\n$/);
    expect(status).toBe(0);
  });

  it("ends: by the time that it may take", () => {
    const forever = ["--append", "scenario=loop", "--expect", "console =~ /never/"];
    const bounded = verify("boot.hvj", ...forever);
    expect(bounded.status).toBe(1);
    expect(bounded.stderr).toContain("run        its time was up at exit:");
    const asked = verify("boot.hvj", ...forever, "--timeout", "5ms");
    expect(asked.status).toBe(124);
    expect(asked.stderr).toMatch(/^error: ran out of --timeout at exit:\d+ icount:\d+ time:0\.005/);
  });

  it("ends by the time that it may take where nothing is changed, too", () => {
    const { status, stdout, stderr } = verify("boot.hvj", "--timeout", "1ms");
    expect([status, stdout]).toEqual([124, ""]);
    expect(stderr).toMatch(
      /^error: ran out of --timeout at exit:\d+ icount:\d+ time:0\.001\d+s: all was equal so far\n/,
    );
    expect(verify("boot.hvj", "--timeout", "60s").status).toBe(0);
  });

  it("ends with 124 when the wall clock has gone beyond --host-timeout", () => {
    const words = ["--append", "scenario=loop", "--expect", "time > 99s", "--timeout", "60s", "--host-timeout", "1ns"];
    const { status, stderr } = verify("boot.hvj", ...words);
    expect([status, stderr]).toEqual([
      124,
      expect.stringMatching(/^error: verifying boot\.hvj: ran out of --host-timeout at exit:\d+ icount:\d+\n/m),
    ]);
  });

  it("has not passed where a --timeout ran out first, whatever holds then", () => {
    const words = ["--append", "scenario=loop", "--expect", "!(console =~ /FAIL/)", "--timeout", "5ms"];
    const { status, stdout, stderr } = verify("boot.hvj", ...words);
    expect([status, stdout]).toEqual([124, ""]);
    expect(stderr).toMatch(
      /^error: ran out of --timeout at exit:.*\n {2}expected {3}'!\(console =~ \/FAIL\/\)' holds there; the run has not ended\n/,
    );
    expect(JSON.parse(verify("boot.hvj", ...words, "--json").stdout)).toMatchObject({
      error: "timeout",
      holds: true,
      run: { ended: { why: "time" } },
    });
    const growing = ["--append", "scenario=loop", "--expect", "time >= 5ms", "--timeout", "5ms"];
    expect(verify("boot.hvj", ...growing).status).toBe(0);
  });

  it.each([
    ["!(console =~ /FAIL/)", "guest powered off (PSCI SYSTEM_OFF)", { why: "stopped", stop: { what: "powered off" } }],
    ["exit.nr == 0xc6000000", "left when all that was asked for was known,", { why: "decided" }],
  ])("says how a run ended in which '%s' holds", (expected, ending, ended) => {
    const { status, stderr } = verify("boot.hvj", "--expect", expected);
    expect([status, stderr]).toEqual([0, expect.stringContaining(`  run        ${ending} at exit:`)]);
    expect(JSON.parse(verify("boot.hvj", "--expect", expected, "--json").stdout)).toMatchObject({ run: { ended } });
  });

  it("says in JSON what was changed, compared and found", () => {
    const { stdout } = verify("boot.hvj", "--firmware-reg", "PSCI_VERSION=0x10001", "--level", "exits", "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      error: "differs",
      ...{ level: "exits", equal: false, exits: expect.any(Number) },
      changes: [{ what: "OneRegSet  KVM_REG_ARM_PSCI_VERSION", how: "0x10003 -> 0x10001" }],
      recorded: { what: expect.stringContaining("MMIO write") },
      now: { what: expect.stringContaining("MMIO write") },
    });
    const { stdout: missed } = verify("boot.hvj", "--smp", "2", "--expect", "console =~ /nothing/", "--json");
    expect(JSON.parse(missed)).toMatchObject({
      error: "not-held",
      holds: false,
      changes: [{ what: "smp", how: "1 -> 2" }],
    });
    const held = verify("boot.hvj", "--smp", "2", "--expect", "hypercall == 0 || exit.nr == 0x84000008", "--json");
    expect(held.status).toBe(129);
    const { stdout: found } = verify("boot.hvj", "--smp", "2", "--expect", "exit.nr == 0x84000008", "--json");
    expect(JSON.parse(found)).toMatchObject({
      level: "outcome",
      holds: true,
      changes: [{ what: "smp", how: "1 -> 2" }],
      inputs: { count: 0, left: 0 },
    });
  });
});

describe("verify of another guest", () => {
  it("needs to be told what must hold, and asks for nothing else", () => {
    const image = sandboxImage();
    writeFileSync(sandbox.path("other.img"), image);
    const unsaid = verify("boot.hvj", "--kernel", "other.img");
    expect(unsaid.status).toBe(129);
    expect(unsaid.stderr).toMatch(
      /^error: another guest \(kernel {2}guest\.img .* -> other\.img .*\) makes other exits: --expect EXPR/,
    );
    expect(verify("boot.hvj", "--kernel", "other.img", "--expect", "console =~ /POWER OFF/")).toMatchObject({
      status: 0,
    });
    expect(verify("boot.hvj", "--kernel", "other.img", "--expect", "console =~ /power off/")).toMatchObject({
      status: 1,
    });
  });

  it("compares bits where the file only lies elsewhere", () => {
    copyFileSync(bareMetalImage, sandbox.path("copy.img"));
    expect(verify("boot.hvj", "--kernel", "copy.img").stdout).toMatch(/and all that the VMM half did, equal\n$/);
  });

  it("asks a drive's content", () => {
    const zeros = Buffer.alloc(8192);
    writeFileSync(sandbox.path("disk.img"), zeros);
    record("disk", "scenario=main input=none ticks=3", "--drive", "file=disk.img,id=d0");
    writeFileSync(sandbox.path("new.img"), zeros.fill(1));
    expect(verify("disk.hvj", "--drive", "d0=new.img").status).toBe(129);
    const seen = verify(
      "disk.hvj",
      "--drive",
      "d0=new.img",
      "--expect",
      "console =~ /disk: first 8 sectors: checksum 0x13411b19e5157325/",
    );
    expect([seen.status, seen.stderr]).toEqual([0, expect.stringContaining("changed    drive d0  disk.img")]);
    expect(verify("disk.hvj", "--expect", "console =~ /checksum 0x13411b19e5157325/").status).toBe(1);
    expect(verify("disk.hvj", "--drive", "d1=new.img").stderr).toContain("no drive d1: it has d0");
  });
});

describe("verify refuses", () => {
  it.each([
    [
      ["boot.hvj", "--level", "bits", "--smp", "2"],
      129,
      "--level bits compares a machine as it was, and this is changed: smp  1 -> 2",
    ],
    [["boot.hvj", "--level", "outcome"], 129, "--level outcome: --expect EXPR says what must hold"],
    [["boot.hvj", "--level", "bits", "--expect", "time > 1s"], 129, "--level bits compares everything"],
    [["boot.hvj", "-o", "x.hvj"], 129, "-o keeps a run that may be another"],
    [
      ["boot.hvj", "--smp", "2", "-o", "boot.hvj", "--expect", "time > 1s"],
      128,
      "can't record to boot.hvj: the file exists",
    ],
    [["boot.hvj", "--smccc-filter", "0xc6000010+0x10=deny"], 129, "KVM_ARM_VM_SMCCC_FILTER: EEXIST: "],
    [["boot.hvj", "--smccc-filter", "x"], 129, "--smccc-filter x: expected BASE+COUNT="],
    [["boot.hvj", "--kernel", "nowhere.img"], 128, "can't read kernel nowhere.img: no such file"],
    [["boot.hvj", "--config", "nowhere.yaml"], 128, "nowhere.yaml"],
    [
      ["later.hvj", "--smp", "2"],
      129,
      "later.hvj begins at exit:100, where it grew from branch.hvj: a machine can be changed only from its start on\nnext: hvjournal verify branch.hvj --smp 2\n",
    ],
  ] as const)("%j", (words, status, message) => {
    const result = verify(...words);
    expect(result.stderr).toContain(message);
    expect(result.status).toBe(status);
  });

  it("a recorded kernel that has become another, also where something else is changed", () => {
    copyFileSync(bareMetalImage, sandbox.path("own.img"));
    sandbox.must("record", "own.img", "--append", "scenario=psci rounds=1", ...fixed, "-o", "own.hvj");
    writeFileSync(sandbox.path("own.img"), sandboxImage());
    const { status, stderr } = verify("own.hvj", "--cap", "ARM_SYSTEM_SUSPEND");
    expect(status).toBe(128);
    expect(stderr).toContain("kernel own.img is not the one that was recorded");
    const codeOf = (): unknown => (JSON.parse(verify("own.hvj", "--json").stdout) as { error: unknown }).error;
    expect(codeOf()).toBe("file-changed");
    rmSync(sandbox.path("own.img"));
    expect(codeOf()).toBe("no-file");
  });
});

/** The same guest, which says one thing louder. */
function sandboxImage(): Uint8Array {
  const image = readFileSync(bareMetalImage);
  image.write("POWER OFF", image.indexOf("power off"), "latin1");
  return image;
}
