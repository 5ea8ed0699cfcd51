import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { bareMetalImage } from "../guests/bare-metal.js";
import { type Finished, VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const GUEST = [
  ...[bareMetalImage, "--append", "scenario=hypercalls", "--smccc-filter", "0xc6000000+0x100=forward"],
  ...["--seed", "7", "--rtc", "base=2026-01-01", "--headless"],
];
const NOT_SUPPORTED = `0x${"f".repeat(16)}`;

function write(name: string, ...lines: readonly string[]): string {
  writeFileSync(sandbox.path(name), `${lines.join("\n")}\n`);
  return name;
}

function recordWords(name: string, handlers: readonly string[], words: readonly string[]): string[] {
  const options = handlers.flatMap((handler) => ["--handler", handler]);
  return ["record", ...GUEST, ...options, ...words, "-o", `${name}.hvj`];
}

/** Into NAME.hvj, with a handler or several. */
function record(name: string, handlers: readonly string[], ...words: readonly string[]): Finished {
  return sandbox.run(...recordWords(name, handlers, words));
}

/** The same as a process of its own, where it matters what the handler does to that. */
function recordAlone(name: string, handlers: readonly string[], ...words: readonly string[]): Finished {
  return sandbox.runWith({}, ...recordWords(name, handlers, words));
}

function answerIn(console: string, conduit: "hvc" | "smc", id: number): string {
  return new RegExp(`^${conduit} 0x${id.toString(16)}: ([^\\r\\n]*)`, "m").exec(console)?.[1] ?? "nothing";
}

const registers = (...values: readonly number[]): string =>
  values.map((value) => `0x${value.toString(16).padStart(16, "0")}`).join(" ");

describe("record --handler FILE", () => {
  let recorded: Finished;
  beforeAll(() => {
    mkdirSync(sandbox.path("lib"));
    write(
      "lib/sum.ts",
      "export const sum = (values: readonly bigint[]): bigint => values.reduce((a, b) => a + b, 0n);",
    );
    write(
      "demo.ts",
      'import type { Handler } from "hvjournal/handler";',
      'import { sum } from "./lib/sum";',
      "const handler: Handler = async (call, vm) => {",
      "  if (call.nr !== 0xc6000000) return vm.notHandled;",
      "  await new Promise((resolve) => setTimeout(resolve, 5));",
      "  vm.state.calls = Number(vm.state.calls ?? 0) + 1;",
      '  return { x0: sum(call.args.slice(1, 3)), x1: vm.state.calls as number, x2: call.conduit === "smc" ? 1 : 0 };',
      "};",
      "export default handler;",
    );
    write("second.cjs", "module.exports = (call, vm) => (call.nr === 0xc6000001 ? [0, 9n] : vm.notHandled);");
    recorded = record("demo", ["demo.ts", "second.cjs"]);
  });

  it("asks TypeScript with its imports first, then CommonJS, then the board", () => {
    expect(recorded.status).toBe(0);
    expect(answerIn(recorded.stdout, "hvc", 0xc600_0000)).toBe(registers(0x3333, 1, 0, 0x3333));
    expect(answerIn(recorded.stdout, "smc", 0xc600_0000)).toBe(registers(0x3333, 2, 1, 0x3333));
    expect(answerIn(recorded.stdout, "hvc", 0xc600_0001)).toBe(registers(0, 9, 0x2222, 0x3333));
    expect(answerIn(recorded.stdout, "hvc", 0xc600_0040)).toBe(`${NOT_SUPPORTED} ${registers(0x1111, 0x2222, 0x3333)}`);
  });

  it("tells in log and show who answered", () => {
    const calls = sandbox
      .must("log", "demo.hvj", "--hypercalls", "--json")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { call: string; action: string; kvm: string; answerer: string });
    const answerers = new Map(calls.map(({ action, answerer }) => [action, answerer]));
    expect([0xc600_0000, 0xc600_0001, 0xc600_0040].map((nr) => answerers.get(`0x${nr.toString(16)}`))).toEqual([
      "demo.ts",
      "second.cjs",
      "board default",
    ]);
    expect(sandbox.must("log", "demo.hvj", "--kind", "AnswererChanged")).toMatch(
      / AnswererChanged +demo\.ts, from here on$/m,
    );
    expect(sandbox.must("show", "demo.hvj", "hypercall:0xc6000040")).toMatch(
      /^ {2}answer +not yet given: x0 <- -1, by board default$/m,
    );
  });

  it("keeps their names and fingerprints, and show says who is asked", () => {
    const sha256 = createHash("sha256")
      .update(readFileSync(sandbox.path("second.cjs")))
      .digest("hex");
    const info = sandbox.must("info", "demo.hvj");
    expect(info).toMatch(/^handler +demo\.ts, sha256:[0-9a-f]{64}$/m);
    expect(info).toContain(`second.cjs, sha256:${sha256}`);
    expect(sandbox.must("show", "demo.hvj", "hypercall:0xc6000000")).toMatch(
      /^ {2}asked +demo\.ts, second\.cjs, then the board\n {2}answer/m,
    );
  });

  it("verifies with the same files; replays without them", () => {
    expect(sandbox.must("verify", "demo.hvj")).toContain("equal");
    renameSync(sandbox.path("demo.ts"), sandbox.path("demo.away"));
    try {
      expect(sandbox.must("replay", "demo.hvj")).toContain("equal");
      const { status, stderr } = sandbox.run("verify", "demo.hvj");
      expect([status, stderr]).toEqual([
        128,
        expect.stringContaining("can't read the handler that was recorded, demo.ts"),
      ]);
    } finally {
      renameSync(sandbox.path("demo.away"), sandbox.path("demo.ts"));
    }
  });

  it.each([
    ["bits", [], /handler demo\.ts is not the one that was recorded/],
    ["outcome", ["--expect", "time > 0"], /handler demo\.ts second\.cjs is not what was recorded/],
  ])(
    "tells at level %s that a file which one of them imports has changed: no build is to blame",
    (_, words, message) => {
      const before = readFileSync(sandbox.path("lib/sum.ts"));
      writeFileSync(sandbox.path("lib/sum.ts"), `${String(before)}// more\n`);
      const { status, stderr } = sandbox.run("verify", "demo.hvj", ...words);
      const again = sandbox.run("verify", "demo.hvj", "--handler", "demo.ts", "--handler", "second.cjs");
      writeFileSync(sandbox.path("lib/sum.ts"), before);
      expect([status, stderr]).toEqual([128, expect.stringMatching(message)]);
      expect(stderr).toContain("next: hvjournal verify demo.hvj --handler demo.ts --handler second.cjs\n");
      expect([again.status, again.stdout]).toEqual([
        0,
        expect.stringMatching(/exits that reach the VMM half, equal$/m),
      ]);
    },
  );

  it("verifies bits with a file that lies elsewhere by now", () => {
    mkdirSync(sandbox.path("elsewhere"));
    renameSync(sandbox.path("second.cjs"), sandbox.path("elsewhere/second.cjs"));
    const handlers = ["--handler", "demo.ts", "--handler", "elsewhere/second.cjs"];
    const { status, stdout } = sandbox.run("verify", "demo.hvj", ...handlers);
    renameSync(sandbox.path("elsewhere/second.cjs"), sandbox.path("second.cjs"));
    expect([status, stdout]).toEqual([0, expect.stringContaining("and all that the VMM half did, equal")]);
  });
});

