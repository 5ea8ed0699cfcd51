import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const FILTER = ["--smccc-filter", "0xc6000000+0x100=forward", "--smccc-filter", "0xc5000100+2=deny"];
const ENDLESS = "scenario=loop count=0";
const CALLS = "scenario=main input=none ticks=5";
/** The guest has made the first of its forwarded calls, and not the others. */
const BETWEEN_CALLS = 178_000;

/** "KVM_ARM_VM_SMCCC_FILTER 0xc6000000+0x100" to its line. */
function itemsOf(recording: string, ...words: readonly string[]): Map<string, Record<string, unknown>> {
  const lines = sandbox
    .must("contract", recording, "--json", ...words)
    .trimEnd()
    .split("\n");
  return new Map(lines.map((line) => JSON.parse(line) as { name: string }).map((item) => [item.name, { ...item }]));
}

/** Exit events of a hypercall, as `log` prints them, without the numbers that a move moves on. */
function calls(recording: string): string[] {
  return sandbox
    .must("log", recording, "--hypercalls")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/^event:\d+ +/, "").replaceAll(/ {2,}/g, "  "));
}

/** Calls of the filter's own ranges. */
function decided(recording: string): string[] {
  return calls(recording).filter((line) => /0xc[56]/.test(line));
}

describe("a VM with a filter that moves", () => {
  it.each(["replay", "register", "snapshot"])("is decided by the same rules afterwards, by %s", async (way) => {
    const words = [...FILTER, "--policy", `arm.smccc.migrate=${way}`];
    sandbox.recordWhole(way, CALLS, ...words, "--until", `icount:${BETWEEN_CALLS}`);
    expect(sandbox.must("migrate", "--explain", way, `${way}-dst`)).toMatch(/^nothing blocks, \d+ equal\n$/);
    sandbox.must("migrate", way, `${way}-dst`);
    expect(await sandbox.gone(`${way}-dst`)).toBe(true);
    expect(sandbox.must("contract", `${way}.hvj`, `${way}-dst.hvj`)).toMatch(/^\d+ items equal, 0 different\n$/);
    expect(sandbox.must("replay", `${way}-dst.hvj`)).toContain("equal");
    sandbox.recordWhole(`${way}-whole`, CALLS, ...words);
    const moved = [...decided(`${way}.hvj`), ...decided(`${way}-dst.hvj`)];
    expect(moved).toEqual(decided(`${way}-whole.hvj`));
    const [before, after] = [`${way}.hvj`, `${way}-dst.hvj`].map(decided);
    expect(before?.length).toBeGreaterThan(0);
    // The number of the range's event is in each exit that it decides, on both sides of the move.
    expect(after?.filter((line) => /0xc6000001 .*filter event:\d+ forward/.test(line)).length).toBeGreaterThan(0);
  });
});

describe("a host that can't do what the guest was promised", () => {
  it("is refused for each item by name, beforehand and when it comes to it; the source runs on", () => {
    sandbox.recordInteractive("busy", ENDLESS, ...FILTER);
    for (const [host, ...blocked] of [
      ["vulnerable", "ARCH_WORKAROUND_1", "ARCH_WORKAROUND_2", "ARCH_WORKAROUND_3"],
      ["linux-6.4", "PSCI_VERSION"],
      ["linux-6.1", "PSCI_VERSION", "FILTER 0xc5000100+0x2", "FILTER 0xc6000000+0x100"],
    ] as const) {
      const explained = sandbox.run("migrate", "--explain", "--host", host, "busy", "there");
      const lines = explained.stdout.split("\n").filter((line) => line.startsWith("BLOCK"));
      expect([host, explained.status, lines]).toEqual([
        host,
        1,
        blocked.map((name) => expect.stringMatching(new RegExp(`${name.replace("+", "\\+")} .*dst `))),
      ]);
      expect(explained.stdout).toMatch(new RegExp(`^${blocked.length} items? blocks?, .*equal$`, "m"));
      const moved = sandbox.run("migrate", "--host", host, "busy", "there");
      expect([moved.status, moved.stderr]).toEqual([1, expect.stringContaining("busy still owns the VM")]);
      for (const name of blocked) expect(moved.stderr).toContain(name);
      expect(moved.stderr).toContain(`next: hvjournal migrate --explain --host ${host} busy there`);
    }
    expect(sandbox.vms().map(({ name, state }) => [name, state])).toEqual([["busy", "running"]]);
    expect(sandbox.run("migrate", "--explain", "busy", "there")).toMatchObject({ status: 0 });
    sandbox.must("ctl", "busy", "quit");
    expect(sandbox.must("replay", "busy.hvj")).toContain("equal");
  });

  it("is no host of this build: that is wrong usage, and nothing is started", () => {
    for (const words of [
      ["record", "none.img", "--host", "granite"],
      ["receive", "--host", "granite"],
    ]) {
      const { status, stderr } = sandbox.run(...words);
      expect([words[0], status]).toEqual([words[0], words[0] === "record" ? 128 : 129]);
      if (words[0] === "receive")
        expect(stderr).toContain("--host granite: there is unaffected, mitigated, vulnerable");
    }
  });
});

