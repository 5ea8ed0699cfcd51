/** Xen's calls on x86, alone and beside Hyper-V's. Documentation/virt/kvm/api.rst, 4.38 and 5; arch/x86/kvm/xen.c. */
import type { KvmRun } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { identify } from "./hyperv-calls.js";
import { move, vmcall, vmmcall, writeMsr } from "./instructions.js";
import { CODE, DATA, errno, type ProgramOptions } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { enterCompatibilityMode, enterUserMode } from "./user-mode.js";

const XEN_MSR = 0x4000_0200;
const HYPERV_HYPERCALL = 0x4000_0001;
const XEN_PAGE = DATA;
const HYPERV_PAGE: number = DATA + 0x1000;
const INTERCEPT = 2;
const XEN_VERSION = 17;
const SIGNAL_EVENT = 0x5d;
const INVALID_ALIGNMENT = 4n;
const XEN: ProgramOptions = { configuration: [["xen", "0x40000200"]] };
const BOTH: ProgramOptions = {
  configuration: [
    ["xen", "0x40000200"],
    ["hv", "all"],
  ],
};

const PARAMETERS = ["rdi", "rsi", "rdx", "r10", "r8", "r9"] as const;
const VALUES = [0x1_0000_0001n, 2n, 3n, 4n, 5n, 6n];
const arguments_ = PARAMETERS.flatMap((register, at) => move(register, VALUES[at] ?? 0n));

const directCall = (number: bigint | number): number[] => [...arguments_, ...move("rax", number), ...vmcall];
/** CALL to an entry of a page. */
const callAt = (address: number): number[] => [...move("rbx", address), 0xff, 0xd3];
const pageCall = (number: number): number[] => [...arguments_, ...callAt(XEN_PAGE + 32 * number)];

function xenExit(run: KvmRun): Extract<KvmRun, { exitReason: "XEN" }>["xen"] {
  if (run.exitReason !== "XEN") throw new Error(`${run.exitReason} where Xen's call was to leave`);
  return run.xen;
}

function entry(number: number, call: readonly number[]): number[] {
  return [0xb8, number, 0, 0, 0, ...call, 0xc3, ...Array.from({ length: 23 }, () => 0xcc)];
}

