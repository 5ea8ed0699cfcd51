/** What becomes immutable on arm64, when, and what KVM says to a change: set before, run, changed after. */
import { expect } from "@jest/globals";
import { errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { DENY, FORWARD, PSCI_VERSION, setFilter, VENDOR } from "./smccc-filter.js";

const PVTIME = { group: 2, attr: 0 };
const ID_REGISTER = "ID_AA64ISAR0_EL1";

/** The errno of KVM_SET_ONE_REG on the first vCPU. */
function setRegister({ vcpu }: Program, name: string, value: bigint): string {
  return errno(() => vcpu.setOneReg(name, value));
}

function enable({ vm }: Program, cap: string): string {
  return errno(() => vm.enableCap({ cap }));
}

const rows: readonly Row[] = [
  [
    "vCPU features",
    "are those of the VM's first KVM_ARM_VCPU_INIT, before a run and after; POWER_OFF is none",
    ({ vm }) => {
      const init = (vcpu: number, ...features: readonly string[]): string =>
        errno(() => vm.vcpu(vcpu).vcpuInit(features));
      expect(init(1, "POWER_OFF")).toBe("0");
      expect(init(0, "PSCI_0_2")).toBe("EINVAL");
      expect(init(0, "POWER_OFF")).toBe("0");
      expect(init(1)).toBe("0");
      expect(init(1, "PSCI_0_2")).toBe("EINVAL");
      expect(vm.vcpu(0).getOneReg("KVM_REG_ARM_PSCI_VERSION")).toBe(1n);
    },
    { vcpuCount: 2, features: null },
  ],
  [
    "SVE vector lengths",
    "are EPERM once finalized",
    "the CPU has no SVE: KVM_ARM_VCPU_SVE is EINVAL (frozen features above)",
  ],
  [
    "SMCCC filter",
    "is EBUSY after a run, and goes on as it was",
    (p) => {
      expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
      p.runOnce();
      expect(setFilter(p, VENDOR + 1, 1, FORWARD)).toBe("EBUSY");
      expect(p.call(VENDOR + 1)[0]).toBe(0xffff_ffff_ffff_ffffn);
    },
  ],
  [
    "firmware bitmaps",
    "are EBUSY after a run unless equal",
    (p) => {
      const bitmaps = ["STD", "STD_HYP", "VENDOR_HYP"].map((name) => `KVM_REG_ARM_${name}_BMAP`);
      const all = [...bitmaps, "KVM_REG_ARM_VENDOR_HYP_BMAP_2"];
      expect(all.map((name) => setRegister(p, name, 0n))).toEqual(Array(4).fill("0"));
      p.runOnce();
      expect(all.map((name) => setRegister(p, name, 1n))).toEqual(Array(4).fill("EBUSY"));
      expect(all.map((name) => setRegister(p, name, 0n))).toEqual(Array(4).fill("0"));
      expect(all.map((name) => p.vcpu.getOneReg(name))).toEqual([0n, 0n, 0n, 0n]);
    },
  ],
  [
    "ID registers",
    "are EBUSY after a run unless equal",
    (p) => {
      const host = p.vcpu.getOneReg(ID_REGISTER);
      expect(host).not.toBe(0n);
      expect(setRegister(p, ID_REGISTER, 0n)).toBe("0");
      // MRS X0, ID_AA64ISAR0_EL1
      expect(p.results([0xd538_0600])[0]).toBe(0n);
      expect([setRegister(p, ID_REGISTER, host), setRegister(p, ID_REGISTER, 0n)]).toEqual(["EBUSY", "0"]);
      expect(p.results([0xd538_0600])[0]).toBe(0n);
    },
  ],
  [
    "implementation ID registers",
    "can't be made writable: there is a vCPU (and they are the CPU model's)",
    (p) => expect(enable(p, "KVM_CAP_ARM_WRITABLE_IMP_ID_REGS")).toBe("EINVAL"),
  ],
  [
    "MTE",
    "can't be enabled: there is a vCPU (and the CPU has none)",
    (p) => expect(enable(p, "KVM_CAP_ARM_MTE")).toBe("EINVAL"),
  ],
  ["timer PPIs", "are EBUSY after a run", "the timers' interrupts are the board's; KVM_ARM_VCPU_TIMER_CTRL is ENXIO"],
  [
    "vGIC layout",
    "is EBUSY once initialised",
    "the GIC and where it lies are the machine description's, made with the VM",
  ],
  [
    "PSCI version",
    "is never frozen",
    (p) => {
      expect(setRegister(p, "KVM_REG_ARM_PSCI_VERSION", 0x1_0000n)).toBe("0");
      p.runOnce();
      expect(setRegister(p, "KVM_REG_ARM_PSCI_VERSION", 0x1_0001n)).toBe("0");
      expect(p.call(PSCI_VERSION)[0]).toBe(0x1_0001n);
    },
  ],
  [
    "PVTIME IPA",
    "is set once: EEXIST, for the same address too; on each vCPU, and also after a run",
    (p) => {
      const set = (vcpu: number, ipa: number): string =>
        errno(() => p.vm.vcpu(vcpu).setDeviceAttr(PVTIME, BigInt(ipa)));
      expect([set(0, p.data), set(0, p.data), set(0, p.data + 64)]).toEqual(["0", "EEXIST", "EEXIST"]);
      p.runOnce();
      expect([set(0, p.data + 64), set(1, p.data + 64), set(1, p.data + 64)]).toEqual(["EEXIST", "0", "EEXIST"]);
      expect(p.vcpu.getDeviceAttr(PVTIME)).toBe(BigInt(p.data));
    },
    { vcpuCount: 2 },
  ],
  [
    "SYSTEM_SUSPEND and NISV_TO_USER",
    "may be enabled at any time, as in KVM",
    (p) => {
      p.runOnce();
      expect(enable(p, "KVM_CAP_ARM_SYSTEM_SUSPEND")).toBe("0");
      expect(enable(p, "KVM_CAP_ARM_NISV_TO_USER")).toBe("0");
    },
  ],
  [
    "order",
    "KVM_ARM_VCPU_INIT comes before registers, MP_STATE and KVM_RUN: ENOEXEC",
    (p) => {
      const { vcpu } = p;
      const tries = [
        () => vcpu.getOneReg("pc"),
        () => vcpu.setOneReg("pc", 0n),
        () => vcpu.setMpState(0),
        () => p.run(),
      ];
      expect(tries.map((each) => errno(each))).toEqual(Array(4).fill("ENOEXEC"));
      expect(setFilter(p, VENDOR, 1, DENY)).toBe("0");
    },
    { features: null },
  ],
];

testRows("frozen", rows);