describe("another handler at the destination", () => {
  it("is a warning that tells what the guest has been answered, function by function", () => {
    writeFileSync(sandbox.path("one.mjs"), "export default (call) => (call.nr === 0xc6000000 ? 0x10002 : [0, 7]);");
    writeFileSync(sandbox.path("two.mjs"), "export default () => 0x20002;");
    const handler = ["--handler", sandbox.path("one.mjs")];
    sandbox.recordWhole("by-one", CALLS, ...FILTER, ...handler, "--until", `icount:${BETWEEN_CALLS}`);
    const explain = (file: string) =>
      sandbox.must("migrate", "--explain", "by-one", "by-two", "--handler", sandbox.path(file));
    expect(explain("two.mjs")).toMatch(
      /^WARN {3}handler of forwarded calls .*\n {7}0xc6000000 -> x0=0x10002, asked .*exit:\d+\nnothing blocks, 1 warns/m,
    );
    expect(explain("one.mjs")).toMatch(/^nothing blocks, \d+ equal\n$/);
    // The same file of another checkout.
    mkdirSync(sandbox.path("elsewhere"));
    copyFileSync(sandbox.path("one.mjs"), sandbox.path("elsewhere/one.mjs"));
    expect(explain("elsewhere/one.mjs")).toMatch(/^nothing blocks, \d+ equal\n$/);
  });
});

describe("a call that has no answer yet", () => {
  it("is told as pending, with who will answer it: the source's handler, another, or the board", () => {
    writeFileSync(sandbox.path("here.mjs"), "export default () => 1;");
    writeFileSync(sandbox.path("there.mjs"), "export default () => 2;");
    const standing = [...FILTER, "--until", "hypercall:0xc6000000"];
    sandbox.recordWhole("waiting", "scenario=hypercalls", ...standing, "--handler", "here.mjs");
    sandbox.recordWhole("unhandled", "scenario=hypercalls", ...standing);
    const open = (...words: string[]): string[] =>
      sandbox
        .must("migrate", "--explain", ...words)
        .split("\n")
        .filter((line) => line.includes("0xc6000000 "));
    const call =
      /^OPEN {3}call HVC64 0xc6000000 \(0x1111, 0x2222, 0x3333\) of vcpu0, exit:\d+, is pending: not answered yet; at the destination /;
    const answeredBy = (text: string): unknown[] => [expect.stringMatching(new RegExp(`${call.source}${text}$`))];
    expect(open("waiting", "dst")).toEqual(answeredBy("it is answered by here.mjs, else by the board"));
    const there = ["--handler", "there.mjs"];
    expect(open("waiting", "dst", ...there)).toEqual(answeredBy("it is answered by there.mjs, else by the board"));
    expect(open("unhandled", "dst")).toEqual(answeredBy("it is answered by the board"));
  });
});

describe("a VM that moves to a better host", () => {
  it("asks the same call and is told of the better host; both recordings replay, and the event says when", async () => {
    const append = "scenario=hypercalls";
    sandbox.recordInteractive("old", append, "--host", "mitigated", "--paused");
    const explained = sandbox.must("migrate", "--explain", "--host", "unaffected", "old", "better");
    expect(explained).toMatch(/^WARN {3}KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1 1 AVAIL .*at least as good/m);
    expect(explained).toMatch(/^nothing blocks, 3 warn, \d+ equal$/m);
    sandbox.must("migrate", "--host", "unaffected", "old", "better");
    sandbox.must("ctl", "better", "resume");
    expect(await sandbox.gone("better")).toBe(true);
    expect(sandbox.must("log", "better.hvj", "--control")).toMatch(
      /HostChanged +mitigated version 1 -> unaffected version 1/,
    );
    const answers = calls("better.hvj").filter((line) => line.includes("SMCCC_ARCH_FEATURES x1=0x80008000"));
    expect(answers).toEqual([expect.stringContaining("-> x0=1 ")]);
    expect(sandbox.must("replay", "better.hvj")).toContain("equal");
    expect(sandbox.must("verify", "better.hvj")).toContain("equal");
    sandbox.recordWhole("worse", append, "--host", "mitigated");
    expect(calls("worse.hvj").find((line) => line.includes("x1=0x80008000"))).toContain("-> x0=0 ");
    sandbox.recordWhole("worst", append, "--host", "vulnerable");
    expect(calls("worst.hvj").find((line) => line.includes("x1=0x80008000"))).toContain("-> x0=-1 ");
  });
});

