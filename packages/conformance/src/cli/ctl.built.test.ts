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
    expect(refused("one-reg", "PSCI_VERSION=zz")).toContain("PSCI_VERSION=zz: 'zz' is no number: decimal, or hex");
    expect(sandbox.run("ctl", "names", "resum").stderr).toContain("error: ctl has no resum; did you mean resume?\n");
    expect(sandbox.run("ctl", "names", "answer", "5").stderr).toContain(
      "error: ctl has no answer: pause, resume, snapshot, quit, cap, policy, eventfd, ioeventfd, one-reg, firmware-reg, smccc-filter, pvtime-ipa, msr-filter, cpuid, hv, hv-eventfd, xen\n",
    );
    expect(refused("xen", "off")).toContain(
      "arm64 has no xen: smccc-filter, one-reg, firmware-reg, cap, pvtime-ipa, policy, eventfd, ioeventfd\n",
    );
    expect(refused("smccc-filter", "0xc6=forward")).toBe(
      "error: ctl smccc-filter 0xc6=forward: expected BASE+COUNT=handle|deny|forward, with /hvc or /smc behind it for one conduit alone\nnext: hvjournal ctl --help\n",
    );
    sandbox.must("ctl", "names", "quit");
  });

  it("sets up a VM that was recorded --paused before its first instruction, and the recording holds that", async () => {
    sandbox.recordInteractive("early", "scenario=hypercalls", "--paused");
    const { state, icount } = sandbox.vm("early") ?? {};
    expect([state, icount]).toEqual(["paused", 0]);
    expect(sandbox.must("ctl", "early", "smccc-filter", "0xc6000000+0x100=forward")).toMatch(
      /^event:\d+ SmcccFilterSet 0xc6000000\+0x100 forward at icount:0\n$/,
    );
    sandbox.must("ctl", "early", "one-reg", "STD_BMAP=0");
    sandbox.must("ctl", "early", "cap", "ARM_SYSTEM_SUSPEND");
    sandbox.must("ctl", "early", "resume");
    expect(await sandbox.gone("early")).toBe(true);
    expect(sandbox.console("early.hvj")).toContain("hvc 0xc6000001: 0xffffffffffffffff 0x0000000000001111");
    const [filter] = sandbox.must("log", "early.hvj", "--kind", "SmcccFilterSet").split("  ");
    const calls = sandbox.must("log", "early.hvj", "--hypercalls");
    expect(calls).toMatch(new RegExp(`HYPERCALL 0xc6000001 .* filter ${filter ?? ""} forward\n`));
    expect(calls).toMatch(/0x84000050 TRNG_VERSION .*-> x0=-1 /);
    for (const command of ["replay", "verify"]) expect(sandbox.must(command, "early.hvj")).toContain("equal");
    sandbox.must("replay", "early.hvj", "--from", "start");
  });

  it("branches a recording without running it, with --paused", () => {
    sandbox.recordWhole("first", ENDLESS, "--until", "exit:400");
    const told = sandbox.must("record", "--from", "first.hvj@exit:300", "--paused", "--detach", "-o", "second.hvj");
    expect(told).toMatch(/^second is paused before it runs \(pid \d+\), recording second.hvj\n$/);
    expect(sandbox.vm("second")).toMatchObject({ state: "paused", exit: 300 });
    sandbox.must("ctl", "second", "quit");
    expect(sandbox.must("replay", "second.hvj")).toContain("exit:300");
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
      "xen MSR|off ",
      "cpuid LEAF[.SUBLEAF]:REG=VALUE ",
    ])
      expect(stdout).toContain(`\n  ${text}`);
  });
});