const rows: readonly Row[] = [
  [
    "K30",
    "a direct call leaves with its number, six parameters and the mode; the result is RAX",
    (it) => {
      const xen = xenExit(it.exit(directCall(XEN_VERSION)));
      expect(xen).toEqual({ type: 1, longmode: 1, cpl: 0, input: 17n, result: 0n, params: VALUES });
      xen.result = 0x4_0011_0022n;
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(0x4_0011_0022n);
    },
  ],
  [
    "K30",
    "a call by the page does too: 128 entries with the host's call",
    (it) => {
      expect(it.writeMsr(XEN_MSR, BigInt(XEN_PAGE))).toBe("done");
      const page = it.vm.readMemory(XEN_PAGE, 0x1000);
      expect([...page.subarray(32 * XEN_VERSION, 32 * (XEN_VERSION + 1))]).toEqual(entry(XEN_VERSION, vmcall));
      expect([...page.subarray(32 * 127)]).toEqual(entry(127, vmcall));
      const xen = xenExit(it.exit(pageCall(XEN_VERSION)));
      expect(xen).toMatchObject({ longmode: 1, input: 17n, params: VALUES });
      xen.result = 7n;
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(7n);
    },
  ],
  [
    "K30",
    "on AMD the page holds VMMCALL; beside Hyper-V's interface both ways are Xen's still",
    (it) => {
      identify(it);
      it.writeMsr(XEN_MSR, BigInt(XEN_PAGE));
      expect([...it.vm.readMemory(XEN_PAGE, 32)]).toEqual(entry(0, vmmcall));
      expect(xenExit(it.exit(pageCall(XEN_VERSION)))).toMatchObject({ input: 17n, params: VALUES });
      expect(it.outcomeNow()).toBe("done");
      const direct = [...arguments_, ...move("rax", XEN_VERSION), ...vmmcall];
      expect(xenExit(it.exit(direct))).toMatchObject({ input: 17n, params: VALUES });
    },
    { ...BOTH, host: "amd" },
  ],
  [
    "K30",
    "outside 64-bit mode the number and the parameters are halves, in other registers, and longmode is 0",
    (it) => {
      enterCompatibilityMode(it);
      for (const [at, name] of ["rbx", "rcx", "rdx", "rsi", "rdi", "rbp"].entries())
        it.vcpu.setReg(name, 0x7_0000_0010n + BigInt(at));
      it.vcpu.setReg("rax", 0x1_0000_0011n);
      it.vm.writeMemory(CODE, Uint8Array.from(vmcall));
      const { longmode, input, params } = xenExit(it.run());
      expect([longmode, input, params]).toEqual([0, 0x11n, [0x10n, 0x11n, 0x12n, 0x13n, 0x14n, 0x15n]]);
    },
  ],
  [
    "K30",
    "a guest's user mode may call: the VMM is told the level",
    (it) => {
      enterUserMode(it);
      expect(xenExit(it.exit(directCall(XEN_VERSION)))).toMatchObject({ cpl: 3, input: 17n });
      expect(it.outcomeNow()).toBe("done");
    },
  ],
  [
    "K30",
    "where the VMM has moved RIP meanwhile, neither RAX nor RIP changes",
    (it) => {
      const xen = xenExit(it.exit(directCall(XEN_VERSION)));
      xen.result = 99n;
      const call = it.vcpu.getReg("rip");
      it.vcpu.setReg("rip", call + 3n);
      expect(it.outcomeNow()).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(17n);
    },
  ],
  [
    "K30",
    "a call that waits moves with the VM: the destination's VMM has all six parameters, and answers",
    (it) => {
      it.exit(directCall(XEN_VERSION));
      const there = it.moved();
      const xen = xenExit(there.run());
      expect(xen).toMatchObject({ longmode: 1, input: 17n, params: VALUES });
      xen.result = 5n;
      expect(there.outcomeNow()).toBe("done");
      expect(there.vcpu.getReg("rax")).toBe(5n);
    },
  ],
  [
    "K30",
    "the other vendor's call is written over first, and then it is Xen's; by the policy ud it is #UD",
    (it) => {
      const foreign = [...arguments_, ...move("rax", XEN_VERSION), ...vmmcall];
      expect(xenExit(it.exit(foreign))).toMatchObject({ input: 17n });
      expect([...it.vm.readMemory(CODE + foreign.length - 3, 3)]).toEqual([...vmcall]);
      const other = it.another({ configuration: [...(XEN.configuration ?? []), ["policy", "x86.hypercall.patch=ud"]] });
      expect(other.outcome(foreign)).toBe("#UD");
    },
  ],
  [
    "K30",
    "bit 31 of EAX makes it Hyper-V's for a guest that speaks that, and for no other",
    (it) => {
      const call = [...move("rcx", SIGNAL_EVENT), ...move("rdx", 0x5a5a_5a5a), ...move("rax", 0x8000_0011), ...vmcall];
      expect(xenExit(it.exit(call))).toMatchObject({ input: 0x8000_0011n });
      expect(it.outcomeNow()).toBe("done");
      identify(it);
      expect(it.outcome(call)).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(INVALID_ALIGNMENT);
    },
    BOTH,
  ],
  [
    "K31",
    "SIGNAL_EVENT by Hyper-V's page beside Xen's interface, with its input at 0x5A5A5A5A: 4",
    (it) => {
      identify(it);
      it.writeMsr(XEN_MSR, BigInt(XEN_PAGE));
      expect(it.writeMsr(HYPERV_HYPERCALL, BigInt(HYPERV_PAGE | 1))).toBe("done");
      expect(it.outcome([...move("rcx", SIGNAL_EVENT), ...move("rdx", 0x5a5a_5a5a), ...callAt(HYPERV_PAGE)])).toBe(
        "done",
      );
      expect(it.vcpu.getReg("rax")).toBe(INVALID_ALIGNMENT);
    },
    BOTH,
  ],
  [
    "K31",
    "without Xen's interface a call is KVM's, and the MSR is none",
    (it) => {
      it.vm.configure("xen", "off");
      expect(it.writeMsr(XEN_MSR, BigInt(XEN_PAGE))).toBe("#GP");
      expect(it.outcome(directCall(XEN_VERSION))).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(BigInt.asUintN(64, -1000n));
    },
  ],
];

