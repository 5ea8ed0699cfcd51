/** What surprises a VMM's author in KVM's Arm surface, each by its number in our list. */
import { MpState } from "@hvjournal/cpu-arm64";
import { expect } from "@jest/globals";
import { moveImmediate, smc, stop, wfi } from "./instructions.js";
import { callWords, code, CODE, DEVICE, errno, NOT_SUPPORTED, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { CPU_ON, DENY, FORWARD, HANDLE, PSCI_VERSION, setFilter, VENDOR } from "./smccc-filter.js";

const SYSTEM_OFF = 0x8400_0008;
const SYSTEM_RESET = 0x8400_0009;
const SYSTEM_SUSPEND = 0xc400_000e;
const INTERNAL_FAILURE = -6;
/** KVM_SYSTEM_EVENT_*. */
const [SHUTDOWN, RESET, WAKEUP, SUSPEND] = [1, 2, 4, 5];

/** The guest's program leaves with a system event: its type. */
function systemEvent(p: Program): number {
  const run = p.run();
  if (run.exitReason !== "SYSTEM_EVENT") throw new Error(run.exitReason);
  return run.systemEvent.type;
}

function registers({ vcpu }: Program, count: number): bigint[] {
  return Array.from({ length: count }, (_, index) => vcpu.getOneReg(`x${index}`));
}

const GICD = 0x0800_0000;
const SPI = 0;
/** STR W1, [X2]. */
const storeWord = 0xb900_0041;
/** MSR ICC_PMR_EL1, X1; MSR ICC_IGRPEN1_EL1, X1. */
const [writePriorityMask, writeGroupEnable] = [0xd518_4601, 0xd518_cce1];

function writeDistributor(offset: number, value: number): number[] {
  return [...moveImmediate(1, BigInt(value)), ...moveImmediate(2, BigInt(GICD + offset)), storeWord];
}

/** SPI 0 goes to this vCPU, as an interrupt of group 1. */
const enableInterrupt: readonly number[] = [
  ...writeDistributor(0, 2),
  ...writeDistributor(0x84, 1),
  ...writeDistributor(0x104, 1),
  ...[...moveImmediate(1, 0xffn), writePriorityMask, ...moveImmediate(1, 1n), writeGroupEnable],
];

const rows: readonly Row[] = [
  [
    "12",
    "what nobody has filtered is for KVM to handle, and what KVM does not know it denies; HANDLE implements nothing",
    (p) => {
      expect(setFilter(p, VENDOR, 1, HANDLE)).toBe("0");
      expect(p.call(VENDOR)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
      expect(p.call(VENDOR + 1)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
      expect(p.call(PSCI_VERSION)).toEqual([0x1_0003n, 0n, 0n, 0n]);
    },
  ],
  [
    "13",
    "a first range that is refused as reserved leaves the reserved ranges alone as taken",
    (p) => {
      expect(setFilter(p, 0x8000_0000, 1, FORWARD)).toBe("EEXIST");
      expect(setFilter(p, 0xc000_ffff, 1, FORWARD)).toBe("EEXIST");
      expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
      expect(p.forwarded(callWords(VENDOR)).hypercall.nr).toBe(BigInt(VENDOR));
    },
  ],
  [
    "14",
    "SMC with an immediate fails without a word: x0 is -1, all else as it was, also for what KVM knows",
    (p) => {
      const words = [...callWords(PSCI_VERSION, [1n, 2n, 3n]).slice(0, -1), smc(0x10)];
      expect(p.results(words)).toEqual([NOT_SUPPORTED, 1n, 2n, 3n]);
    },
  ],
  [
    "15",
    "a forwarded call whose x0 nobody touches returns its function id",
    (p) => {
      expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
      p.forwarded(callWords(VENDOR));
      expect(p.resultsNow()[0]).toBe(BigInt(VENDOR));
    },
  ],
  [
    "16",
    "a write of a workaround level is a check, one of a bitmap is a store",
    ({ vcpu }) => {
      for (const name of ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1", "KVM_REG_ARM_VENDOR_HYP_BMAP"])
        vcpu.setOneReg(name, 1n);
      expect(vcpu.getOneReg("KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1")).toBe(2n);
      expect(vcpu.getOneReg("KVM_REG_ARM_VENDOR_HYP_BMAP")).toBe(1n);
    },
  ],
  [
    "17",
    "a bitmap takes its own value at any time, the filter takes no range twice",
    (p) => {
      expect([setFilter(p, VENDOR, 1, DENY), setFilter(p, VENDOR, 1, DENY)]).toEqual(["0", "EEXIST"]);
      p.runOnce();
      expect(setFilter(p, VENDOR, 1, DENY)).toBe("EBUSY");
      expect(errno(() => p.vcpu.setOneReg("KVM_REG_ARM_STD_BMAP", 1n))).toBe("0");
    },
  ],
  [
    "18",
    "the PSCI version may change under a guest that runs",
    (p) => {
      expect(p.call(PSCI_VERSION)[0]).toBe(0x1_0003n);
      p.vcpu.setOneReg("KVM_REG_ARM_PSCI_VERSION", 0x2n);
      expect(p.call(PSCI_VERSION)[0]).toBe(0x2n);
    },
  ],
  [
    "19",
    "SYSTEM_SUSPEND leaves every register as it was, and WAKEUP makes nothing runnable",
    (p) => {
      p.vm.enableCap({ cap: "KVM_CAP_ARM_SYSTEM_SUSPEND" });
      const call = callWords(SYSTEM_SUSPEND, [0x11n, 0x22n, 0x33n]);
      p.load([...enableInterrupt, ...call, ...touchDevice]);
      expect(systemEvent(p)).toBe(SUSPEND);
      expect(registers(p, 4)).toEqual([BigInt(SYSTEM_SUSPEND), 0x11n, 0x22n, 0x33n]);
      p.vcpu.setMpState(MpState.suspended);
      expect(errno(() => p.run())).toBe("EINTR");
      p.vm.setIrqLine(SPI, 1);
      for (let time = 0; time < 2; time++) {
        expect(systemEvent(p)).toBe(WAKEUP);
        expect(p.vcpu.getMpState()).toBe(MpState.suspended);
      }
      p.vcpu.setMpState(MpState.runnable);
      expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(DEVICE) } });
    },
  ],
  [
    "20",
    "at SYSTEM_OFF and SYSTEM_RESET the caller's x0 is INTERNAL_FAILURE, for a VMM that runs on by mistake",
    (p) => {
      for (const [id, type] of [
        [SYSTEM_OFF, SHUTDOWN],
        [SYSTEM_RESET, RESET],
      ] as const) {
        p.vcpu.setMpState(MpState.runnable);
        p.load([...callWords(id), ...touchDevice]);
        expect(systemEvent(p)).toBe(type);
        expect(p.vcpu.getOneReg("x0")).toBe(code(INTERNAL_FAILURE));
        expect(p.vcpu.getMpState()).toBe(MpState.stopped);
        p.vcpu.setMpState(MpState.runnable);
        expect(p.resultsNow()[0]).toBe(code(INTERNAL_FAILURE));
      }
    },
  ],
  [
    "21",
    "the reset that CPU_ON orders is there when the VMM reads or writes a register, before the vCPU has run",
    (p) => {
      const entry = CODE + 0x1_0000;
      p.load([wfi, stop], 1);
      p.vm.vcpu(1).setOneReg("pc", 0n);
      p.vm.vcpu(1).setOneReg("x5", 0x55n);
      expect(p.call(CPU_ON, [1n, BigInt(entry), 0xdead_c0den])[0]).toBe(0n);
      const [pc, x0, x5] = ["pc", "x0", "x5"].map((name) => p.vm.vcpu(1).getOneReg(name));
      expect([pc, x0, x5]).toEqual([BigInt(entry), 0xdead_c0den, 0n]);
      p.vm.vcpu(1).setOneReg("x0", 7n);
      expect([p.vm.vcpu(1).getOneReg("x0"), p.vm.vcpu(1).getOneReg("pc")]).toEqual([7n, BigInt(entry)]);
    },
    { vcpuCount: 2 },
  ],
  [
    "24",
    "immediate_exit still finishes what waits: a forwarded call goes on from what the VMM has set",
    (p) => {
      expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
      p.forwarded(callWords(VENDOR));
      p.vcpu.setOneReg("x0", 5n);
      expect(errno(() => p.run({ immediateExit: true }))).toBe("EINTR");
      expect(p.resultsNow()[0]).toBe(5n);
    },
  ],
  [
    "30",
    "numbers of RFCs are somebody else's upstream: ours begin at 0x10000",
    ({ vm }) => {
      expect(vm.checkExtension(224)).toBe(0);
      expect(errno(() => vm.enableCap({ cap: 224 }))).toBe("EINVAL");
      expect([0x1_0000, 0x1_0001, 0x1_0002].map((number) => vm.checkExtension(number))).toEqual([1, 1, 1]);
      expect(errno(() => vm.enableCap({ cap: 0x1_0000, args: [1n] }))).toBe("0");
    },
  ],
];

testRows("surprises", rows);