describe("a handler that answers otherwise though its file is the same", () => {
  it.each([
    ["at once", "config.mjs", "export default (call, vm) =>"],
    ["late", "late.mjs", "export default async (call, vm) =>"],
  ])("%s: verify says what was recorded and what it answers now", (_, file, begin) => {
    const source = `BigInt(readFileSync(${JSON.stringify(sandbox.path("answer.txt"))}, "utf8"))`;
    write(
      file,
      'import { readFileSync } from "node:fs";',
      `${begin} call.nr === 0xc6000001 ? ${source} : vm.notHandled;`,
    );
    write("answer.txt", "42");
    expect(record("config", [file], "--force").status).toBe(0);
    write("answer.txt", "43");
    const { status, stderr } = sandbox.run("verify", "config.hvj");
    expect(stderr).toMatch(
      /^error: replay diverged at exit:\d+ \(vcpu0, .*\n {2}recorded {3}RegisterSet vcpu0 x0 <- 0x2a .*\n {2}replayed {3}RegisterSet vcpu0 x0 <- 0x2b /,
    );
    expect(status).toBe(1);
  });
});

describe("verify --handler-timeout", () => {
  it.each([
    [
      "bits",
      "spin",
      null,
      /^error: handler-timeout: handler moody\.mjs blocks .* longer than 300 ms; it is killed, and moody\.hvj is as it was\nnext: hvjournal log moody\.hvj --hypercalls\n$/,
    ],
    ["bits", "wait", 1, /no answer within 300ms \(--handler-timeout\)/],
    [
      "exits",
      "spin",
      null,
      /^error: handler-timeout: handler moody\.mjs blocks .* longer than 300 ms; it is killed, and moody\.hvj is as it was\nnext: hvjournal log moody\.hvj --hypercalls\n$/,
    ],
    ["exits", "wait", 1, /no answer within 300ms \(--handler-timeout\)/],
  ])("at level %s is kept where a handler is to %s", (level, mood, ended, message) => {
    write(
      "moody.mjs",
      'import { readFileSync } from "node:fs";',
      "export default (call) => {",
      `  const mood = readFileSync(${JSON.stringify(sandbox.path("mood.txt"))}, "utf8").trim();`,
      '  if (mood === "spin") for (;;);',
      '  return mood === "wait" ? new Promise((resolve) => setTimeout(resolve, 3000)) : 1;',
      "};",
    );
    write("mood.txt", "fine");
    expect(record("moody", ["moody.mjs"], "--force").status).toBe(0);
    write("mood.txt", mood);
    const words = ["verify", "moody.hvj", "--level", level, "--handler-timeout", "300ms"];
    const { status, stderr } = sandbox.runWith({}, ...words);
    expect([status, stderr]).toEqual([ended, expect.stringMatching(message)]);
  });
});

describe("verify while a handler never answers", () => {
  const PATIENT = ["--handler-timeout", "600s"];
  const begin = (mood: "mute" | "doomed"): void => {
    write(
      "mute.mjs",
      'import { readFileSync } from "node:fs";',
      "export default () => {",
      `  const mood = readFileSync(${JSON.stringify(sandbox.path("mute.txt"))}, "utf8").trim();`,
      '  if (mood === "fine") return 1;',
      '  if (mood === "doomed") process.kill(process.pid, "SIGTERM");',
      "  return new Promise(() => undefined);",
      "};",
    );
    write("mute.txt", "fine");
    expect(record("mute", ["mute.mjs"], "--force").status).toBe(0);
    write("mute.txt", mood);
  };

  it.each(["bits", "exits"])("ends with 124 when --host-timeout is up, at level %s", (level) => {
    begin("mute");
    const { status, stdout } = sandbox.run(
      ...["verify", "mute.hvj", "--level", level, ...PATIENT, "--host-timeout", "100ms", "--json"],
    );
    expect(JSON.parse(stdout)).toMatchObject({ error: "timeout", exit: expect.any(Number) });
    expect(status).toBe(124);
  });

  it.each(["bits", "exits"])("ends with 130 by SIGTERM, at level %s", (level) => {
    begin("doomed");
    const { status, stdout } = sandbox.runWith({}, "verify", "mute.hvj", "--level", level, ...PATIENT, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ error: "interrupted", signal: "SIGTERM", exit: expect.any(Number) });
    expect(status).toBe(130);
  });
});

