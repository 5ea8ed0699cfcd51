/** KVM's surface of amd64 on the command line: CPUID and MSR filters as options, in a machine file, and at run time. */
import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { bareMetalAmd64 } from "../guests/bare-metal.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const SHORT = ["--append", "scenario=main input=none ticks=1", "--seed", "1", "--rtc", "base=2026-01-01", "--headless"];
/** EBX of KVM's first leaf: "TEST" for "KVMK". */
const VENDOR = "0x40000000:EBX=0x54534554";

describe("CPUID and MSR filters of amd64", () => {
  it("the guest is told the word that --cpuid sets; log, replay and verify know it", () => {
    sandbox.must("record", bareMetalAmd64, ...SHORT, "--cpuid", VENDOR, "-o", "cpuid.hvj");
    expect(sandbox.console("cpuid.hvj")).toContain("hypervisor: TESTVMKVM");
    expect(sandbox.must("log", "cpuid.hvj", "--kind", "CpuidWordSet")).toMatch(
      /CpuidWordSet +0x40000000\.EBX +0x4b4d564b -> 0x54534554\n$/,
    );
    sandbox.must("replay", "cpuid.hvj", "--from", "start");
    sandbox.must("verify", "cpuid.hvj");
    const changed = sandbox.run("verify", "cpuid.hvj", "--cpuid", "0x40000000:EBX=0x4b4d564b");
    expect(changed.status).toBe(1);
    expect(changed.stderr).toMatch(/CpuidWordSet +0x40000000\.EBX +0x54534554 -> 0x4b4d564b$/m);
  });

  it.each([
    ["--hv", "all", "vapic", /HypervSet {2}relaxed,vapic,\S+ -> vapic$/m],
    [
      "--msr-filter",
      "0x10+1=r",
      "0x10+1=-",
      /MsrFilterSet {2}0x10\+1 writes denied.* -> 0x10\+1 reads and writes denied/,
    ],
    ["--xen", "0x40000000", "off", /XenHvmConfigured {2}page by MSR 0x40000000, calls leave to the VMM -> off/],
  ])("verify and bisect say that %s %s becomes %s: one takes the place of the other", (option, from, to, how) => {
    sandbox.must("record", bareMetalAmd64, ...SHORT, option, from, "-o", "before.hvj", "--force");
    const expected = ["--expect", "console =~ /no such text/"];
    const changed = sandbox.run("verify", "before.hvj", option, to, ...expected);
    expect([changed.status, changed.stderr]).toEqual([1, expect.stringMatching(how)]);
    const ends = ["--expect", "time < 0"];
    const searched = sandbox.run("bisect", "before.hvj", "--with", `${option.slice(2)}=${to}`, ...ends);
    expect(searched.stdout + searched.stderr).toMatch(how);
  });

  it.each([
    ["--cpuid", "0x1:ECX=0x10000000", "KVM_SET_CPUID2: EINVAL: the CPU does not have AVX (0x1.ECX[28])"],
    ["--cpuid", "0x17:EAX=1", "KVM_SET_CPUID2: EINVAL: the CPU has no leaf 0x17"],
    ["--cpuid", "0x1.2:EAX=1", "--cpuid 0x1.2:EAX=1: leaf 0x1 has no subleaves"],
    ["--cpuid", "0x1:EEX=0", "--cpuid 0x1:EEX=0: 'EEX' is none of EAX, EBX, ECX, EDX"],
    ["--msr-filter", "0x10+1=x", "--msr-filter 0x10+1=x: 'x' is none of rw, r, w, -"],
    ["--xen", "0x174", "KVM_XEN_HVM_CONFIG: EINVAL: MSR 0x174 is not one of 0x40000000 to 0x4fffffff"],
    ["--xen", "on", "--xen on: expected the MSR by which the guest gets its page of calls, or off"],
  ])("%s %s is refused by name", (option, text, message) => {
    const { status, stderr } = sandbox.run("record", bareMetalAmd64, ...SHORT, option, text, "-o", "refused.hvj");
    expect([status, stderr]).toEqual([129, `error: ${message}\nnext: hvjournal record --help\n`]);
  });

  it("ctl msr-filter is an event of a VM that stands still, and what it refuses is none", () => {
    sandbox.must("record", bareMetalAmd64, ...SHORT, "--paused", "--detach", "-o", "filter.hvj", "--name", "filter");
    expect(sandbox.must("ctl", "filter", "msr-filter", "0x10+1=r")).toMatch(
      /^event:\d+ MsrFilterSet 0x10\+1 writes denied, all others allowed at icount:0\n$/,
    );
    expect(sandbox.run("ctl", "filter", "msr-filter", "0x10+0=r").stderr).toContain("a range has 1 to 12288 MSRs");
    sandbox.must("ctl", "filter", "quit");
    expect(sandbox.must("log", "filter.hvj", "--kind", "MsrFilterSet").trim().split("\n")).toHaveLength(1);
  });

  it("ctl sets what KVM takes behind the first run, too, and no CPUID", () => {
    sandbox.must("record", bareMetalAmd64, ...SHORT, "--until", "exit:400", "-o", "run.hvj");
    sandbox.must("record", "--from", "run.hvj", "--paused", "--detach", "-o", "later.hvj", "--name", "later");
    for (const [word, text, told] of [
      ["xen", "0x40000000", "XenHvmConfigured page by MSR 0x40000000, calls leave to the VMM"],
      ["xen", "off", "XenHvmConfigured off"],
      ["ioeventfd", "pio:0x510+2=1,fd=3", "IoeventfdSet + pio:0x510+2=0x1 -> eventfd 3"],
      ["hv-eventfd", "0x2a,fd=3", "HypervEventfdSet + connection 0x2a -> eventfd 3"],
    ] as const)
      expect(sandbox.must("ctl", "later", word, text)).toContain(` ${told} at exit:400`);
    const late = sandbox.run("ctl", "later", "cpuid", VENDOR);
    expect([late.status, late.stderr]).toEqual([1, expect.stringContaining("a vCPU has run; its CPUID can't change")]);
    expect(sandbox.run("ctl", "later", "one-reg", "PSCI_VERSION=0x10000").stderr).toContain("amd64 has no one-reg: ");
    sandbox.must("ctl", "later", "quit");
  });
});

