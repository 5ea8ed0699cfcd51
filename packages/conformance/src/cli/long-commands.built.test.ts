/** Commands that take long: in a log, where nobody sees a terminal, they say how far they are, and a signal ends them with a word. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createServer } from "node:net";
import { bareMetalImage } from "../guests/bare-metal.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

/** The clock of the process runs fast, so that a second is long. */
const FAST = { NODE_OPTIONS: fastClock(1000), TMPDIR: sandbox.directory };

function fastClock(times: number): string {
  return imported(`const now = performance.now.bind(performance); performance.now = () => now() * ${times};`);
}

/** The process gets the signal right where it first says how far it is, however busy the host is. */
function signalledAtProgress(signal: NodeJS.Signals): string {
  return imported(`import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module";
const { writeSync } = fs;
fs.writeSync = (descriptor, bytes, ...words) => {
  const written = writeSync(descriptor, bytes, ...words);
  if (descriptor === 2 && /${PROGRESS.source}/m.test(String(bytes))) process.kill(process.pid, "${signal}");
  return written;
};
syncBuiltinESMExports();`);
}

/** The process gets the signal while it still loads the command. */
function signalledWhileLoading(signal: NodeJS.Signals): string {
  return imported(`import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module";
const { readFileSync } = fs;
fs.readFileSync = (path, ...words) => {
  if (String(path).endsWith("/hvjournal.cjs")) process.kill(process.pid, "${signal}");
  return readFileSync(path, ...words);
};
syncBuiltinESMExports();`);
}

/** The process gets the signal right before SQLite checks a file as a whole, which a run to its end does last. */
function signalledAtLastCheck(signal: NodeJS.Signals): string {
  return imported(`const { dlopen } = process;
process.dlopen = (module, ...words) => {
  dlopen.call(process, module, ...words);
  const { prototype } = module.exports.Database ?? {};
  if (prototype === undefined) return;
  const { prepare } = prototype;
  prototype.prepare = function (sql, ...more) {
    if (sql.includes("integrity_check")) process.kill(process.pid, "${signal}");
    return prepare.call(this, sql, ...more);
  };
};`);
}

function imported(script: string): string {
  return `--import=data:text/javascript,${encodeURIComponent(script)}`;
}

const LONG = "scenario=dirty megabytes=4";
const PROGRESS = /^\w+ing (vm\.hvj|vm\.hvj and other\.hvj): (icount:\d+, \d+ MIPS|\d+ s$)/m;

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
  ["diff", "vm.hvj", "other.hvj", "--exits"],
  ["bisect", "vm.hvj", "--when", "*(u64 *)0xffffff8000007008 == 0x1234567"],
  ["bisect", "vm.hvj", "--when", "$x0 == 0x123456789"],
  ["attest", "vm.hvj"],
  ["log", "vm.hvj", "--where", "$x0 == 0x123456789"],
  ["fsck", "vm.hvj"],
  ["contract", "vm.hvj"],
  ["contract", "vm.hvj", "other.hvj"],
  ["index", "vm.hvj"],
];

it("verify ends with 124 when the wall clock has gone beyond --host-timeout, and says where", () => {
  const { status, stdout, stderr } = sandbox.run("verify", "vm.hvj", "--host-timeout", "1ns", "-q");
  expect({ status, stdout }).toEqual({ status: 124, stdout: "" });
  expect(stderr).toMatch(/^error: verifying vm\.hvj: ran out of --host-timeout at exit:\d+ icount:\d+\n$/);
});

it("says nothing with -q", () => {
  expect(sandbox.runWith(FAST, "verify", "vm.hvj", "-q")).toEqual({ status: 0, stdout: "", stderr: "" });
});

it.each(COMMANDS)(
  "%s %s %s says on stderr where it is, and there SIGTERM ends it with status 130 and nothing left behind",
  (...words) => {
    const files = readdirSync(sandbox.directory);
    const { status, stdout, stderr } = sandbox.runWith(
      { ...FAST, NODE_OPTIONS: `${FAST.NODE_OPTIONS} ${signalledAtProgress("SIGTERM")}` },
      ...words,
    );
    expect(stdout).toBe("");
    expect(stderr).toMatch(PROGRESS);
    expect(stderr).toMatch(
      /^error: \w+ing (vm\.hvj|other\.hvj|vm\.hvj and other\.hvj): interrupted \(SIGTERM\)( at exit:\d+ icount:\d+)?$/m,
    );
    expect(status).toBe(130);
    expect(readdirSync(sandbox.directory)).toEqual(files);
  },
);

it.each([
  ["verify", ["verify", "vm.hvj", "--json"]],
  ["diff", ["diff", "vm.hvj", "other.hvj", "--json"]],
  ["fsck", ["fsck", "vm.hvj", "--json"]],
  ["attach", ["attach", "nobody", "--json"]],
  ["sql", ["sql", "vm.hvj", "select 1", "--json"]],
])("a signal while the command is loaded ends it with status 130 and a word: %s", (command, words) => {
  const { status, stdout } = sandbox.runWith({ NODE_OPTIONS: signalledWhileLoading("SIGTERM") }, ...words);
  const message = `${command}: interrupted (SIGTERM)`;
  expect(JSON.parse(stdout)).toEqual({ error: "interrupted", message, signal: "SIGTERM" });
  expect(status).toBe(130);
});

it.each([
  ["replay", "vm.hvj"],
  ["verify", "vm.hvj"],
  ["verify", "vm.hvj", "--append", LONG, "--smccc-filter", "0xc6000000+1=deny", "--expect", "time > 0.59s"],
])("a signal while %s checks what its run passed by leaves no answer: %s %s", (...words) => {
  const environment = { TMPDIR: sandbox.directory, NODE_OPTIONS: signalledAtLastCheck("SIGTERM") };
  const asText = sandbox.runWith(environment, ...words, "-q");
  expect(asText).toMatchObject({ status: 130, stdout: "" });
  expect(asText.stderr).toMatch(/^error: \w+ing vm\.hvj: interrupted \(SIGTERM\)\n$/);
  const { status, stdout } = sandbox.runWith(environment, ...words, "--json");
  expect(JSON.parse(stdout)).toMatchObject({ error: "interrupted", signal: "SIGTERM" });
  expect(status).toBe(130);
});

describe("a command that waits for a VM which does not answer", () => {
  let waiting: ReturnType<VmSandbox["start"]> | undefined;
  const silent = createServer(() => waiting?.child.kill("SIGTERM"));
  beforeAll(async () => {
    sandbox.recordDetached("gone", "scenario=loop count=0");
    await sandbox.kill("gone");
    silent.listen(sandbox.path("hvjournal/silent.sock"));
    await once(silent, "listening");
  });
  // Whoever looks for VMs to end would wait for it.
  afterAll(() => void silent.close());

  it.each([
    ["reading gone.hvj", ["info", "gone.hvj"]],
    ["asking the VMs", ["ps"]],
    ["ctl silent pause", ["ctl", "silent", "pause"]],
  ])("is ended by SIGTERM with status 130 and a word: %s", async (act, words) => {
    waiting = sandbox.start(...words);
    const { status, stdout, stderr } = await waiting.finished;
    expect({ status, stdout }).toEqual({ status: 130, stdout: "" });
    expect(stderr).toBe(`error: ${act}: interrupted (SIGTERM)\n`);
  });
});