describe("a handler that fails where the recording has an answer", () => {
  const SOUND = "export default (call, vm) => call.nr === 0xc6000001 ? 42n : vm.notHandled;";

  it.each([
    ["throws", 'throw new Error("boom")', "it threw boom", "handler-failed"],
    ["answers nonsense", "return { x0: 1.5 }", "it answered x0 = 1.5: no whole number", "handler-answer"],
    ["never answers", "return new Promise(() => {})", "no answer within 200ms", "handler-timeout"],
  ])("%s: a difference at level exits and in an outcome, with status 1", (_, body, reason, cause) => {
    record("sound", [write("sound.mjs", SOUND)], "--force");
    write("broken.mjs", `export default (call, vm) => { if (call.nr !== 0xc6000001) return vm.notHandled; ${body}; };`);
    const changed = ["verify", "sound.hvj", "--handler", "broken.mjs", "--handler-timeout", "200ms"];
    const { status, stderr } = sandbox.run(...changed);
    expect(stderr).toMatch(
      /^error: no answer at exit:(\d+) \(vcpu0, icount:\d+, pc [0-9a-f]{16}\), where one is recorded\n {2}recorded {3}answer x0 <- 0x2a {2}exit:\1 icount:\d+\n {2}now {8}handler broken\.mjs has no answer to HVC 0xc6000001 of vcpu0: .* {2}exit:\1 icount:\d+ time:[\d.]+s\n {2}changed {4}handler {2}sound\.mjs -> broken\.mjs\nnext: hvjournal show sound\.hvj exit:\1 /,
    );
    expect([status, stderr]).toEqual([1, expect.stringContaining(reason)]);
    const difference = (...words: readonly string[]): unknown => JSON.parse(sandbox.run(...words).stdout);
    expect(difference(...changed, "--json")).toMatchObject({
      ...{ error: "differs", cause, level: "exits", equal: false, exits: expect.any(Number) },
      position: expect.stringMatching(/^exit:\d+$/),
      recorded: { exit: expect.any(Number), icount: expect.any(Number), what: "answer x0 <- 0x2a" },
      now: { exit: expect.any(Number), icount: expect.any(Number), timeNs: expect.any(Number) },
    });
    const outcome = sandbox.run(...changed, "--expect", "console =~ /no such text/", "--json");
    expect(outcome.status).toBe(1);
    expect(JSON.parse(outcome.stdout)).toMatchObject({ error: "differs", cause, level: "outcome", holds: false });
  });

  it("is told with the hashes of both files where they have one name", () => {
    record("sound", [write("sound.mjs", SOUND)], "--force");
    write("sound.mjs", SOUND.replace("42n", "43n"));
    const { status, stderr } = sandbox.run("verify", "sound.hvj", "--handler", "sound.mjs");
    expect(stderr).toMatch(
      /^ {2}changed {4}handler {2}sound\.mjs \(sha256:[0-9a-f]{8}…\) -> sound\.mjs \(sha256:[0-9a-f]{8}…\)$/m,
    );
    expect(status).toBe(1);
  });

  it("is one bit for bit, too, and an error for a file that can't be loaded", () => {
    const source = `readFileSync(${JSON.stringify(sandbox.path("sound.txt"))}, "utf8")`;
    const asking = `export default (call, vm) => call.nr === 0xc6000001 ? JSON.parse(${source}) : vm.notHandled;`;
    write("asking.mjs", 'import { readFileSync } from "node:fs";', asking);
    write("sound.txt", "42");
    record("asking", ["asking.mjs"], "--force");
    write("sound.txt", "no JSON");
    const { status, stderr } = sandbox.run("verify", "asking.hvj");
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^error: no answer at exit:[^]*it threw SyntaxError: /),
    ]);
    write("unread.mjs", "export default (");
    expect(sandbox.run("verify", "asking.hvj", "--handler", "unread.mjs").status).toBe(128);
  });
});

