/** An amd64 VM that moves between hosts of Intel and of AMD, by the command, in processes of its own. */
import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { bareMetalAmd64 } from "../guests/bare-metal.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const HYPERV = ["--hv", "vpindex,spinlocks"];
const UNPATCHED = ["--policy", "x86.hypercall.patch=ud"];
const VMCALL = "0x00c1010f";
const VMMCALL = "0x00d9010f";

/** The guest that calls its host once a round, by the page and by itself, up to a round. */
function record(name: string, rounds: number, until: string, ...words: readonly string[]): void {
  const fixed = ["-m", "64M", "--seed", "7", "--rtc", "base=2026-01-01", "--no-index", "--headless", "-q"];
  const append = `scenario=host rounds=${rounds}`;
  sandbox.must("record", bareMetalAmd64, "--append", append, ...fixed, ...words, "--until", until, "-o", `${name}.hvj`);
}

function patches(name: string): string[] {
  const lines = sandbox.must("log", `${name}.hvj`, "--kind", "CodePatched").split("\n");
  return lines.filter((line) => line !== "").map((line) => line.replace(/^.*CodePatched +/, ""));
}

describe("a VM of an Intel host that moves to AMD and back", () => {
  it("has its page of calls right at once, its own calls when it next makes them, and all that beforehand", async () => {
    record("intel", 6, "console:/2 own/", ...HYPERV);
    const there = sandbox.must("migrate", "--explain", "--host-vendor", "amd", "intel", "amd");
    expect(there).toMatch(/^FIX +hypercall page 0x\w+ holds VMCALL +dst holds VMMCALL +rewritten when MSR 0x40000001/m);
    expect(there).toMatch(/^FIX +hypercall instruction VMCALL +dst VMMCALL +written over .* an event/m);
    expect(there).toMatch(/^nothing blocks, 2 are fixed, 2 warn, \d+ equal$/m);
    sandbox.must("migrate", "--host-vendor", "amd", "intel", "amd");
    expect(await sandbox.gone("amd")).toBe(true);
    expect(sandbox.must("info", "intel.hvj")).not.toMatch(/^now on/m);
    expect(sandbox.must("info", "amd.hvj")).toMatch(
      /^exits +kvm-intel version 2\nmade on +host intel version 1\nnow on +host amd version 1$/m,
    );
    expect(sandbox.must("log", "amd.hvj", "--control")).toMatch(/HostChanged +intel version 1 -> amd version 1/);
    expect(patches("amd")).toEqual([
      expect.stringMatching(/^0x\w+ +0f01c1c3 -> 0f01d9c3$/),
      expect.stringMatching(/^vcpu0 0x\w+ +0f01c1 -> 0f01d9$/),
    ]);
    const told = sandbox.must("log", "amd.hvj", "--console");
    expect(told).toContain(`3 page ${VMMCALL}: 0x0000000000000000`);
    expect(told).toContain(`6 own ${VMMCALL}: 0x0000000000000000`);
    expect(sandbox.must("replay", "amd.hvj")).toContain("equal");
    expect(sandbox.must("verify", "amd.hvj")).toContain("equal");
    expect(sandbox.must("stat", "amd.hvj")).toMatch(/^ +VMMCALL +\d+/m);
    const patched = sandbox.must("contract", "amd.hvj");
    expect(patched).toMatch(/^patched hypercall 0x\w+ +holds VMMCALL +guest was patched once, exit:\d+$/m);
    expect(patched).toMatch(/^hypercall page 0x\w+ +holds VMMCALL$/m);
  });

  it("is compared with one that never moved by what the VMM half sees: the other vendor's exits have other reasons", () => {
    record("stayed", 6, "console:/6 own/", ...HYPERV);
    const { stdout, stderr } = sandbox.run("diff", "stayed.hvj", "amd.hvj", "--stat");
    expect(stderr).toContain("note: hosts of two vendors leave guest mode for reasons of their own");
    const [, equal, removed] = /^exits +(\d+) equal, (\d+) removed/m.exec(stdout) ?? [];
    expect(Number(equal)).toBeGreaterThan(100);
    // The guest prints the bytes of the calls that it finds.
    expect(Number(removed)).toBeLessThan(Number(equal) / 10);
    const [{ exits }] = JSON.parse(`[${sandbox.run("diff", "stayed.hvj", "amd.hvj", "--json").stdout}]`);
    expect(exits.comparedBy).toBe("vmm");
  });

  it("comes back as it went: each text-patched call is told, and written over again", async () => {
    record("amd2", 8, "console:/3 page/", ...HYPERV, "--host-vendor", "amd");
    const there = sandbox.must("migrate", "--explain", "--host-vendor", "intel", "amd2", "intel2");
    expect(there).toMatch(/^FIX +hypercall page 0x\w+ holds VMMCALL +dst holds VMCALL/m);
    expect(there).toMatch(/^FIX +patched hypercall 0x\w+ holds VMMCALL +dst holds VMCALL +written over again when/m);
    sandbox.must("migrate", "--host-vendor", "intel", "amd2", "intel2");
    expect(await sandbox.gone("intel2")).toBe(true);
    expect(patches("intel2")).toEqual([
      expect.stringMatching(/^0x\w+ +0f01d9c3 -> 0f01c1c3$/),
      expect.stringMatching(/^vcpu0 0x\w+ +0f01d9 -> 0f01c1$/),
    ]);
    expect(sandbox.must("log", "intel2.hvj", "--console")).toContain(`8 own ${VMCALL}: 0x0000000000000000`);
    expect(sandbox.must("verify", "intel2.hvj")).toContain("equal");
  });
});

