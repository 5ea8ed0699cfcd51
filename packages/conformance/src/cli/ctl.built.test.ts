/** `ctl`: what it says of VMs that wait, have moved, or have ended. */
import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const ENDLESS = "scenario=main input=none ticks=1000000 period=1000";

describe("ctl", () => {
  it("takes firmware registers by their short names, and names a wrong argument once", () => {
    sandbox.recordInteractive("names", ENDLESS);
    expect(sandbox.must("ctl", "names", "one-reg", "PSCI_VERSION=0x10000")).toMatch(
      /^event:\d+ OneRegSet KVM_REG_ARM_PSCI_VERSION 0x10003 -> 0x10000 at \S+\n$/,
    );
    const refused = (word: string, text: string): unknown => sandbox.run("ctl", "names", word, text).stderr;
    expect(refused("one-reg", "PSCI_VERSION")).toBe(
      "error: ctl one-reg PSCI_VERSION: expected NAME=VALUE\nnext: hvjournal ctl --help\n",
    );
    expect(refused("smccc-filter", "0xc6=forward")).toBe(
      "error: ctl smccc-filter 0xc6=forward: expected BASE+COUNT=handle|deny|forward\nnext: hvjournal ctl --help\n",
    );
    sandbox.must("ctl", "names", "quit");
  });

  it("gives up waiting for a moment after --timeout, and the VM does not pause there any more", () => {
    sandbox.recordInteractive("waits", ENDLESS);
    const { status, stderr } = sandbox.run("ctl", "waits", "pause", "--at", "console:/never/", "--timeout", "300ms");
    expect([status, stderr]).toEqual([
      124,
      expect.stringMatching(/error: waits has not come to console:\/never\/ within 0.3 s: it is running at \S+, and/),
    ]);
    expect(sandbox.vm("waits")?.state).toBe("running");
    sandbox.must("ctl", "waits", "pause");
    const paused = sandbox.run("ctl", "waits", "pause", "--at", "exit:99999999", "--timeout", "10ms");
    expect(paused.stderr).toContain("it is paused now, and goes on by: hvjournal ctl waits resume");
    expect(sandbox.run("ctl", "waits", "resume", "--timeout", "1s").status).toBe(129);
    sandbox.must("ctl", "waits", "quit");
  });

  it("says where a VM that was paused has gone, that it is paused there, and how a VM has ended", () => {
    sandbox.recordInteractive("src", ENDLESS);
    sandbox.must("ctl", "src", "pause");
    expect(sandbox.must("migrate", "src", "dst")).toMatch(
      /\nmoved: dst is paused \(pid \d+\); src is sealed\nnext: hvjournal ctl dst resume\n$/,
    );
    expect(sandbox.run("ctl", "src", "resume").stderr).toBe(
      "error: no VM named src runs: src.hvj was moved to dst\nnext: hvjournal attach dst\n",
    );
    const { state, recording, at } = JSON.parse(sandbox.must("ctl", "dst", "quit", "--json")) as Record<string, string>;
    expect([state, recording]).toEqual(["ended", sandbox.path("dst.hvj")]);
    expect(sandbox.must("replay", "dst.hvj", "--until", at ?? "")).toContain(at);
    expect(sandbox.run("ctl", "dst", "resume").stderr).toMatch(
      /^error: no VM named dst runs: dst.hvj ended at exit:\d+ \(stopped by ctl quit\)\nnext: hvjournal replay dst.hvj\n$/,
    );
  });

  it("lists its actions with their arguments", () => {
    const { stdout } = sandbox.run("ctl", "--help");
    for (const text of [
      "pause ",
      "quit ",
      "cap NAME[=ARG,...] ",
      "one-reg NAME=VALUE ",
      "smccc-filter BASE+COUNT=ACTION ",
    ])
      expect(stdout).toContain(`\n  ${text}`);
  });
});