describe("contract of two amd64 hosts", () => {
  it("tells exits by their names, and counts apart what no guest can tell", () => {
    sandbox.must("record", bareMetalAmd64, ...SHORT, "-o", "intel.hvj");
    sandbox.must("record", bareMetalAmd64, ...SHORT, "--host-vendor", "amd", "-o", "amd.hvj");
    const { status, stdout } = sandbox.run("contract", "intel.hvj", "amd.hvj");
    expect(status).toBe(1);
    expect(stdout).toMatch(/^exit reason CPUID +0xa, pc at -> 0x72, pc at$/m);
    expect(stdout).toMatch(/^hypercall instruction +VMCALL -> VMMCALL /m);
    const [, different, hidden] = /(\d+) different, (\d+) of them in what no guest can tell\n$/.exec(stdout) ?? [];
    expect(Number(hidden)).toBeGreaterThanOrEqual(3);
    expect(Number(different)).toBeGreaterThan(Number(hidden));
    expect(stdout).toMatch(/^hypercall instruction .*; in a move: written over with the host's own/m);
    expect(sandbox.must("contract", "intel.hvj", "intel.hvj")).toMatch(/^\d+ items equal, 0 different\n$/);
  });

  it("a host that verify changes brings its exit model along, and the VMM sees the same exits", () => {
    const { status, stderr, stdout } = sandbox.run("verify", "intel.hvj", "--host-vendor", "amd", "--level", "exits");
    expect([status, stdout]).toEqual([
      0,
      expect.stringMatching(/^intel\.hvj: \d{3} exits that reach the VMM half, equal\n/),
    ]);
    expect(stderr).toMatch(/exit-model +kvm-intel -> kvm-amd/);
    expect(sandbox.run("verify", "amd.hvj", "--host-vendor", "intel").status).toBe(0);
  });

  it("diff aligns what the VMM sees of two exit models, says so, and names the models in one line", () => {
    const { stdout, stderr } = sandbox.run("diff", "intel.hvj", "amd.hvj");
    expect(stdout.match(/exitModel.*/g)).toEqual([
      expect.stringMatching(/^exitModel {2}kvm-intel \d+ -> kvm-amd \d+$/),
    ]);
    expect(stdout).toMatch(/^exits {6}\d{3} equal$/m);
    expect(stderr).toContain(
      "note: kvm-intel and kvm-amd leave guest mode for reasons of their own: only exits that reach",
    );
    expect(sandbox.run("diff", "intel.hvj", "amd.hvj", "--exits").status).toBe(0);
    const [same, other] = ["intel.hvj", "amd.hvj"].map(
      (name) => sandbox.run("diff", "intel.hvj", name, "--json").stdout,
    );
    expect([same, other].map((text = "") => JSON.parse(text).exits)).toMatchObject([
      { comparedBy: "reason", hunks: [] },
      { comparedBy: "vmm", hunks: [] },
    ]);
  });

  it("a guest that can tell the vendors apart differs where it does, and each side is told in words of its own", () => {
    const unpatched = ["--policy", "x86.hypercall.patch=ud"];
    sandbox.must("record", bareMetalAmd64, ...SHORT, ...unpatched, "-o", "unpatched.hvj");
    const { status, stderr } = sandbox.run("verify", "unpatched.hvj", "--host-vendor", "amd");
    expect(status).toBe(1);
    // "vmcall 1: ..." on Intel; on AMD the first VMCALL raises #UD, and the guest prints "error: exception 6".
    expect(stderr).toMatch(
      /^ {2}recorded {3}IO write 0x03f8 1 <- 0x76 .*\n {2}now {8}IO write 0x03f8 1 <- 0x65 .*\n {2}before it {2}[1-9]\d* exits/m,
    );
  });

  it("bisect of an Intel and an AMD host's recording names what the VMM sees of the change, not the vendor's words", () => {
    sandbox.must("record", bareMetalAmd64, ...SHORT, "--host-vendor", "amd", "--cpuid", VENDOR, "-o", "bad.hvj");
    const { status, stdout, stderr } = sandbox.run("bisect", "intel.hvj", "bad.hvj");
    expect([status, `${stdout}${stderr}`]).toEqual([0, expect.stringMatching(/CpuidWordSet/)]);
  });
});
