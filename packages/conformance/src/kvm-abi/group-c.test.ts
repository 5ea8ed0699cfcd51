/** Group C: PSCI and what a vCPU's state makes of KVM_RUN (DEN0022; tools/testing/selftests/kvm/arm64/psci_test.c). */
import { MpState, RegisterListError } from "@hvjournal/cpu-arm64";
import { expect } from "@jest/globals";
import { LEGACY_CPU_ON, Psci } from "./function-ids.js";
import { mrs } from "./instructions.js";
import { openTimerInterrupt, startTimer } from "./interrupts.js";
import { callWords, code, CODE, errno, NOT_SUPPORTED, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";

const SUCCESS = 0n;
const INVALID_PARAMETERS = code(-2);
const ALREADY_ON = code(-4);
const INTERNAL_FAILURE = code(-6);
/** KVM_SYSTEM_EVENT_*. */
const [SHUTDOWN, RESET, WAKEUP, SUSPEND] = [1, 2, 4, 5];
const PSCI_0_2 = ["PSCI_0_2"];
const TWO_VCPUS = { vcpuCount: 2 };
const MP_STATE_HALTED = 3;
const CAP_ARM_SYSTEM_SUSPEND = "KVM_CAP_ARM_SYSTEM_SUSPEND";
const ID_AA64ISAR0_EL1 = 0xc030;
const ID_AA64ISAR0: bigint = 0x6030_0000_0013_0000n | BigInt(ID_AA64ISAR0_EL1);
/** ENTRY and CONTEXT of psci_test. */
const ENTRY = 0xfeed_f00dn;
const CONTEXT = 0xdead_c0den;
const UPPER_HALF = 0xffff_ffff_0000_0000n;

function mpidr({ vm }: Program, vcpu: number): bigint {
  return vm.vcpu(vcpu).getOneReg("mpidr_el1") & 0xff_00ff_ffffn;
}

/** vCPU 0 powers vCPU 1 on; its x0. */
function cpuOn(p: Program, entry = ENTRY, context = CONTEXT): bigint | undefined {
  return p.call(Psci.cpuOn64, [mpidr(p, 1), entry, context])[0];
}

/** The guest's call that ends in KVM_EXIT_SYSTEM_EVENT: what is told, and a device access is behind it. */
function systemEvent(p: Program, id: number, args: readonly bigint[] = []): readonly [number, readonly bigint[]] {
  p.load([...callWords(id, args), ...touchDevice]);
  const run = p.run();
  if (run.exitReason !== "SYSTEM_EVENT") throw new Error(run.exitReason);
  const { type, ndata, data } = run.systemEvent;
  expect(ndata).toBe(data.length);
  return [type, data];
}

function enableSystemSuspend({ vm }: Program): void {
  vm.enableCap({ cap: CAP_ARM_SYSTEM_SUSPEND });
}

function suspendedRun(p: Program): unknown {
  const run = p.run();
  return run.exitReason === "SYSTEM_EVENT" ? [run.systemEvent.type, run.systemEvent.ndata] : run.exitReason;
}

const rows: readonly Row[] = [
  [
    "C01",
    "CPU_ON succeeds, and AFFINITY_INFO shows the CPU as off before and as on behind it",
    (p) => {
      const info = (): bigint | undefined => p.call(Psci.affinityInfo64, [mpidr(p, 1), 0n])[0];
      expect([info(), cpuOn(p), info()]).toEqual([1n, SUCCESS, 0n]);
    },
    TWO_VCPUS,
  ],
  [
    "C02",
    "the CPU that is on shows entry and context before it has run",
    (p) => {
      p.vm.vcpu(1).setOneReg("x5", 5n);
      expect(cpuOn(p)).toBe(SUCCESS);
      const target = p.vm.vcpu(1);
      expect(["pc", "x0", "x5"].map((name) => target.getOneReg(name))).toEqual([ENTRY, CONTEXT, 0n]);
      expect(target.getMpState()).toBe(MpState.runnable);
    },
    TWO_VCPUS,
  ],
  [
    "C02",
    "the CPU that is on runs from its entry with the context in x0",
    (p) => {
      const entry = CODE + 0x8000;
      p.vm.writeMemory(entry, new Uint8Array(Uint32Array.from(touchDevice).buffer));
      // vCPU 0 is then off, so that the other one's access is the next exit.
      p.load([...callWords(Psci.cpuOn64, [mpidr(p, 1), BigInt(entry), CONTEXT]), ...callWords(Psci.cpuOff)]);
      expect(p.run()).toMatchObject({ exitReason: "MMIO", vcpu: 1 });
      expect(p.vm.vcpu(1).getOneReg("x0")).toBe(CONTEXT);
      expect(p.vm.vcpus.map((each) => each.getMpState())).toEqual([MpState.stopped, MpState.runnable]);
    },
    TWO_VCPUS,
  ],
  [
    "C05",
    "CPU_ON of a CPU that is on is INVALID_PARAMETERS in PSCI 0.1",
    (p) => expect(p.call(LEGACY_CPU_ON, [mpidr(p, 1), ENTRY, CONTEXT])[0]).toBe(INVALID_PARAMETERS),
    { vcpuCount: 2, features: [[], []] },
  ],
  [
    "C05",
    "and ALREADY_ON from PSCI 0.2 on; reserved bits, or a CPU that there is not, are INVALID_PARAMETERS",
    (p) => {
      expect(cpuOn(p)).toBe(ALREADY_ON);
      for (const target of [1n << 24n, 1n << 40n, 7n, 1n << 32n])
        expect(p.call(Psci.cpuOn64, [target, ENTRY, CONTEXT])[0]).toBe(INVALID_PARAMETERS);
    },
    { vcpuCount: 2, features: [PSCI_0_2, PSCI_0_2] },
  ],
  [
    "C07",
    "AFFINITY_INFO of level 4 is INVALID_PARAMETERS",
    (p) => {
      expect(p.call(Psci.affinityInfo64, [mpidr(p, 0), 4n])[0]).toBe(INVALID_PARAMETERS);
      expect(p.call(Psci.affinityInfo64, [mpidr(p, 0), 3n])[0]).toBe(0n);
    },
  ],
  ["C08", "function 1337 is NOT_SUPPORTED", (p) => expect(p.call(1337)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n])],
  [
    "C09",
    "without the capability, SYSTEM_SUSPEND is no feature and not there",
    (p) => {
      expect(p.call(Psci.features, [BigInt(Psci.systemSuspend64)])[0]).toBe(NOT_SUPPORTED);
      expect(p.call(Psci.systemSuspend64, [BigInt(CODE), 0n])[0]).toBe(NOT_SUPPORTED);
    },
  ],
  [
    "C10",
    "with the capability, SYSTEM_SUSPEND is a feature, and leaves for the VMM",
    (p) => {
      enableSystemSuspend(p);
      expect(p.call(Psci.features, [BigInt(Psci.systemSuspend64)])[0]).toBe(0n);
      expect(systemEvent(p, Psci.systemSuspend64, [BigInt(CODE), 0n])).toEqual([SUSPEND, []]);
    },
  ],
  [
    "C11",
    "SYSTEM_SUSPEND leaves registers and run states alone; a VMM that denies it writes x0",
    (p) => {
      enableSystemSuspend(p);
      const args = [BigInt(CODE), 7n];
      systemEvent(p, Psci.systemSuspend64, args);
      expect([0, 1, 2].map((index) => p.vcpu.getOneReg(`x${index}`))).toEqual([BigInt(Psci.systemSuspend64), ...args]);
      expect(p.vcpu.getMpState()).toBe(MpState.runnable);
      p.vcpu.setOneReg("x0", INTERNAL_FAILURE);
      expect(p.resultsNow()).toEqual([INTERNAL_FAILURE, ...args, 0n]);
    },
  ],
  [
    "C12",
    "SYSTEM_OFF2 is a feature of PSCI 1.3, with HIBERNATE_OFF",
    (p) => {
      const isFeature = (): bigint | undefined => p.call(Psci.features, [BigInt(Psci.systemOff2In64)])[0];
      expect(isFeature()).toBe(1n);
      p.vcpu.setOneReg("PSCI_VERSION", 0x1_0002n);
      expect(isFeature()).toBe(NOT_SUPPORTED);
    },
  ],
  [
    "C14",
    "SYSTEM_OFF2 stops every vCPU; the guest that is run on by mistake sees INTERNAL_FAILURE",
    (p) => {
      for (const type of [0n, 1n]) {
        p.vm.vcpu(1).setMpState(MpState.suspended);
        expect(systemEvent(p, Psci.systemOff2In64, [type, 0n])).toEqual([SHUTDOWN, [1n]]);
        expect(p.vm.vcpus.map((each) => each.getMpState())).toEqual([MpState.stopped, MpState.stopped]);
        p.vcpu.setMpState(MpState.runnable);
        expect(p.resultsNow()[0]).toBe(INTERNAL_FAILURE);
      }
    },
    TWO_VCPUS,
  ],
  [
    "C15",
    "SYSTEM_OFF2 leaves once for each of its types; others, or a cookie, are INVALID_PARAMETERS without an exit",
    (p) => {
      const calls = [0n, 1n].map((type) => callWords(Psci.systemOff2In64, [type, 0n]));
      p.load([...calls.flat(), ...touchDevice]);
      let exits = 0;
      while (p.run().exitReason === "SYSTEM_EVENT") {
        exits += 1;
        p.vcpu.setMpState(MpState.runnable);
      }
      expect(exits).toBe(2);
      for (const args of [
        [2n, 0n],
        [1n, 1n],
        [UPPER_HALF, 0n],
      ])
        expect(p.call(Psci.systemOff2In64, args)[0]).toBe(INVALID_PARAMETERS);
    },
  ],
  [
    "C16",
    "SYSTEM_RESET2 takes the vendor's types, and no other than 0 of the architecture's",
    (p) => {
      expect(p.call(Psci.systemReset2In64, [2n, 0n])[0]).toBe(INVALID_PARAMETERS);
      for (const type of [0n, 0x8000_0001n]) {
        expect(systemEvent(p, Psci.systemReset2In64, [type, 0n])).toEqual([RESET, [1n]]);
        p.vcpu.setMpState(MpState.runnable);
      }
    },
  ],
  [
    "C18",
    "KVM_MP_STATE_HALTED is EINVAL",
    ({ vcpu }) => {
      for (const state of [MP_STATE_HALTED, 1, 2, 4, 6, 11, -1])
        expect(errno(() => vcpu.setMpState(state))).toBe("EINVAL");
      expect(vcpu.getMpState()).toBe(MpState.runnable);
    },
  ],
  [
    "C19",
    "a suspended vCPU leaves with WAKEUP as often as it is run, until it is runnable",
    (p) => {
      enableSystemSuspend(p);
      p.load([
        ...openTimerInterrupt,
        ...startTimer(1000),
        ...callWords(Psci.systemSuspend64, [BigInt(CODE), 0n]),
        ...touchDevice,
      ]);
      expect(suspendedRun(p)).toEqual([SUSPEND, 0]);
      const at = p.vcpu.getOneReg("pc");
      p.vcpu.setMpState(MpState.suspended);
      for (let turns = 0; turns < 3; turns++) {
        expect(suspendedRun(p)).toEqual([WAKEUP, 0]);
        expect([p.vcpu.getMpState(), p.vcpu.getOneReg("pc")]).toEqual([MpState.suspended, at]);
      }
      p.vcpu.setMpState(MpState.runnable);
      expect(suspendedRun(p)).toBe("MMIO");
    },
  ],
  [
    "C19",
    "a suspended vCPU without a wake source blocks",
    (p) => {
      p.load(touchDevice);
      p.vcpu.setMpState(MpState.suspended);
      expect(errno(() => p.run())).toBe("EINTR");
      p.vcpu.setMpState(MpState.runnable);
      expect(suspendedRun(p)).toBe("MMIO");
    },
  ],
  ["C20", "a 64-bit id from an AArch32 guest is NOT_SUPPORTED", "the CPU has AArch64 alone"],
  [
    "C20",
    "a vCPU in AArch32 is EINVAL",
    ({ vcpu }) => expect(errno(() => vcpu.vcpuInit(["PSCI_0_2", "EL1_32BIT"]))).toBe("EINVAL"),
    { features: null },
  ],
  [
    "C21",
    "CPU_ON of the 32-bit convention takes the lower halves",
    (p) => {
      const args = [mpidr(p, 1), ENTRY, CONTEXT].map((value) => UPPER_HALF | value);
      expect(p.call(Psci.cpuOn64, args)[0]).toBe(INVALID_PARAMETERS);
      expect(p.call(Psci.cpuOn32, args)[0]).toBe(SUCCESS);
      expect(["pc", "x0"].map((name) => p.vm.vcpu(1).getOneReg(name))).toEqual([ENTRY, CONTEXT]);
    },
    TWO_VCPUS,
  ],
  [
    "C22",
    "KVM_RUN before KVM_ARM_VCPU_INIT is ENOEXEC",
    (p) => {
      expect(errno(() => p.run())).toBe("ENOEXEC");
      expect(errno(() => p.vcpu.getOneReg("pc"))).toBe("ENOEXEC");
      p.vcpu.vcpuInit(PSCI_0_2);
      p.load(touchDevice);
      expect(p.run().exitReason).toBe("MMIO");
    },
    { features: null },
  ],
  [
    "C23",
    "one kind of pointer authentication alone is EINVAL",
    ({ vcpu }) => {
      for (const feature of ["PTRAUTH_ADDRESS", "PTRAUTH_GENERIC"])
        expect(errno(() => vcpu.vcpuInit(["PSCI_0_2", feature]))).toBe("EINVAL");
    },
    { features: null },
  ],
  ["C24", "KVM_GET_REG_LIST is EPERM before SVE is finalised", "the CPU has no SVE"],
  [
    "C24",
    "SVE is EINVAL, to have and to finalise",
    ({ vcpu }) => {
      const SVE = 4;
      expect(errno(() => vcpu.vcpuInit(["PSCI_0_2", "SVE"]))).toBe("EINVAL");
      vcpu.vcpuInit(PSCI_0_2);
      expect(errno(() => vcpu.vcpuFinalize(SVE))).toBe("EINVAL");
      expect(errno(() => vcpu.getRegList())).toBe("0");
    },
    { features: null },
  ],
  [
    "C26",
    "an identification register's field says less, the guest sees it, and KVM_ARM_VCPU_INIT keeps it",
    (p) => {
      const without = p.vcpu.getOneReg(ID_AA64ISAR0) & ~0xf_0000n;
      expect(without).not.toBe(p.vcpu.getOneReg(ID_AA64ISAR0));
      p.vcpu.setOneReg(ID_AA64ISAR0, without);
      p.vcpu.vcpuInit(PSCI_0_2);
      expect(p.vcpu.getOneReg(ID_AA64ISAR0)).toBe(without);
      expect(p.results([mrs(0, ID_AA64ISAR0_EL1)])[0]).toBe(without);
    },
  ],
  [
    "C27",
    "after a run, another value of an identification register is EBUSY",
    (p) => {
      const before = p.vcpu.getOneReg(ID_AA64ISAR0);
      p.runOnce();
      expect([0n, before].map((value) => errno(() => p.vcpu.setOneReg(ID_AA64ISAR0, value)))).toEqual(["EBUSY", "0"]);
    },
  ],
  [
    "C28",
    "KVM_GET_REG_LIST into too little room is E2BIG and says how much it takes",
    ({ vcpu }) => {
      const { length } = vcpu.getRegList();
      expect(() => vcpu.getRegList(length - 1)).toThrow(RegisterListError);
      for (const n of [0, length - 1]) {
        try {
          vcpu.getRegList(n);
        } catch (error) {
          expect(error).toMatchObject({ errno: "E2BIG", n: length });
        }
      }
      expect(vcpu.getRegList(length)).toHaveLength(length);
    },
  ],
];

testRows("group C", rows);
