/** A kernel that panics may reset, or hang until its time is up: `record` says what its console had, and where to look. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { bareMetalImage } from "../guests/bare-metal.js";
import { VmSandbox, type Finished } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const FIXED = ["--seed", "7", "--rtc", "base=2026-01-01", "--headless", "-o", "vm.hvj", "--force"];

/** The bare-metal guest prints its command line, and so says what a kernel would. */
function record(scenario: string, words: string, ...options: readonly string[]): Finished {
  return sandbox.run("record", bareMetalImage, "--append", `${scenario} ${words}`, ...FIXED, ...options);
}

const PANIC = "Kernel panic - not syncing: Attempted to kill init!";
const RESET = "scenario=psci rounds=0 end=reset";
const HANG = "scenario=loop";

it("a reset behind a panic is status 0, with a note and the moment to look at", () => {
  const { status, stderr } = record(RESET, PANIC);
  expect(status).toBe(0);
  const [, exit = ""] =
    /^note: the console has 'Kernel panic - not syncing: Attempted to kill init!' at (exit:\d+) time:\d/m.exec(
      stderr,
    ) ?? [];
  expect(stderr).toMatch(new RegExp(`^next: hvjournal show vm.hvj ${exit} --stack --disas 8$`, "m"));
  const shown = sandbox.must("replay", "vm.hvj", "--until", "console:/Kernel panic - not syncing/");
  expect(shown).toContain(`${exit} vcpu0`);
});

it("a reset without one says nothing", () => {
  const { status, stderr } = record(RESET, "");
  expect(status).toBe(0);
  expect(stderr).not.toMatch(/^(note|next):/m);
});

it("the oops before it is the cause", () => {
  const { stderr } = record(RESET, `BUG: kernel NULL pointer dereference ${PANIC}`);
  expect(stderr.match(/^note: the console has .*$/gm)).toHaveLength(2);
  expect(stderr).toMatch(/^note: the console has 'BUG: kernel NULL pointer dereference/m);
  const [, first] = /^note: .* at (exit:\d+) /m.exec(stderr) ?? [];
  expect(stderr).toContain(`next: hvjournal show vm.hvj ${first} `);
});

it("is the next step where --until was not reached, with -q too", () => {
  for (const quiet of [[], ["-q"]]) {
    const { status, stderr } = record(RESET, PANIC, "--until", "console:/login:/", ...quiet);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^(note: )?the console has 'Kernel panic - not syncing:/m);
    expect(stderr).toMatch(
      /^error: --until console:\/login:\/ was not reached[^]*^next: hvjournal show vm\.hvj exit:\d+ --stack/m,
    );
  }
});

it("a hang behind a panic is a time-out that says so, with -q too", () => {
  for (const quiet of [[], ["-q"]]) {
    const { status, stderr } = record(HANG, PANIC, "--timeout", "5ms", ...quiet);
    expect(status).toBe(124);
    expect(stderr).toMatch(
      /^(note: )? *the kernel has spun since its panic at exit:\d+ time:\S+, for 0\.\d+s of guest time: --fail-on /m,
    );
    expect(stderr).toMatch(
      /ran out of --timeout at exit:\d+.*\n(note: )? *the console has 'Kernel panic - not syncing:/,
    );
  }
});

it("what --fail-on stopped at is not told twice, and comes before what is found behind it", () => {
  const { status, stderr } = record(HANG, PANIC, "--timeout", "9ms", "--fail-on", "console:/Kernel panic/");
  expect(status).toBe(1);
  expect(stderr).toMatch(/^guest panicked at exit:\d+/m);
  expect(stderr).not.toContain("note: the console has");
});

it("--json has it as a field", () => {
  const { stdout } = record(RESET, PANIC, "--json");
  const { trouble, status } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Record<string, unknown>;
  expect({ trouble, status }).toEqual({
    trouble: [{ exitNumber: expect.any(Number), guestTimeNs: expect.any(Number), line: PANIC }],
    status: 0,
  });
});

it("info tells it of a recording, with what shows it, in text and JSON; and nothing of one without", () => {
  record(HANG, PANIC, "--timeout", "5ms");
  const { status, stdout, stderr } = sandbox.run("info", "vm.hvj");
  expect(status).toBe(0);
  const [, exit = ""] =
    /^trouble +the console has 'Kernel panic - not syncing: Attempted to kill init!' at (exit:\d+)$/m.exec(stdout) ??
    [];
  expect(stderr).toBe(`next: hvjournal show vm.hvj ${exit} --stack --disas 8\n`);
  const { trouble } = JSON.parse(sandbox.must("info", "vm.hvj", "--json")) as Record<string, unknown>;
  expect(trouble).toEqual([{ exitNumber: Number(exit.slice("exit:".length)), line: PANIC }]);
  record(RESET, "");
  expect(sandbox.run("info", "vm.hvj")).toMatchObject({ stdout: expect.not.stringContaining("trouble"), stderr: "" });
});