describe("a handler's file that can't be used", () => {
  it.each<[string, readonly string[], RegExp]>([
    ["none.mjs", ["export const a = 1;"], /none\.mjs: it has no default export/],
    ["number.mjs", ["export default 5;"], /its default export is of type number/],
    ["syntax.ts", ["const a = 1;", "export default ((call => {;"], /syntax\.ts:\d+:\d+: /],
    ["import.js", ["// 1", 'import "./nowhere.js";', "export default () => 1;"], /import\.js:2:8: could not resolve/],
    ["thrown.mjs", ["", "", 'throw new RangeError("no");'], /it threw RangeError: no \(thrown\.mjs:3\)/],
  ])("%s is named with its place, before there is a recording", (name, lines, message) => {
    const { status, stderr } = record("unusable", [write(name, ...lines)]);
    expect([status, stderr]).toEqual([128, expect.stringMatching(message)]);
    expect(stderr).toMatch(/\nnext: hvjournal help handlers\n$/);
    expect(existsSync(sandbox.path("unusable.hvj"))).toBe(false);
  });

  it.each([
    ["nowhere.ts", 128, /can't read handler nowhere\.ts: no such file/],
    ["builtin:pcsi", 129, /there are builtin:psci, builtin:sdei, builtin:hv-ext; did you mean builtin:psci\?/],
  ] as const)("%s is not there", (name, expected, message) => {
    const { status, stderr } = record("unusable", [name]);
    expect([status, stderr]).toEqual([expected, expect.stringMatching(message)]);
  });

  it.each(["0", "soon"])("has no time of %s", (time) => {
    const { status, stderr } = record(
      "unusable",
      [write("ok.mjs", "export default () => 0;")],
      "--handler-timeout",
      time,
    );
    expect([status, stderr]).toEqual([129, expect.stringMatching(/--handler-timeout .*: expected a time/)]);
  });
});

describe("a handler that fails", () => {
  const FAILING = [
    "export default (call, vm) => {",
    "  if (call.nr !== 0xc6000001) return 5;",
    '  vm.vcpu(0).setOneReg("x5", 7n);',
    '  throw new TypeError("not today");',
    "};",
  ];

  it("ends a headless recording with the call pending; mended, the VM goes on from there", () => {
    const { status, stderr } = record("failed", [write("failing.mjs", ...FAILING)]);
    expect(status).toBe(128);
    expect(stderr).toMatch(
      /^error: handler failed at exit:\d+ .*: handler failing\.mjs has no answer to HVC 0xc6000001 of vcpu0: it threw TypeError: not today \(failing\.mjs:4\)$/m,
    );
    expect(stderr).toContain("next: hvjournal record --from failed.hvj --handler failing.mjs\n");
    expect(sandbox.must("fsck", "failed.hvj")).toContain("whole");
    expect(sandbox.must("info", "failed.hvj")).toContain("stopped (handler-failed of failing.mjs)");
    expect(sandbox.must("info", "failed.hvj")).toMatch(/^waits .*it threw TypeError: not today/m);
    expect(sandbox.must("replay", "failed.hvj")).toMatch(/answer, pending/);
    expect(sandbox.must("verify", "failed.hvj")).toContain("equal");
    expect(sandbox.must("show", "failed.hvj", "end")).toMatch(/x5 +0000000000005555/);

    write("failing.mjs", ...FAILING.slice(0, 2), "  return { x0: 6 };", "};");
    const mended = ["record", "--from", "failed.hvj", "--handler", "failing.mjs", "--headless", "-o", "mended.hvj"];
    expect(answerIn(sandbox.must(...mended), "hvc", 0xc600_0001)).toBe(registers(6, 0x1111, 0x2222, 0x3333));
    expect(sandbox.must("replay", "mended.hvj")).toContain("equal");
    expect(sandbox.must("verify", "mended.hvj")).toContain("equal");
  });

  it("--json has the name of the error, and where", () => {
    const { status, stdout } = record("failed-json", [write("failing.mjs", ...FAILING)], "--json", "-q");
    const last: unknown = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
    expect([status, last]).toEqual([
      128,
      expect.objectContaining({
        error: "handler-failed",
        message: expect.stringContaining("failing.mjs:4") as unknown,
      }),
    ]);
  });

  it("prints by console to standard error: standard output is the guest's, or JSON", () => {
    const chatty = write("chatty.mjs", 'console.log("loaded");', 'export default () => (console.info("asked"), 7n);');
    const { status, stdout, stderr } = recordAlone("chatty", [chatty], "--json", "-q");
    expect(status).toBe(0);
    for (const line of stdout.trimEnd().split("\n")) expect(line).toMatch(/^\{/);
    expect(stderr).toMatch(/^loaded\n(asked\n)+/);
  });

  it("answers nonsense: the call waits", () => {
    const { status, stderr } = record("nonsense", [write("nonsense.mjs", "export default () => ({ x0: 1.5 });")]);
    expect([status, stderr]).toEqual([128, expect.stringContaining("it answered x0 = 1.5: no whole number")]);
    expect(sandbox.must("fsck", "nonsense.hvj")).toContain("closed");
  });

  it("answers too late: its answer is ignored, and so is what it does then", async () => {
    const late = write(
      "late.mjs",
      'import { writeFileSync } from "node:fs";',
      "export default async (call, vm) => {",
      "  await new Promise((resolve) => setTimeout(resolve, 1000));",
      '  try { vm.vcpu(0).setOneReg("x0", 1n); } catch (error) { writeFileSync("late.txt", error.message); }',
      "  return 7;",
      "};",
    );
    const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];
    sandbox.recordInteractive(
      ...["late", "scenario=hypercalls", ...forwarded, "--handler", late, "--handler-timeout", "200ms"],
    );
    while (!existsSync(sandbox.path("late.txt")) && sandbox.vm("late") !== undefined)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(readFileSync(sandbox.path("late.txt"), "utf8")).toContain("the call is over");
    sandbox.must("ctl", "late", "quit");
    expect(sandbox.must("replay", "late.hvj")).toMatch(/x0 {2}00000000c6000000/);
  });

  it.each(["headless", "in the background"])("keeps no process %s that is over", async (where) => {
    const name = where.replaceAll(" ", "-");
    const waiting = write(
      "waiting.mjs",
      'import { createServer } from "node:net";',
      "const pause = () => new Promise((resolve) => setTimeout(resolve, 50));",
      "export default async () => {",
      "  createServer().listen(0);",
      "  for (;;) await pause();",
      "};",
    );
    if (where === "headless") {
      const { status, stderr } = recordAlone(name, [waiting], "--handler-timeout", "200ms");
      expect([status, stderr]).toEqual([128, expect.stringContaining("no answer within 200ms (--handler-timeout)")]);
      expect(stderr).toContain("next: hvjournal record --from headless.hvj --handler waiting.mjs\n");
    } else {
      const options = [
        "--smccc-filter",
        "0xc6000000+0x100=forward",
        "--handler",
        waiting,
        "--handler-timeout",
        "200ms",
      ];
      sandbox.recordInteractive(name, "scenario=hypercalls", ...options);
      await sandbox.paused(name);
      const gone = sandbox.gone(name, 20_000);
      sandbox.must("ctl", name, "quit");
      expect(await gone).toBe(true);
    }
    expect(sandbox.must("fsck", `${name}.hvj`)).toContain("closed");
  });

  it.each([
    ["at once", "export default () => { for (;;); };"],
    ["later", "export default async () => { await new Promise((resolve) => setTimeout(resolve, 5)); for (;;); };"],
  ])("blocks the process %s: it is killed, and what was committed replays", (when, source) => {
    const name = `block-${when.replace(" ", "-")}`;
    const { status, stderr } = recordAlone(name, [write(`${name}.mjs`, source)], "--handler-timeout", "300ms");
    expect(status).toBe(null);
    expect(stderr).toMatch(/^error: handler-timeout: handler block-.*\.mjs blocks the process in call 0xc6000000/m);
    expect(stderr).toContain(`next: hvjournal fsck ${name}.hvj`);
    expect(sandbox.must("fsck", `${name}.hvj`)).toContain("not finished, whole up to exit:");
    expect(sandbox.must("replay", `${name}.hvj`)).toContain("equal");
  });

  it("never answers: what keeps the process busy afterwards is not taken for it, and on resume it is asked again", async () => {
    const never = write(
      "never.mjs",
      "let calls = 0;",
      'import { writeFileSync } from "node:fs";',
      "const busy = () => {",
      "  for (const until = Date.now() + 1500; Date.now() < until;);",
      '  writeFileSync("busy-no-more", "");',
      "};",
      "export default () => {",
      "  calls += 1;",
      "  if (calls > 1) return 8;",
      "  setTimeout(busy, 600);",
      "  return new Promise(() => {});",
      "};",
    );
    const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];
    sandbox.recordInteractive(
      "never",
      "scenario=hypercalls",
      ...forwarded,
      "--handler",
      never,
      "--handler-timeout",
      "300ms",
    );
    while (!existsSync(sandbox.path("busy-no-more")) && sandbox.vm("never") !== undefined)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(sandbox.must("ps")).toMatch(/never +\d+ +paused: handler failed +exit:\d+/);
    sandbox.must("ctl", "never", "resume");
    expect(await sandbox.gone("never")).toBe(true);
    expect(sandbox.console("never.hvj")).toMatch(/smc 0xc6000000: 0x0000000000000008/);
  });

  it("leaves a VM at a terminal paused; ps says why, and on resume it is asked again", async () => {
    const once = write(
      "once.mjs",
      "let failed = false;",
      "export default () => {",
      "  if (failed) return 8;",
      "  failed = true;",
      '  throw new Error("the first time");',
      "};",
    );
    const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];
    sandbox.recordInteractive("once", "scenario=hypercalls", ...forwarded, "--handler", once);
    const isPaused = async (): Promise<string> => {
      for (;;) {
        const table = sandbox.must("ps");
        if (/paused/.test(table)) return table;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    expect(await isPaused()).toMatch(/once +\d+ +paused: handler failed +exit:\d+/);
    expect(sandbox.must("info", "once.hvj")).toMatch(
      /^waits +handler once\.mjs has no answer to .*: it threw the first time/m,
    );
    const { finished, says } = sandbox.start("attach", "once");
    await says(/once is paused: handler failed: .*it threw the first time/);
    sandbox.must("ctl", "once", "resume");
    expect((await finished).stdout).toMatch(/smc 0xc6000000: 0x0000000000000008/);
    expect(sandbox.must("log", "once.hvj", "--kind", "CallFailed")).toMatch(
      / CallFailed +handler once\.mjs .*the first time/,
    );
    expect(sandbox.must("info", "once.hvj")).not.toMatch(/^waits/m);
    expect(sandbox.must("replay", "once.hvj")).toContain("equal");
  });
});

describe("a VM whose handler has not answered yet", () => {
  /** Answers once the file NAME.go is there. */
  async function recordWaiting(name: string, begins = '  vm.vcpu(0).setOneReg("x5", 7n);'): Promise<void> {
    const patient = write(
      `${name}.mjs`,
      'import { appendFileSync, existsSync } from "node:fs";',
      "const pause = () => new Promise((resolve) => setTimeout(resolve, 20));",
      "export default async (call, vm) => {",
      `  appendFileSync("${name}.asked", "?");`,
      begins,
      `  while (!existsSync("${name}.go")) await pause();`,
      "  return 6;",
      "};",
    );
    const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];
    const options = ["--handler", patient, "--handler-timeout", "300s"];
    sandbox.recordInteractive(name, "scenario=hypercalls", ...forwarded, ...options);
    const waits = new RegExp(`${name} +\\d+ +running: waits for ${name}\\.mjs, HVC 0xc6000000 +exit:\\d+`);
    while (!waits.test(sandbox.must("ps"))) await new Promise((resolve) => setTimeout(resolve, 50));
  }

  it("has the call in its file, so that log and show say what is pending", async () => {
    await recordWaiting("shown");
    const pending = (): string => sandbox.run("log", "shown.hvj", "--where", "exit.nr == 0xc6000000").stdout;
    for (const until = Date.now() + 20_000; pending() === "" && Date.now() < until;)
      await new Promise((resolve) => setTimeout(resolve, 100));
    expect(pending()).toMatch(/HYPERCALL 0xc6000000 .*pending/);
    expect(sandbox.must("show", "shown.hvj", "end")).toMatch(/pending/);
    const gone = sandbox.gone("shown", 20_000);
    sandbox.must("ctl", "shown", "quit");
    expect(await gone).toBe(true);
    expect(sandbox.must("replay", "shown.hvj")).toContain("equal");
  });

  it("pauses at once, takes or refuses commands, and asks again when it goes on", async () => {
    await recordWaiting("asked");
    const { status, stderr } = sandbox.run("ctl", "asked", "smccc-filter", "0xc6000200+1=deny");
    expect([status, stderr]).toEqual([1, expect.stringContaining("a vCPU has run")]);
    expect(sandbox.must("ctl", "asked", "pause")).toMatch(/asked paused at exit:\d+/);
    expect(sandbox.must("ps")).toMatch(/asked +\d+ +paused +exit/);
    const { length: before } = readFileSync(sandbox.path("asked.asked"));
    writeFileSync(sandbox.path("asked.go"), "");
    const gone = sandbox.gone("asked");
    sandbox.must("ctl", "asked", "resume");
    expect(await gone).toBe(true);
    expect(readFileSync(sandbox.path("asked.asked")).length).toBeGreaterThan(before);
    expect(answerIn(sandbox.console("asked.hvj"), "hvc", 0xc600_0000)).toBe(registers(6, 0x1111, 0x2222, 0x3333));
    for (const command of ["replay", "verify"]) expect(sandbox.must(command, "asked.hvj")).toContain("equal");
  });

  it("is asked once, whatever commands come, as long as its handler has not begun to act", async () => {
    await recordWaiting("left", "");
    expect(sandbox.must("ctl", "left", "snapshot")).toMatch(/snapshot:\d+/);
    expect(sandbox.run("ctl", "left", "smccc-filter", "0xc6000200+1=deny").status).toBe(1);
    sandbox.must("ctl", "left", "snapshot");
    expect(sandbox.must("ps")).toMatch(/left +\d+ +running: waits for left\.mjs/);
    expect(readFileSync(sandbox.path("left.asked"), "utf8")).toBe("?");
    writeFileSync(sandbox.path("left.go"), "");
    expect(await sandbox.gone("left")).toBe(true);
    for (const command of ["replay", "verify"]) expect(sandbox.must(command, "left.hvj")).toContain("equal");
  });

  it("takes --handler-timeout along, unless the destination is told another", async () => {
    await recordWaiting("limited");
    const never = write("never-there.mjs", "export default () => new Promise(() => {});");
    sandbox.must("ctl", "limited", "quit");
    const from = ["record", "--from", "limited.hvj", "--detach", "--handler", never, "--handler-timeout", "400ms"];
    sandbox.must(...from, "--paused", "-o", "one.hvj");
    sandbox.must("migrate", "one", "two");
    sandbox.must("migrate", "two", "three");
    const { says } = sandbox.start("attach", "three");
    await says(/attached to three/);
    sandbox.must("ctl", "three", "resume");
    await says(/no answer within 400ms/);
    sandbox.must("migrate", "three", "four", "--handler-timeout", "500ms");
    const { says: saysFour } = sandbox.start("attach", "four");
    await saysFour(/attached to four/);
    sandbox.must("ctl", "four", "resume");
    await saysFour(/no answer within 500ms/);
    sandbox.must("ctl", "four", "quit");
  });

  it("moves, and the destination's handler is asked", async () => {
    await recordWaiting("leaves");
    const other = write("other.mjs", "export default () => 4;");
    sandbox.must("migrate", "leaves", "arrives", "--handler", other);
    await sandbox.gone("arrives");
    expect(answerIn(sandbox.console("arrives.hvj"), "hvc", 0xc600_0000)).toBe(registers(4, 0x1111, 0x2222, 0x3333));
    for (const name of ["leaves.hvj", "arrives.hvj"]) expect(sandbox.must("replay", name)).toContain("equal");
  });
});