describe("the contract of a recording", () => {
  it("says what the guest has asked for, where, and how often, at any moment", () => {
    sandbox.recordWhole("asked", "scenario=main input=none ticks=5", ...FILTER);
    const end = itemsOf("asked.hvj");
    const before = itemsOf("asked.hvj", "--at", "exit:310");
    const version = "KVM_REG_ARM_PSCI_VERSION";
    expect(before.get(version)?.["observed"]).toEqual({ count: 1, firstExit: 309, lastExit: 309 });
    expect(end.get(version)?.["observed"]).toMatchObject({ firstExit: 309 });
    expect(end.get("ID_AA64MMFR0_EL1")?.["observed"]).toEqual({ count: 1, firstExit: 2, lastExit: 2 });
    expect(end.get("MIDR_EL1")).toMatchObject({ isObservable: false, observed: null });
    expect(end.get("handler of forwarded calls")).toMatchObject({ value: "none: x0 becomes -1" });
    expect(before.get("handler of forwarded calls")?.["observed"]).toBeNull();
    const { status, stdout } = sandbox.run("contract", "asked.hvj", "asked.hvj@exit:310");
    expect([status, stdout]).toEqual([0, expect.stringMatching(/^\d+ items equal, 0 different\n$/)]);
  });

  it("differs from another's where the configuration does: status 1", () => {
    sandbox.recordWhole("plain", "scenario=hypercalls", "--firmware-reg", "PSCI_VERSION=0x10000");
    const { status, stdout } = sandbox.run("contract", "asked.hvj", "plain.hvj");
    expect(status).toBe(1);
    expect(stdout).toMatch(/^KVM_REG_ARM_PSCI_VERSION +0x10003 -> 0x10000 +guest asked /m);
    expect(stdout).toMatch(/^KVM_ARM_VM_SMCCC_FILTER 0xc6000000\+0x100 +forward \(event:\d+\) -> absent /m);
  });

  it("differs in what no guest can tell alone: told, and status 0", () => {
    for (const host of ["linux-6.4", "linux-6.1"]) sandbox.recordWhole(host, "scenario=loop count=3", "--host", host);
    const { status, stdout } = sandbox.run("contract", "linux-6.4.hvj", "linux-6.1.hvj");
    expect(stdout).toMatch(
      /^host {2}linux-6\.4 version \d+ -> linux-6\.1 version \d+\n\d+ items equal, 1 different, 1 of them in what no guest can tell\n$/,
    );
    expect(status).toBe(0);
  });

  it.each<[readonly string[]]>([
    [["asked.hvj@nonsense"]],
    [["asked.hvj@exit:NONE"]],
    [["asked.hvj", "--at", "nonsense"]],
    [["asked.hvj", "asked.hvj@nonsense"]],
    [["asked.hvj@nonsense", "asked.hvj"]],
    [["asked.hvj", "asked.hvj", "--at", "exit:3"]],
    [["asked.hvj@exit:3", "--at", "exit:4"]],
    [["asked.hvj", "asked.hvj", "asked.hvj"]],
  ])("is wrong usage, status 129, of %j", (words) => {
    const { status, stdout, stderr } = sandbox.run("contract", ...words);
    expect({ status, stdout }).toEqual({ status: 129, stdout: "" });
    expect(stderr).toMatch(/^error: .*\nnext: hvjournal (help positions|contract --help)\n$/);
  });

  it("has no moment behind the recording's end: status 1, of one recording and of two", () => {
    for (const words of [["asked.hvj@exit:999999"], ["asked.hvj", "plain.hvj@exit:999999"]]) {
      const { status, stderr } = sandbox.run("contract", ...words);
      expect([status, stderr]).toEqual([1, expect.stringMatching(/\.hvj ends at exit:\d+ /)]);
    }
  });

  it("goes on being known behind a move", async () => {
    sandbox.recordWhole("moving", CALLS, ...FILTER, "--until", `icount:${BETWEEN_CALLS}`);
    const before = itemsOf("moving.hvj");
    sandbox.must("migrate", "moving", "moved");
    expect(await sandbox.gone("moved")).toBe(true);
    const after = itemsOf("moved.hvj");
    expect(after.get("ID_AA64MMFR0_EL1")?.["observed"]).toEqual({ count: 1, firstExit: 2, lastExit: 2 });
    for (const name of ["device pl011", "KVM_REG_ARM_PSCI_VERSION"])
      expect(after.get(name)?.["observed"]).toEqual(itemsOf("asked.hvj").get(name)?.["observed"]);
    expect(after.get("device pl011")?.["observed"]).not.toEqual(before.get("device pl011")?.["observed"]);
  });
});
