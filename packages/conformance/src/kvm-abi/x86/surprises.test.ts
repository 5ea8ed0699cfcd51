/**
 * What KVM does on x86 that surprises people. Others stand in the tables: 2, 3 and 25 in group E; 5, 6, 9 and 26 in F; 7 and 8 in
 * D; 10 and 11 in H; 23, 24 and 27 in L; 29 in G too.
 */
import { amd64Policies, HypervMsr as H } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { move, vmcall } from "./instructions.js";
import { DATA, errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const LINUX = 0x8100_0000_0000_0000n;
const PAGE = BigInt(DATA);
const HYPERV = { configuration: [["hv", "all"]] } as const;
const SCHED_YIELD = 11;
const USER = 3;
const INVALID_HYPERCALL_CODE = 2n;
const ACCESS_DENIED = 6n;

function identify(it: Program): void {
  expect(it.writeMsr(H.HV_X64_MSR_GUEST_OS_ID, LINUX)).toBe("done");
}

function enterUserMode({ vcpu }: Program): void {
  const sregs = vcpu.getSregs();
  const user = (name: string, selector: number) => {
    const segment = sregs.segments[name];
    if (segment === undefined) throw new Error(name);
    return { ...segment, selector, dpl: USER };
  };
  vcpu.setSregs({ ...sregs, segments: { ...sregs.segments, cs: user("cs", 0x23), ss: user("ss", 0x1b) } });
}

const rows: readonly Row[] = [
  [
    "C1",
    "VMCALL is Hyper-V's by GUEST_OS_ID and the signature, not by the page's enable bit",
    (it) => {
      const call = [...move("rax", SCHED_YIELD), ...move("rcx", 0x7777), ...vmcall];
      it.outcome(call);
      expect(it.vcpu.getReg("rax")).toBe(0n);
      identify(it);
      expect(it.readMsr(H.HV_X64_MSR_HYPERCALL)).toBe(0n);
      it.outcome(call);
      expect(it.vcpu.getReg("rax")).toBe(INVALID_HYPERCALL_CODE);
    },
    HYPERV,
  ],
  [
    "C1",
    "and not without the signature, whatever GUEST_OS_ID the VMM has set",
    (it) => {
      expect(it.vcpu.setMsrs([{ index: H.HV_X64_MSR_GUEST_OS_ID, data: LINUX }])).toBe(1);
      it.outcome([...move("rax", SCHED_YIELD), ...move("rcx", 0x7777), ...vmcall]);
      expect(it.vcpu.getReg("rax")).toBe(0n);
    },
  ],
  [
    "C4",
    "a denied call is denied before its reserved bits, and before the registers that it would take are #UD",
    (it) => {
      const call = (program: Program, input: bigint): string | bigint => {
        identify(program);
        program.vcpu.enableCap({ cap: "HYPERV_ENFORCE_CPUID", args: [1n] });
        const outcome = program.outcome([...move("rdx", 0), ...move("r8", 0), ...move("rcx", input), ...vmcall]);
        return outcome === "done" ? program.vcpu.getReg("rax") : outcome;
      };
      const flushEx = 0x1_0013n;
      expect([call(it, flushEx), call(it, flushEx | (1n << 60n))]).toEqual([ACCESS_DENIED, ACCESS_DENIED]);
      const recommended: readonly [string, string] = ["cpuid", "0x40000004:eax=0x804"];
      expect(call(it.another({ configuration: [["hv", "relaxed"], recommended] }), flushEx)).toBe("#UD");
    },
    { configuration: [["hv", "relaxed"]] },
  ],
  [
    "C30",
    "what upstream does not have lies from 0x10000 up; a number of its discussions, 224, is none",
    ({ vm }) => {
      const numbers = amd64Policies.policies.map(({ capability }) => capability.number);
      expect(numbers.every((number) => number >= 0x1_0000)).toBe(true);
      expect(new Set(numbers).size).toBe(numbers.length);
      expect(vm.checkExtension(224)).toBe(0);
      expect(errno(() => vm.enableCap({ cap: 224 }))).toBe("EINVAL");
    },
  ],
  [
    "C22",
    "KVM's own call from user mode gives -1 (EPERM); Hyper-V's raises #UD",
    (it) => {
      enterUserMode(it);
      expect(it.outcome([...move("rax", SCHED_YIELD), ...vmcall])).toBe("done");
      expect(BigInt.asIntN(64, it.vcpu.getReg("rax"))).toBe(-1n);
      const other = it.another(HYPERV);
      identify(other);
      enterUserMode(other);
      expect(other.outcome([...move("rcx", 2), ...vmcall])).toBe("#UD");
    },
  ],
  [
    "C28",
    "the VMM's writes of TIME_REF_COUNT and the frequencies succeed, and change nothing",
    (it) => {
      const msrs = [H.HV_X64_MSR_TIME_REF_COUNT, H.HV_X64_MSR_TSC_FREQUENCY, H.HV_X64_MSR_APIC_FREQUENCY];
      for (const index of msrs) {
        const before = it.vcpu.getMsr(index);
        expect(it.vcpu.setMsrs([{ index, data: 0x1234_5678_9abcn }])).toBe(1);
        expect(it.vcpu.getMsr(index)).toBe(before);
      }
    },
    HYPERV,
  ],
  [
    "C29",
    "the VMM may permute VP_INDEX; the guest reads its own",
    (it) => {
      const index = H.HV_X64_MSR_VP_INDEX;
      expect(it.vm.vcpu(0).setMsrs([{ index, data: 1n }])).toBe(1);
      expect(it.vm.vcpu(1).setMsrs([{ index, data: 0n }])).toBe(1);
      expect(it.readMsr(index)).toBe(1n);
      expect(it.vm.vcpu(0).setMsrs([{ index, data: 1024n }])).toBe(0);
    },
    { ...HYPERV, vcpuCount: 2 },
  ],
  [
    "C3",
    "the page of calls is the guest's RAM: what the guest writes over it stays",
    (it) => {
      identify(it);
      it.writeMsr(H.HV_X64_MSR_HYPERCALL, PAGE | 1n);
      expect(it.outcome([0xc6, 0x04, 0x25, 0, 0, 0x20, 0, 0x90])).toBe("done");
      expect([...it.vm.readMemory(DATA, 2)]).toEqual([0x90, 0x01]);
    },
    HYPERV,
  ],
];

testRows("surprises of x86", rows);