describe("builtin:psci", () => {
  it("needs no file, also where the recording is verified", () => {
    const psci = ["--smccc-filter", "0x84000000+0x20=forward", "--smccc-filter", "0xc4000000+0x20=forward"];
    const { status, stdout } = record("psci", ["builtin:psci"], ...psci);
    expect([status, stdout]).toEqual([0, expect.stringContaining("PSCI_VERSION: 0x0000000000010003")]);
    expect(sandbox.must("info", "psci.hvj")).toMatch(/^handler +builtin:psci$/m);
    expect(sandbox.must("verify", "psci.hvj")).toContain("equal");
  });
});

describe("a handler of a VM that forwards nothing", () => {
  it.each<[boolean, readonly string[]]>([
    [true, []],
    [true, ["--smccc-filter", "0xc6000000+1=deny"]],
    [false, ["--smccc-filter", "0xc6000000+1=forward"]],
    [false, ["--policy", "arm.smccc.default=forward-unhandled"]],
  ])("is said never to be asked: %s with %j", (isTold, words) => {
    const { stderr } = sandbox.run(
      ...["record", bareMetalImage, "--append", "scenario=hypercalls", "--headless", "--handler", "builtin:psci"],
      ...["--until", "exit:1", "-o", "unasked.hvj", "--force", ...words],
    );
    expect(stderr.includes("note: --handler builtin:psci will never be asked: nothing is forwarded")).toBe(isTold);
  });
});

