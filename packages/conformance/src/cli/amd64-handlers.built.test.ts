/** Handlers of an amd64 guest's calls, by the guest of examples/extended-hypercalls. */
import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { handlerAnswers } from "@hvjournal/core";
import { keepOnFailure } from "../testing/keep-recording.js";
import { repositoryRoot } from "../testing/repository.js";
import { type Finished, VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const GUEST = [
  ...[join(repositoryRoot, "examples", "extended-hypercalls", "guest.elf"), "--memory", "32M"],
  ...["--cap", "hyperv_enforce_cpuid", "--hv", "ext-calls", "--seed", "7", "--rtc", "base=2026-01-01"],
];

function write(name: string, ...lines: readonly string[]): string {
  writeFileSync(sandbox.path(name), `${lines.join("\n")}\n`);
  return name;
}

function recordWords(name: string, words: readonly string[]): string[] {
  return ["record", ...GUEST, "--headless", ...words, "-o", `${name}.hvj`];
}

function record(name: string, ...words: readonly string[]): Finished {
  return sandbox.run(...recordWords(name, words));
}

/** Answers 0x8001 with the mask in mask.txt, late. */
function maskFromFile(): string {
  return write(
    "mask.mjs",
    'import { readFileSync } from "node:fs";',
    "export default async (call, vm) => {",
    '  if (call.type !== "hv-call" || call.code !== 0x8001) return vm.notHandled;',
    "  await new Promise((resolve) => setTimeout(resolve, 5));",
    `  return vm.hvExt(call, BigInt(readFileSync(${JSON.stringify(sandbox.path("mask.txt"))}, "utf8")));`,
    "};",
  );
}

describe("a Hyper-V call in expressions and positions", () => {
  const CODE = 0x8003;
  const WITH_TWO = "0x200008003";

  it("goes by its code whatever its other fields are, or by the whole input value", () => {
    expect(record("calls", "--handler", "builtin:hv-ext").status).toBe(0);
    const found = (expression: string): number =>
      sandbox.must("log", "calls.hvj", "--where", expression).trimEnd().split("\n").length;
    const all = found(`exit.nr == ${CODE}`);
    expect(all).toBe(sandbox.must("log", "calls.hvj", "--hypercalls").match(/0x8003 /g)?.length);
    expect(found(`exit.input == ${WITH_TWO}`)).toBeLessThan(all);
    const at = (position: string): string =>
      sandbox.must("replay", "calls.hvj", "--until", position).split("\n")[0] ?? "";
    const [second, whole] = [at("hypercall:0x8003#2"), at(`hypercall:${WITH_TWO}`)];
    expect(second).toContain("0x8003 HvExtCallMemoryHeatHint repCount=2 ");
    expect(whole).toBe(second);
    expect(at(`exit.nr == ${CODE} && exit.input == ${WITH_TWO}`)).toBe(second);
  });

  it("that the kernel half answers is no handler's", () => {
    const mask = ["--policy", "hv.ext.route=mask", "--policy", "hv.ext.kernelMask=0x1"];
    expect(record("kernel", ...mask, "--handler", "builtin:hv-ext").status).toBe(0);
    expect(sandbox.must("show", "kernel.hvj", "hypercall:0x8001")).toMatch(
      / 0x8001 HvExtCallQueryCapabilities, handled by the kernel half.*\n[^]*\n {2}answer +not yet given: rax <- 0\n/,
    );
  });

  it("stops a VM that runs, too", () => {
    for (const until of ["hypercall:0x8003#2", `exit.nr == ${CODE} && exit.input == ${WITH_TWO}`]) {
      expect(record("stopped", "--force", "--until", until).status).toBe(0);
      expect(sandbox.must("show", "stopped.hvj", "end")).toMatch(/ 0x8003 HvExtCallMemoryHeatHint repCount=2$/m);
    }
  });
});

describe("record --handler FILE of an amd64 guest", () => {
  it.each([
    ["ends the process", "export default () => process.exit(0);", "process.exit(0): a handler can't end the process"],
    [
      "throws in a timer",
      'export default () => { setTimeout(() => { throw new Error("late"); }, 0); return new Promise(() => {}); };',
      "a handler threw outside of its call, and nothing awaits it: Error: late",
    ],
    [
      "leaves a rejected promise",
      'export default () => { void Promise.reject(new Error("lost")); return new Promise(() => {}); };',
      "a handler threw outside of its call, and nothing awaits it: Error: lost",
    ],
  ])("one that %s is an error of its own", (_what, text, message) => {
    const words = ["--force", "--handler", write("stray.mjs", text)];
    const { status, stderr } = sandbox.runWith({}, ...recordWords("stray", words));
    expect([status, stderr]).toEqual([128, expect.stringContaining(message)]);
  });

  it("asks files in turn, late ones too; it verifies with them and replays without", () => {
    write("mask.txt", "0x3");
    const { status, stdout } = record("demo", "--handler", maskFromFile(), "--handler", "builtin:hv-ext,mask=0x3");
    expect([status, stdout]).toEqual([0, expect.stringMatching(/mask 0x0{15}3[^]*cold discard: status 0, 1 done/)]);
    expect(sandbox.must("info", "demo.hvj")).toMatch(/^handler +mask\.mjs, sha256:[0-9a-f]{64}$/m);
    expect(sandbox.must("show", "demo.hvj", "hypercall:0x8001")).toMatch(
      /KVM_EXIT_HYPERV 0x8001 HvExtCallQueryCapabilities\n[^]*\n {2}asked +mask\.mjs, builtin:hv-ext,mask=0x3, then the board\n {2}answer .*8 bytes to 0x[^]*/,
    );
    const answered = sandbox.open("demo.hvj", handlerAnswers);
    expect(answered.map(({ number, count }) => [number, count])).toEqual([
      [0x8003, 4],
      [0x8001, 3],
      [0x8002, 1],
      [0x8004, 1],
    ]);
    expect(answered[1]?.registers).toEqual([["result", 8n]]);
    expect(sandbox.must("verify", "demo.hvj")).toContain("all that the VMM half did, equal");
    renameSync(sandbox.path("mask.mjs"), sandbox.path("mask.away"));
    expect(sandbox.must("replay", "demo.hvj")).toContain("equal");
    renameSync(sandbox.path("mask.away"), sandbox.path("mask.mjs"));
  });

  it("that answers otherwise though its file is the same: verify says what was recorded, and what it answers now", () => {
    write("mask.txt", "0x3");
    expect(record("config", "--handler", maskFromFile()).status).toBe(0);
    write("mask.txt", "0x1");
    const { status, stderr } = sandbox.run("verify", "config.hvj");
    expect(stderr).toMatch(
      /^error: replay diverged at exit:\d+ \(vcpu0, .*\n {2}recorded {3}GuestMemoryWritten .*\n {2}replayed {3}GuestMemoryWritten /,
    );
    expect(status).toBe(1);
  });

  it("that fails leaves the call pending; mended, the VM goes on from there", () => {
    const source = (last: string): string[] => [
      "export default (call, vm) => {",
      "  vm.vcpu(0).setReg('r9', 7n);",
      last,
      "};",
    ];
    const { status, stderr } = record(
      "failed",
      "--handler",
      write("failing.mjs", ...source('  throw new Error("no");')),
    );
    expect([status, stderr]).toEqual([
      128,
      expect.stringMatching(
        /failing\.mjs has no answer to KVM_EXIT_HYPERV HvExtCallQueryCapabilities \(0x8001\) of vcpu0: it threw no \(failing\.mjs:3\)/,
      ),
    ]);
    expect(sandbox.must("replay", "failed.hvj")).toMatch(/answer, pending: the VMM half's answer \(rax\)/);
    write("failing.mjs", ...source("  return { status: 6 };"));
    const mended = ["--handler", "failing.mjs", "--headless", "-o", "mended.hvj"];
    expect(sandbox.must("record", "--from", "failed.hvj", ...mended)).toMatch(/capabilities: status 6, 0 done/);
    for (const command of ["replay", "verify"]) expect(sandbox.must(command, "mended.hvj")).toContain("equal");
  });

  it("says at the end which calls nobody answered, by name", () => {
    const { status, stdout, stderr } = record("unanswered");
    expect([status, stdout]).toEqual([0, expect.stringContaining("capabilities: status 2, 0 done")]);
    expect(stderr).toMatch(
      /note: nobody answered KVM_EXIT_HYPERV HvExtCallMemoryHeatHint \(0x8003\), 4 times; KVM_EXIT_HYPERV HvExtCallQueryCapabilities \(0x8001\), 3 times;/,
    );
  });

  it("is told at the start where the guest has nothing to ask it", () => {
    const [image = ""] = GUEST;
    const words = ["record", image, "--headless", "--handler", "builtin:hv-ext", "--force", "-o", "unasked.hvj"];
    const { stdout, stderr } = sandbox.run(...words);
    expect(stdout).toContain("no extended hypercalls");
    expect(stderr).toContain(
      "note: --handler builtin:hv-ext has nothing to answer: the guest is offered no extended hypercalls (--hv all,",
    );
    expect(sandbox.run(...words, "--hv", "vpindex").stderr).not.toContain("nothing to answer");
  });

  it("says nothing of a file: what no device claims comes to it in every VM", () => {
    const [image = ""] = GUEST;
    const file = write("any.mjs", "export default (call, vm) => vm.notHandled;");
    const words = ["record", image, "--headless", "--handler", file, "--force", "-o", "asked.hvj", "--until", "exit:1"];
    for (const policy of [[], ["--policy", "x86.hypercall.unhandled=forward"]])
      expect(sandbox.run(...words, ...policy).stderr).not.toMatch(/never be asked|nothing to answer/);
  });

  it.each([
    ["builtin:psci", /builtin:psci answers calls of arm64: board pc is amd64's/],
    ["builtin:hv-ext,mask=0x4", /mask is a number with bits of 0x103/],
    ["builtin:hv-ext,maks=1", /builtin:hv-ext takes mask=VALUE alone/],
    ["builtin:hv-exd", /there are builtin:psci, builtin:sdei, builtin:hv-ext; did you mean builtin:hv-ext\?/],
  ])("%s is not there, and there is no recording", (name, message) => {
    const { status, stderr } = record("none", "--handler", name);
    expect([status, stderr]).toEqual([129, expect.stringMatching(message)]);
    expect(sandbox.run("info", "none.hvj").status).toBe(128);
  });
});

describe("an amd64 VM that moves while an extended call waits", () => {
  it("has it answered at its destination, and is the same VM", async () => {
    const paths = ["whole.hvj", "src.hvj", "dst.hvj"];
    await keepOnFailure(
      paths.map((path) => sandbox.path(path)),
      async () => {
        const answers = "export default (call, vm) => { vm.state.asked = true; return vm.hvExt(call, 0x3n); };";
        expect(record("whole", "--handler", write("whole.mjs", answers)).status).toBe(0);
        const failing = write("src.mjs", 'export default () => { throw new Error("no backend"); };');
        sandbox.must("record", ...GUEST, "--handler", failing, "--detach", "-o", "src.hvj");
        expect(await sandbox.paused("src")).toMatchObject({ pausedBy: "handler failed" });
        expect(sandbox.must("migrate", "--explain", "src", "dst", "--handler", "whole.mjs")).toMatch(
          /^OPEN {3}call VMCALL HYPERV 0x8001 HvExtCallQueryCapabilities \(0x8001, 0x0, 0x\w+\) of vcpu0, exit:\d+, is pending/m,
        );
        sandbox.must("migrate", "src", "dst", "--handler", "whole.mjs");
        sandbox.must("ctl", "dst", "resume");
        expect(await sandbox.gone("dst")).toBe(true);
        expect(sandbox.must("log", "src.hvj", "--hypercalls")).toMatch(/HvExtCallQueryCapabilities .*-> pending .*\n$/);
        expect(sandbox.must("log", "dst.hvj", "--hypercalls")).toMatch(
          /^.* answer +rax <- 0 .*0x8001 HvExtCallQueryCapabilities, made in the parent recording/,
        );
        expect(sandbox.joinedConsole("src.hvj", "dst.hvj")).toBe(sandbox.console("whole.hvj"));
        const endOf = (path: string): unknown =>
          sandbox.open(path, ({ end: { icount, exitNumber } }) => ({ icount, exitNumber }));
        expect(endOf("dst.hvj")).toEqual(endOf("whole.hvj"));
        expect(sandbox.must("verify", "dst.hvj")).toContain("equal");
        for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
      },
    );
  });
});

describe("an amd64 VM whose process is killed while a handler answers", () => {
  it("says which call that was, and goes on by another handler where it moves to", async () => {
    const silent = write("silent.mjs", "export default () => new Promise(() => {});");
    sandbox.must("record", ...GUEST, "--handler", silent, "--handler-timeout", "600s", "--detach", "-o", "killed.hvj");
    while (!sandbox.run("log", "killed.hvj", "--hypercalls").stdout.includes("pending"))
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(sandbox.must("info", "killed.hvj")).not.toMatch(/^waits/m);
    await sandbox.kill("killed");
    const { stdout, stderr } = sandbox.run("info", "killed.hvj");
    const call = /exit:\d+, VMCALL HYPERV 0x8001 HvExtCallQueryCapabilities/.source;
    expect(stdout).toMatch(
      new RegExp(`^waits +for handler silent\\.mjs: the call of ${call}, was being answered$`, "m"),
    );
    expect(stderr).toMatch(/\nnext: hvjournal migrate killed\.hvj killed-2 --handler silent\.mjs\n$/);
    const json = JSON.parse(sandbox.must("info", "killed.hvj", "--json"));
    expect(json).toMatchObject({ openCall: { handlers: ["silent.mjs"] }, host: { name: "intel", version: 1 } });

    const answers = write("other.mjs", "export default (call, vm) => vm.hvExt(call, 0x3n);");
    const refused = sandbox.run("receive", "--continue", "-o", "killed.hvj", "--handler", answers);
    expect([refused.status, refused.stderr]).toEqual([
      1,
      expect.stringMatching(
        /^error: can't go on with killed\.hvj: handler other\.mjs is not the one .*\nnext: hvjournal migrate killed\.hvj killed-2 --handler other\.mjs\n$/,
      ),
    ]);
    sandbox.must("migrate", "killed.hvj", "killed-2", "--handler", answers);
    expect(await sandbox.gone("killed-2")).toBe(true);
    expect(sandbox.console("killed-2.hvj")).toContain("cold discard: status 0");
  });
});