const configuration: readonly Row[] = [
  [
    "5.5",
    "KVM_CHECK_EXTENSION tells what there is; flags that a VMM may not set, other MSRs and blobs beside interception: EINVAL",
    ({ vm }) => {
      expect(vm.checkExtension("XEN_HVM")).toBe(3);
      const blob = new Uint8Array(0x1000);
      const refused = [
        { flags: 1, msr: XEN_MSR },
        { flags: 4, msr: XEN_MSR },
        { flags: INTERCEPT, msr: 0x174 },
        { flags: INTERCEPT, msr: 0x5000_0000 },
        { flags: INTERCEPT, msr: XEN_MSR, blob64: blob },
        { msr: XEN_MSR, blob64: blob.subarray(1) },
      ];
      expect(refused.map((options) => errno(() => vm.xenHvmConfig(options)))).toEqual(refused.map(() => "EINVAL"));
      expect(errno(() => vm.xenHvmConfig({ flags: INTERCEPT, msr: XEN_MSR }))).toBe("0");
    },
  ],
  [
    "5.5",
    "without an MSR no call is Xen's",
    (it) => {
      it.vm.xenHvmConfig({ flags: INTERCEPT, msr: 0 });
      expect(it.outcome(directCall(XEN_VERSION))).toBe("done");
    },
  ],
  [
    "5.5",
    "page 0 alone is KVM's, in RAM: #GP for any other, and nothing is written; the MSR can't be read",
    (it) => {
      it.vm.xenHvmConfig({ flags: INTERCEPT, msr: XEN_MSR });
      expect(it.writeMsr(XEN_MSR, BigInt(XEN_PAGE | 1))).toBe("#GP");
      expect(it.writeMsr(XEN_MSR, 0x4000_0000n)).toBe("#GP");
      expect(it.readMsr(XEN_MSR)).toBe("#GP");
      expect(it.vm.readMemory(XEN_PAGE, 32)).toEqual(new Uint8Array(32));
      it.vm.enableCap({ cap: "X86_USER_SPACE_MSR", args: [3n] });
      const reasons = [XEN_PAGE | 1, XEN_PAGE].map((value) => it.exit(writeMsr(XEN_MSR, BigInt(value))).exitReason);
      expect(reasons).toEqual(["X86_WRMSR", "MMIO"]);
    },
  ],
  [
    "5.5",
    "the VMM's own pages: by number, and by whether the guest is in long mode; the calls in them are KVM's",
    (it) => {
      const blob64 = new Uint8Array(0x2000).fill(0xc3);
      blob64.set([...vmcall, 0xc3], 0x1000);
      it.vm.xenHvmConfig({ msr: XEN_MSR, blob32: new Uint8Array(0x1000).fill(0x90), blob64 });
      expect(it.writeMsr(XEN_MSR, BigInt(XEN_PAGE))).toBe("done");
      expect([...it.vm.readMemory(XEN_PAGE, 2)]).toEqual([0xc3, 0xc3]);
      expect(it.writeMsr(XEN_MSR, BigInt(XEN_PAGE | 1))).toBe("done");
      expect([...it.vm.readMemory(XEN_PAGE, 4)]).toEqual([...vmcall, 0xc3]);
      expect(it.outcome([...move("rax", 11), ...callAt(XEN_PAGE)])).toBe("done");
      expect(it.vcpu.getReg("rax")).toBe(0n);
      expect(it.writeMsr(XEN_MSR, BigInt(XEN_PAGE | 2))).toBe("#GP");
    },
  ],
  [
    "5.5",
    "an MSR of Hyper-V's number is Xen's for writes and Hyper-V's for reads",
    (it) => {
      it.vm.xenHvmConfig({ flags: INTERCEPT, msr: 0x4000_0003 });
      expect(it.writeMsr(0x4000_0003, BigInt(XEN_PAGE))).toBe("done");
      expect(it.writeMsr(0x4000_0003, 1n)).toBe("#GP");
      expect([...it.vm.readMemory(XEN_PAGE, 9)]).toEqual(entry(0, vmcall).slice(0, 9));
      expect(it.readMsr(0x4000_0003)).toBe(0n);
    },
    { configuration: [["hv", "all"]] },
  ],
];

testRows("Xen's calls, x86", rows, XEN);
testRows("KVM_XEN_HVM_CONFIG", configuration);