describe("a VM whose host does not write over calls", () => {
  it("is refused by the other vendor's host where its guest has called, and runs on", () => {
    record("calling", 4, "console:/2 own/", ...UNPATCHED);
    const { status, stdout } = sandbox.run("migrate", "--explain", "--host-vendor", "amd", "calling", "nowhere");
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /^BLOCK +hypercall instruction VMCALL +dst VMMCALL +guest called 2 times, exit:\d+\.\.exit:\d+/m,
    );
    expect(stdout).toMatch(/calls are not written over there \(policy x86\.hypercall\.patch, .*\): VMCALL raises #UD/);
    const refused = sandbox.run("migrate", "--host-vendor", "amd", "calling", "nowhere");
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("calling.hvj still owns the VM");
  });

  it("meets #UD there where it has not called yet, as was said", async () => {
    record("silent", 4, "console:/command line/", ...UNPATCHED);
    const told = sandbox.must("migrate", "--explain", "--host-vendor", "amd", "silent", "raising");
    expect(told).toMatch(/^WARN +hypercall instruction VMCALL .*VMCALL raises #UD; guest never asked$/m);
    sandbox.must("migrate", "--host-vendor", "amd", "silent", "raising");
    expect(await sandbox.gone("raising")).toBe(true);
    expect(sandbox.must("log", "raising.hvj", "--console")).toContain("error: exception 6,");
    expect(patches("raising")).toEqual([]);
    expect(sandbox.must("verify", "raising.hvj")).toContain("equal");
  });
});

describe("a VM that was told what its host answers of Hyper-V", () => {
  it("moves to a host that answers alike, and to no other: what differs is named by bit", () => {
    record("passed", 4, "console:/1 own/", "--hv", "passthrough");
    expect(sandbox.must("migrate", "--explain", "--host-vendor", "amd", "passed", "same")).toMatch(/^nothing blocks/m);
    const { status, stdout } = sandbox.run("migrate", "--explain", "--host", "intel-no-smt", "passed", "other");
    expect(status).toBe(1);
    expect(stdout).toMatch(/^BLOCK +KVM_GET_SUPPORTED_HV_CPUID passed through /m);
    expect(stdout).toMatch(/answers otherwise: 0x40000004\.EAX\[18\] no non-architectural core sharing 1/);
  });
});

describe("--host-vendor", () => {
  it.each<[readonly string[], RegExp]>([
    [["--host-vendor", "via"], /--host-vendor via: expected intel or amd/],
    [["--host-vendor", "amd", "--host", "intel"], /--host intel and --host-vendor amd both say which host it is/],
    [["--host-vendor", "amd", "--exit-model", "kvm-intel"], /--exit-model kvm-intel: host amd leaves by kvm-amd/],
  ])("%j is refused", (words, message) => {
    const { status, stderr } = sandbox.run("record", bareMetalAmd64, ...words);
    expect([status, stderr]).toEqual([129, expect.stringMatching(message)]);
  });
});