describe("a recording of a VM that has moved", () => {
  it("says what becomes of its handler's file: only the recorded one can verify it", async () => {
    const file = write("kept.mjs", "export default () => 4;");
    const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward", "--handler", file];
    sandbox.recordInteractive("first", "scenario=hypercalls", ...forwarded, "--paused");
    sandbox.must("migrate", "first", "second");
    sandbox.must("ctl", "second", "resume");
    await sandbox.gone("second");
    write("kept.mjs", "export default () => 5;");
    const other = sandbox.run("verify", "second.hvj");
    expect([other.status, other.stderr]).toEqual([
      128,
      expect.stringMatching(
        /handler kept\.mjs is not the one that was recorded.*; --handler says where the recorded one is\n$/,
      ),
    ]);
    write("found.mjs", "export default () => 4;");
    expect(sandbox.must("verify", "second.hvj", "--handler", "found.mjs")).toContain("equal");
  });
});

describe("a VM that moves while a call waits whose handler fails", () => {
  it("goes on at the destination with a mended one", async () => {
    const broken = write("broken.mjs", 'export default () => { throw new Error("here not"); };');
    const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];
    sandbox.recordInteractive("src", "scenario=hypercalls", ...forwarded, "--handler", broken);
    for (;;) {
      if (/paused: handler failed/.test(sandbox.must("ps"))) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const mended = write("mended.mjs", "export default (call, vm) => { vm.state.moved = true; return 4; };");
    sandbox.must("migrate", "src", "dst", "--handler", mended);
    expect(sandbox.vm("dst")?.state).toBe("paused");
    const open =
      /^before +exit:\d+ +vcpu0 +HVC64 +HYPERCALL 0xc6000000 .* handler +-> pending +made in the parent recording /;
    expect(sandbox.must("log", "dst.hvj", "--hypercalls")).toMatch(open);
    const { finished, says } = sandbox.start("attach", "dst");
    await says(/attached to dst/);
    sandbox.must("ctl", "dst", "resume");
    expect((await finished).stdout).toMatch(/hvc 0xc6000000: 0x0000000000000004/);
    expect(sandbox.must("info", "dst.hvj")).toMatch(/^handler +mended\.mjs, sha256:/m);
    expect(sandbox.must("log", "dst.hvj", "--hypercalls")).not.toContain("pending");
    rmSync(sandbox.path("mended.mjs"));
    for (const name of ["src.hvj", "dst.hvj"]) expect(sandbox.must("replay", name)).toContain("equal");
  });

  it.each<[string, string, RegExp]>([
    ["throws", 'export default () => { throw new Error("not there"); };', /: it threw not there /],
    ["is-late", "export default () => new Promise(() => {});", /no answer within 300ms/],
    ["loops", "export default () => { for (;;) {} };", /its process was ended with the call open/],
  ])(
    "is said to have moved with its call open where the destination's handler %s, and goes on from there",
    async (name, code, why) => {
      const [source, there, end] = [`from-${name}`, `to-${name}`, `to-${name}-2`];
      const late = write("late-here.mjs", "export default () => new Promise(() => {});");
      const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];
      sandbox.recordDetached(
        source,
        "scenario=hypercalls",
        ...forwarded,
        "--handler",
        late,
        "--handler-timeout",
        "600s",
      );
      while (sandbox.vm(source)?.waitsFor === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
      const failing = ["--handler", write(`${name}.mjs`, code), "--handler-timeout", "300ms"];
      const { status, stdout, stderr } = sandbox.run("migrate", source, there, ...failing);
      expect([status, stdout]).toEqual([
        128,
        expect.stringMatching(`moved: ${there} owns the VM; ${source} is sealed\n$`),
      ]);
      expect(stderr).toMatch(
        new RegExp(`^error: ${source} has moved to ${there}, but call HVC64 0xc6000000 of vcpu0, exit:`, "m"),
      );
      expect(stderr).toMatch(why);
      const [, from = ""] = /^next: hvjournal migrate (\S+) \S+ --handler FILE$/m.exec(stderr) ?? [];
      sandbox.must("migrate", from, end, "--handler", write("mended-at-last.mjs", "export default () => 9;"));
      if (sandbox.vm(end)?.state === "paused") sandbox.must("ctl", end, "resume");
      await sandbox.gone(end);
      expect(sandbox.must("log", `${end}.hvj`, "--hypercalls")).toMatch(
        / answer +x0 <- 9 .* to HVC64 HYPERCALL 0xc6000000 /,
      );
      expect(sandbox.must("replay", `${end}.hvj`)).toContain("equal");
    },
  );

  it("stays where it is when the recorded file has changed at the destination, and says so", () => {
    const fine = write("fine.mjs", "export default () => 4;");
    const endless = ["--smccc-filter", "0xc6000000+0x100=forward", "--handler", fine];
    sandbox.recordInteractive("kept", "scenario=loop count=20000", ...endless);
    write("fine.mjs", "export default () => 5;");
    const { status, stderr } = sandbox.run("migrate", "kept", "kept-dst");
    expect([status, stderr]).toEqual([1, expect.stringContaining("handler fine.mjs is not the one that was recorded")]);
    sandbox.must("ctl", "kept", "quit");
  });
});
