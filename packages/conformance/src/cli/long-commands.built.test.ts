/** Commands that take long: in a log, where nobody sees a terminal, they say how far they are, and a signal ends them with a word. */
import { afterAll, beforeAll, expect, it, jest } from "@jest/globals";
import { readdirSync } from "node:fs";
import { bareMetalImage } from "../guests/bare-metal.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

/** The clock of the process runs fast, so that a second is long. */
const FAST = { NODE_OPTIONS: fastClock(1000), TMPDIR: sandbox.directory };

function fastClock(times: number): string {
  const script = `const now = performance.now.bind(performance); performance.now = () => now() * ${times};`;
  return `--import=data:text/javascript,${encodeURIComponent(script)}`;
}

const LONG = "scenario=dirty megabytes=4";
const PROGRESS = /^\w+ing (vm\.hvj|vm\.hvj and other\.hvj): icount:\d+, \d+ MIPS/m;

beforeAll(() => {
  const fixed = ["--seed", "1", "--rtc", "base=2026-01-01", "--headless", "--no-index", "-q"];
  for (const [name, timeout] of [
    ["vm.hvj", "600ms"],
    ["other.hvj", "590ms"],
  ] as const)
    expect(
      sandbox.run("record", bareMetalImage, "--append", LONG, ...fixed, "--timeout", timeout, "-o", name).status,
    ).toBe(124);
});

const COMMANDS: readonly (readonly string[])[] = [
  ["replay", "vm.hvj", "--from", "start"],
  ["verify", "vm.hvj"],
  ["verify", "vm.hvj", "--append", LONG, "--smccc-filter", "0xc6000000+1=deny", "--expect", "time > 0.59s"],
  ["diff", "vm.hvj@end", "other.hvj@end"],
  ["bisect", "vm.hvj", "--when", "*(u64 *)0xffffff8000007008 == 0x1234567"],
  ["bisect", "vm.hvj", "--when", "$x0 == 0x123456789"],
  ["attest", "vm.hvj"],
  ["log", "vm.hvj", "--where", "$x0 == 0x123456789"],
];

it("says nothing with -q", () => {
  expect(sandbox.runWith(FAST, "verify", "vm.hvj", "-q")).toEqual({ status: 0, stdout: "", stderr: "" });
});

it.each(COMMANDS)(
  "%s %s %s says on stderr where it is, and there SIGTERM ends it with status 130 and nothing left behind",
  async (...words) => {
    const files = readdirSync(sandbox.directory);
    const { finished, says, child } = sandbox.startWith(FAST, ...words);
    await says(PROGRESS);
    child.kill("SIGTERM");
    const { status, stdout, stderr } = await finished;
    expect(stdout).toBe("");
    expect(stderr).toMatch(
      /^error: \w+ing (vm\.hvj|vm\.hvj and other\.hvj): interrupted \(SIGTERM\) at exit:\d+ icount:\d+$/m,
    );
    expect(status).toBe(130);
    expect(readdirSync(sandbox.directory)).toEqual(files);
  },
);
