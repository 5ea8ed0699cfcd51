/** What can't be changed on x86 once a vCPU is there, or has run; what always can; and what has to be restored before what. */
import { HypervMsr as H, type KvmVm } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { readMsr } from "./instructions.js";
import { DATA, errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const LINUX = 0x8100_0000_0000_0000n;
const PAGE = BigInt(DATA);
const UNKNOWN_MSR = 0x1234;
const LSTAR = 0xc000_0082;
const HYPERV = { configuration: [["hv", "all"]] } as const;

/** The errno of an ioctl before the vCPU has run, and after it; the VMs are two. */
function beforeAndAfter(it: Program, act: (program: Program) => void): string[] {
  const other = it.another();
  other.runOnce();
  return [errno(() => act(it)), errno(() => act(other))];
}

const rows: readonly Row[] = [
  [
    "B",
    "KVM_SET_CPUID2: EINVAL once the vCPU has run, but for the same content",
    (it) => {
      const changed = it.vcpu.getCpuid2().map((each) => (each.function === 0x15 ? { ...each, eax: 3 } : each));
      const same = it.vcpu.getCpuid2();
      expect(beforeAndAfter(it, ({ vcpu }) => vcpu.setCpuid2(changed))).toEqual(["0", "EINVAL"]);
      expect(beforeAndAfter(it.another(), ({ vcpu }) => vcpu.setCpuid2(same))).toEqual(["0", "0"]);
    },
  ],
  [
    "B",
    "Hyper-V's list and single words of CPUID: the same",
    (it) => {
      expect(beforeAndAfter(it, ({ vm }) => vm.configure("hv", "time"))).toEqual(["0", "EINVAL"]);
      expect(beforeAndAfter(it.another(), ({ vm }) => vm.configure("cpuid", "0x15:EAX=3"))).toEqual(["0", "EINVAL"]);
    },
  ],
  [
    "B",
    "feature MSRs: KVM_SET_MSRS stops early",
    ({ vcpu }) =>
      expect(
        vcpu.setMsrs([
          { index: LSTAR, data: 1n },
          { index: 0x3a, data: 5n },
          { index: LSTAR, data: 2n },
        ]),
      ).toBe(1),
  ],
  [
    "B",
    "KVM_GET_MSRS stops at the first that there is not",
    ({ vcpu }) => expect(vcpu.getMsrs([LSTAR, UNKNOWN_MSR, LSTAR])).toEqual([{ index: LSTAR, data: 0n }]),
  ],
  ["B", "the boot CPU: EBUSY while there is a vCPU", ({ vm }) => expect(errno(() => vm.setBootCpuId(0))).toBe("EBUSY")],
  [
    "B",
    "PMU_CAPABILITY, X2APIC_API while there is a vCPU: EINVAL",
    ({ vm }) => {
      for (const cap of ["PMU_CAPABILITY", "X2APIC_API"])
        expect([cap, errno(() => vm.enableCap({ cap, args: [1n] }))]).toEqual([cap, "EINVAL"]);
    },
  ],
  [
    "B",
    "DISABLE_EXITS: before there is a vCPU it can be enabled; then EINVAL, and a vCPU need not have run for that",
    (it) => {
      const enable = (vm: Pick<KvmVm, "enableCap">): string =>
        errno(() => vm.enableCap({ cap: "X86_DISABLE_EXITS", args: [2n] }));
      const answers: string[] = [];
      const other = it.another({ beforeVcpus: (vm) => void answers.push(enable(vm), enable(vm)) });
      expect([...answers, enable(other.vm), enable(it.vm)]).toEqual(["0", "0", "EINVAL", "EINVAL"]);
    },
  ],
  ["B", "KVM_CREATE_IRQCHIP while there is a vCPU: EINVAL", "the irqchip comes with the VM"],
  [
    "B",
    "DISABLE_QUIRKS2, EXIT_HYPERCALL, USER_SPACE_MSR and the MSR filter: never frozen",
    (it) => {
      for (const [cap, args] of [
        ["DISABLE_QUIRKS2", [1n]],
        ["EXIT_HYPERCALL", [0x1000n]],
        ["X86_USER_SPACE_MSR", [2n]],
      ] as const)
        expect(beforeAndAfter(it, ({ vm }) => vm.enableCap({ cap, args }))).toEqual(["0", "0"]);
      expect(beforeAndAfter(it, ({ vm }) => vm.setMsrFilter({ flags: 0, ranges: [] }))).toEqual(["0", "0"]);
      // And it counts from then on.
      const other = it.another();
      other.runOnce();
      other.vm.enableCap({ cap: "X86_USER_SPACE_MSR", args: [2n] });
      expect(other.exit(readMsr(UNKNOWN_MSR)).exitReason).toBe("X86_RDMSR");
      other.vm.enableCap({ cap: "X86_USER_SPACE_MSR", args: [0n] });
      expect(other.readMsr(UNKNOWN_MSR)).toBe("#GP");
    },
  ],
  [
    "B",
    "ENFORCE_CPUID, SynIC and enlightened VMCS of a vCPU: never frozen",
    (it) => {
      for (const cap of ["HYPERV_ENFORCE_CPUID", "HYPERV_SYNIC", "HYPERV_ENLIGHTENED_VMCS"])
        expect(beforeAndAfter(it, ({ vcpu }) => void vcpu.enableCap({ cap, args: [1n] }))).toEqual(["0", "0"]);
    },
  ],
  [
    "B",
    "the SynIC's capability before its MSRs: without it they take nothing but 0",
    (it) => {
      const entry = { index: H.HV_X64_MSR_SCONTROL, data: 1n };
      expect(it.vcpu.setMsrs([entry])).toBe(0);
      it.vcpu.enableCap({ cap: "HYPERV_SYNIC2", args: [0n] });
      expect(it.vcpu.setMsrs([entry])).toBe(1);
    },
  ],
  [
    "B",
    "RAM before HYPERCALL over a move to the other vendor: after it, the old call comes back",
    (it) => {
      it.writeMsr(H.HV_X64_MSR_GUEST_OS_ID, LINUX);
      it.writeMsr(H.HV_X64_MSR_HYPERCALL, PAGE | 1n);
      const [ram, msrs] = [
        it.vm.readMemory(DATA, 4),
        it.vcpu.getMsrs([H.HV_X64_MSR_GUEST_OS_ID, H.HV_X64_MSR_HYPERCALL]),
      ];
      const restored = (order: readonly ("ram" | "msrs")[]): number[] => {
        const { vm, vcpu } = it.another({ ...HYPERV, host: "amd" });
        for (const step of order) {
          if (step === "ram") vm.writeMemory(DATA, ram);
          else expect(vcpu.setMsrs(msrs)).toBe(2);
        }
        return [...vm.readMemory(DATA, 3)];
      };
      expect(restored(["ram", "msrs"])).toEqual([0x0f, 0x01, 0xd9]);
      expect(restored(["msrs", "ram"])).toEqual([0x0f, 0x01, 0xc1]);
    },
    HYPERV,
  ],
  [
    "B",
    "KVM_SET_SREGS: what no mode is, is refused as a whole",
    ({ vcpu }) => {
      const sregs = vcpu.getSregs();
      expect(errno(() => vcpu.setSregs(sregs))).toBe("0");
      for (const change of [{ cr4: 0n }, { efer: 0x100n }, { cr0: 0x33n }])
        expect(errno(() => vcpu.setSregs({ ...sregs, controls: { ...sregs.controls, ...change } }))).toBe("EINVAL");
      expect(vcpu.getSregs()).toEqual(sregs);
    },
  ],
  [
    "B",
    "registers and system registers of one VM make another go on where it was",
    (it) => {
      it.outcome([0x48, 0xff, 0xc0]);
      const { vm, vcpu } = it.another();
      vm.writeMemory(0, it.vm.readMemory(0, 0x2_0000));
      vcpu.setSregs(it.vcpu.getSregs());
      vcpu.setRegs(it.vcpu.getRegs());
      expect([vcpu.getRegs(), vcpu.getSregs()]).toEqual([it.vcpu.getRegs(), it.vcpu.getSregs()]);
    },
  ],
];

testRows("what is frozen, x86", rows);
