import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { existsSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { bareMetalImage } from "../guests/bare-metal.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

/** Long enough for every test; what a test that was cut leaves behind ends by itself. */
const ENDLESS = "scenario=loop count=20000";
const forwarded = "0xc6000000+0x100=forward";

describe("a VM in the background", () => {
  it("is listed, is nobody else's, and keeps its name to itself", () => {
    sandbox.recordInteractive("one", ENDLESS);
    const { name, state } = sandbox.vm("one") ?? {};
    expect([name, state]).toEqual(["one", "running"]);
    expect(lstatSync(join(sandbox.directory, "hvjournal", "one.sock")).mode & 0o777).toBe(0o600);
    expect(lstatSync(join(sandbox.directory, "hvjournal")).mode & 0o777).toBe(0o700);
    const second = sandbox.run("record", bareMetalImage, "--detach", "--name", "one", "-o", "two.hvj");
    expect(second).toMatchObject({
      status: 128,
      stderr: "error: a VM named one runs already\nnext: hvjournal attach one\n",
    });
    expect(existsSync(sandbox.path("two.hvj"))).toBe(false);
    const missing = sandbox.run("record", "x.img", "--detach", "-o", "three.hvj");
    expect([missing.status, missing.stderr]).toEqual([128, expect.stringContaining("x.img: no such file")]);
    sandbox.must("ctl", "one", "quit");
    expect(sandbox.vms()).toEqual([]);
    expect(sandbox.must("replay", "one.hvj")).toContain("equal");
  });

  it("that was killed leaves a socket that the next one of its name replaces", async () => {
    sandbox.recordInteractive("killed", ENDLESS);
    await sandbox.kill("killed");
    expect(sandbox.run("attach", "killed")).toMatchObject({
      status: 128,
      stderr: "error: no VM named killed runs\nnext: hvjournal ps\n",
    });
    expect(sandbox.must("info", "killed.hvj")).toMatch(/^ended +not closed: its recorder was killed/m);
    sandbox.recordInteractive("again", ENDLESS, "--name", "killed");
    expect(sandbox.vm("killed")?.state).toBe("running");
    sandbox.must("ctl", "killed", "quit");
  });

  it("pauses at the exact exit, refuses what KVM refuses without a trace, and records what it accepts", async () => {
    await keepOnFailure([sandbox.path("ctl.hvj")], async () => {
      sandbox.recordDetached("ctl", "scenario=main ticks=5 rounds=1500 input=none", "--smccc-filter", forwarded);
      sandbox.must("ctl", "ctl", "--at", "hypercall:0xc6000000#2", "pause");
      const paused = sandbox.vm("ctl");
      expect(paused?.state).toBe("paused");
      const before = sandbox.open("ctl.hvj", ({ end }) => end);
      expect(sandbox.run("ctl", "ctl", "smccc-filter", forwarded)).toEqual({
        status: 1,
        stdout: "",
        stderr:
          "error: KVM_ARM_VM_SMCCC_FILTER: EBUSY: a vCPU has run (exit:1); set it before the start: record --smccc-filter\n",
      });
      expect(sandbox.open("ctl.hvj", ({ end }) => end)).toEqual(before);
      const accepted = sandbox.must("ctl", "ctl", "one-reg", "KVM_REG_ARM_PSCI_VERSION=0x10000");
      const [, seq] =
        /^event:(\d+) OneRegSet KVM_REG_ARM_PSCI_VERSION 0x10003 -> 0x10000 at exit:\d+\n$/.exec(accepted) ?? [];
      expect(Number(seq)).toBeGreaterThanOrEqual(before.firstSeq);
      const late = sandbox.run("ctl", "ctl", "--at", "exit:3", "pause");
      expect([late.status, late.stderr]).toEqual([1, expect.stringContaining("exit:3 lies behind it")]);
      const next = (paused?.exit ?? 0) + 1;
      const waiting = sandbox.start("ctl", "ctl", "--at", `exit:${next}`, "pause");
      await waiting.says(new RegExp(`note: ctl pauses at exit:${next}, looked for from exit:${next - 1} on`));
      sandbox.must("ctl", "ctl", "resume");
      const { status } = await waiting.finished;
      expect([status, sandbox.vm("ctl")?.exit]).toEqual([0, next]);
      expect(sandbox.must("ctl", "ctl", "--at", `exit:${next}`, "pause")).toContain(`paused at exit:${next}`);
      sandbox.must("ctl", "ctl", "resume");
      sandbox.must("ctl", "ctl", "quit");
      expect(sandbox.must("replay", "ctl.hvj")).toContain("equal");
      expect(sandbox.must("verify", "ctl.hvj")).toContain("equal");
    });
  });

  it("gives its console to whoever attaches, and takes what is typed there", async () => {
    sandbox.recordDetached("typed", ENDLESS);
    const { child, finished, says } = sandbox.start("attach", "typed");
    // The first line may have begun before.
    await says(/\nloop \d+ ticks \d+ chain 0x[0-9a-f]+\r?\n/);
    child.stdin?.write("hello\nquit\n");
    const { status, stdout, stderr } = await finished;
    expect(status).toBe(0);
    expect(stdout).toContain("hello");
    expect(stderr).toContain("guest powered off");
  });

  it("that fails on its console records the rest of the line, ends though it idles, and attach has its status", async () => {
    const append = "scenario=main input=console ticks=1 period=100";
    sandbox.recordInteractive("failing", append, "--fail-on", "console:/^echo: bo/");
    const { child, finished, says } = sandbox.start("attach", "failing");
    await says(/attached to failing/);
    expect(sandbox.must("info", "failing.hvj")).toMatch(/^ended +not yet: it runs as failing \(pid \d+\)$/m);
    child.stdin?.write("boom\n");
    const { status, stderr } = await finished;
    expect(status).toBe(1);
    expect(stderr).toMatch(/guest failed at exit:\d+ time:\S+: echo: boom$/m);
    expect(sandbox.must("info", "failing.hvj")).toMatch(/^ended +failed: --fail-on .*: echo: boom$/m);
    expect(sandbox.console("failing.hvj")).toMatch(/echo: boom\r?\n/);
    expect(sandbox.must("verify", "failing.hvj")).toContain("equal");
  });

  it("whose console nobody reads stands still, answers and ends; whoever reads then has missed nothing", async () => {
    const append = "scenario=loop period=1 every=1 count=200000";
    const { child, finished, says } = sandbox.start(
      ...["record", bareMetalImage, "--append", append, "--headless", "--no-index"],
      ...["--name", "unread", "-o", "unread.hvj"],
    );
    await says(/loop 1 /);
    child.stdout?.pause();
    const exits = [-1];
    // Not before what lies between guest and reader is full.
    while (exits.at(-1) !== exits.at(-2)) exits.push(sandbox.vm("unread")?.exit ?? exits.length);
    sandbox.must("ctl", "unread", "quit");
    child.stdout?.resume();
    const { status, stdout } = await finished;
    expect(status).toBe(0);
    expect(stdout).toBe(sandbox.console("unread.hvj"));
  });

  it("whose console's reader has left runs on", async () => {
    const append = "scenario=loop period=1 every=1 count=2000";
    const { child, finished, says } = sandbox.start(
      ...["record", bareMetalImage, "--append", append, "--headless", "--no-index", "-o", "left.hvj"],
    );
    await says(/loop 1 /);
    child.stdout?.destroy();
    expect(await finished).toMatchObject({ status: 0, stderr: expect.stringContaining("guest powered off") });
    expect(sandbox.console("left.hvj")).toContain("loop 2000 ");
  });
});

describe("a VM whose name is not its recording's", () => {
  it("does not move to itself; once it has moved, whoever asks for it is told where to", async () => {
    sandbox.recordInteractive("file", "scenario=loop count=20000", "--name", "vm");
    for (const dst of ["vm", "file", "file.hvj"]) {
      const { status, stderr } = sandbox.run("migrate", "vm", dst);
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(/^error: can't migrate vm to \S+: it is there already\nnext: hvjournal migrate vm /),
      ]);
    }
    sandbox.must("migrate", "vm", "there");
    const { status, stderr } = sandbox.run("ctl", "vm", "pause");
    expect([status, stderr]).toEqual([
      128,
      "error: no VM named vm runs: file.hvj was moved to there\nnext: hvjournal attach there\n",
    ]);
    const [, path] = /moved, to there \((.*)\), recording [0-9a-f]{32}\n/.exec(sandbox.must("info", "file.hvj")) ?? [];
    expect(path).toMatch(/there\.hvj$/);
    sandbox.must("ctl", "there", "quit");
    for (const words of [
      ["nowhere.hvj", "to"],
      ["nowhere.hvj", "to", "--resolve"],
    ]) {
      const missing = sandbox.run("migrate", ...words);
      expect([missing.status, missing.stderr]).toEqual([128, expect.stringMatching(/nowhere\.hvj(: no such file)?\n/)]);
    }
    await sandbox.gone("there");
  });
});
