/** KVM_ARM_VCPU_INIT, the registers of KVM_{GET,SET}_ONE_REG, and the run states (Documentation/virt/kvm/api.rst, 4.38, 4.68, 4.82). */
import { MpState } from "@hvjournal/cpu-arm64";
import { expect } from "@jest/globals";
import { decrement, moveImmediate, store32, wfi } from "./instructions.js";
import { CNTV_CTL_EL0, CNTV_CVAL_EL0, openTimerInterrupt, readRegister } from "./interrupts.js";
import { CODE, DEVICE, errno, type Program, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";

const UNKNOWN_FEATURE = 1 << 9;
const PSCI_0_2 = ["PSCI_0_2"];
const NONE = { features: null };
/** KVM_REG_ARM_TIMER_CNT and _CVAL: each has the encoding of the other. */
const TIMER_CNT = 0x6030_0000_0013_df1an;
const TIMER_CVAL = 0x6030_0000_0013_df02n;
const TIMER_CTL = 0x6030_0000_0013_df19n;
const ID_AA64ISAR0 = 0x6030_0000_0013_c030n;
const STD_BMAP = 0x6030_0000_0016_0000n;
/** CNTPCT, CNTVCT, CNTP_TVAL, CNTV_TVAL and CNTV_CVAL, the last in CNTVCT's place and the other way round. */
const TIMER_REGISTERS: ReadonlySet<bigint> = new Set(
  [0xdf01n, 0xdf02n, 0xdf10n, 0xdf18n, 0xdf1an].map((selector) => 0x6030_0000_0013_0000n | selector),
);
const PSTATE_EL1H = 0x3c5n;

function everyRegister({ vcpu }: Program): (readonly [bigint, bigint])[] {
  return vcpu.getRegList().map((id) => [id, vcpu.getOneReg(id)]);
}

const rows: readonly Row[] = [
  [
    "init",
    "a feature that nobody knows is ENOENT, by bit and by name, whatever else is asked for",
    ({ vcpu }) => {
      for (const features of [UNKNOWN_FEATURE, UNKNOWN_FEATURE | 4, ["PSCI_0_2", "NOTHING"]])
        expect(errno(() => vcpu.vcpuInit(features))).toBe("ENOENT");
    },
    NONE,
  ],
  [
    "init",
    "a feature that this CPU does not have is EINVAL",
    ({ vcpu }) => {
      for (const feature of ["EL1_32BIT", "PMU_V3", "SVE", "HAS_EL2", "HAS_EL2_E2H0"])
        expect(errno(() => vcpu.vcpuInit([feature]))).toBe("EINVAL");
    },
    NONE,
  ],
  [
    "init",
    "features of the first vCPU are those of all, but for POWER_OFF",
    ({ vm }) => {
      vm.vcpu(0).vcpuInit(PSCI_0_2);
      expect(errno(() => vm.vcpu(1).vcpuInit([]))).toBe("EINVAL");
      expect(errno(() => vm.vcpu(0).vcpuInit([]))).toBe("EINVAL");
      expect(errno(() => vm.vcpu(1).vcpuInit(["PSCI_0_2", "POWER_OFF"]))).toBe("0");
      expect(vm.vcpus.map((vcpu) => vcpu.getMpState())).toEqual([MpState.runnable, MpState.stopped]);
    },
    { vcpuCount: 2, features: null },
  ],
  [
    "init",
    "before it, registers, their list, run states and KVM_RUN are ENOEXEC, also where another vCPU has had its own",
    (p) => {
      p.vcpu.vcpuInit(PSCI_0_2);
      const vcpu = p.vm.vcpu(1);
      const calls = [
        () => vcpu.getOneReg("pc"),
        () => vcpu.setOneReg("pc", 0n),
        () => vcpu.setOneReg("STD_BMAP", 0n),
        () => vcpu.getRegList(),
        () => vcpu.setMpState(MpState.runnable),
        () => p.run(),
      ];
      expect(calls.map((call) => errno(call))).toEqual(calls.map(() => "ENOEXEC"));
    },
    { vcpuCount: 2, features: null },
  ],
  [
    "init again",
    "registers are as after power-on, the VM's configuration stays",
    (p) => {
      const fresh = everyRegister(p);
      p.vcpu.setOneReg(ID_AA64ISAR0, 0n);
      p.vcpu.setOneReg("STD_BMAP", 0n);
      p.load([...moveImmediate(5, 5n), ...touchDevice]);
      for (const [name, value] of [
        ["v3", 3n],
        ["ttbr0_el1", 0x1000n],
        ["sp_el1", 8n],
        ["cntv_cval_el0", 9n],
        ["cntv_ctl_el0", 3n],
      ] as const)
        p.vcpu.setOneReg(name, value);
      p.run();
      p.vcpu.vcpuInit(PSCI_0_2);
      const kept = new Map([
        [ID_AA64ISAR0, 0n],
        [STD_BMAP, 0n],
      ]);
      const changed = everyRegister(p).filter(([id, value], index) => (kept.get(id) ?? fresh[index]?.[1]) !== value);
      // Counters go on, and with them the distance to the compare values, which KVM does not reset.
      expect(changed.map(([id]) => id).filter((id) => !TIMER_REGISTERS.has(id))).toEqual([]);
      expect(p.vcpu.getOneReg("cntv_ctl_el0")).toBe(0n);
    },
  ],
  [
    "registers",
    "each of the list can be read, and takes the value that it has",
    (p) => {
      p.runOnce();
      const before = everyRegister(p);
      expect(new Set(before.map(([id]) => id)).size).toBe(before.length);
      for (const [id, value] of before) expect([id, errno(() => p.vcpu.setOneReg(id, value))]).toEqual([id, "0"]);
      expect(everyRegister(p)).toEqual(before);
    },
  ],
  [
    "registers",
    "core registers keep all of their bits",
    ({ vcpu }) => {
      const CORE = 0x6000_0000_0010_0000n;
      const core = vcpu.getRegList().filter((id) => (id & 0xff0f_ffff_ffff_0000n) === CORE);
      expect(core).toHaveLength(31 + 6 + 32 + 2);
      // PSTATE and SPSR_EL1, which have bits that are always zero.
      const status = [0x6030_0000_0010_0042n, 0x6030_0000_0010_0048n];
      for (const id of core.filter((each) => !status.includes(each))) {
        const bits = 8n << ((id >> 52n) & 15n);
        const value = BigInt.asUintN(Number(bits), 0xa5a5_5a5a_0f0f_f0f0_1234_5678_9abc_def0n ^ id);
        vcpu.setOneReg(id, value);
        expect([id, vcpu.getOneReg(id)]).toEqual([id, value]);
      }
    },
  ],
  [
    "registers",
    "a value that is too wide, or a mode that the CPU does not have, is EINVAL",
    ({ vcpu }) => {
      expect(errno(() => vcpu.setOneReg("fpsr", 1n << 32n))).toBe("EINVAL");
      expect(errno(() => vcpu.setOneReg("pc", -1n))).toBe("EINVAL");
      for (const mode of [0x3c9n, 0x3cdn, 0x1d3n, 0x3c1n])
        expect(errno(() => vcpu.setOneReg("pstate", mode))).toBe("EINVAL");
      expect(vcpu.getOneReg("pstate")).toBe(PSTATE_EL1H);
    },
  ],
  [
    "timers",
    "compare value and control that the VMM sets are the guest's, by KVM's swapped ids",
    (p) => {
      p.vcpu.setOneReg(TIMER_CVAL, 0x1234n);
      p.vcpu.setOneReg(TIMER_CTL, 3n);
      const now = p.results([readRegister(0, CNTV_CVAL_EL0), readRegister(1, CNTV_CTL_EL0)]);
      expect(now.slice(0, 2)).toEqual([0x1234n, 3n]);
      expect(p.vcpu.getOneReg(TIMER_CNT)).toBe(p.vcpu.getOneReg("cntvct_el0"));
      expect(errno(() => p.vcpu.setOneReg(TIMER_CNT, 1n << 40n))).toBe("EINVAL");
    },
  ],
  [
    "timers",
    "a timer that the VMM starts wakes the guest from WFI, at its moment",
    (p) => {
      p.load([...openTimerInterrupt, ...touchDevice, wfi, ...touchDevice]);
      p.run();
      p.vcpu.setOneReg("cntv_cval_el0", 50_000n);
      p.vcpu.setOneReg("cntv_ctl_el0", 1n);
      expect(p.run().exitReason).toBe("MMIO");
      expect(p.vcpu.getOneReg("cntvct_el0")).toBeGreaterThanOrEqual(50_000n);
      expect(p.vcpu.getOneReg("cntvct_el0")).toBeLessThan(50_010n);
      expect(p.vcpu.getOneReg("cntv_ctl_el0")).toBe(5n);
    },
  ],
  [
    "timers",
    "without it that guest waits for ever",
    (p) => {
      p.load([...openTimerInterrupt, wfi, ...touchDevice]);
      expect(errno(() => p.run())).toBe("EINTR");
    },
  ],
  [
    "run state",
    "a vCPU that is stopped blocks, and runs on where it stood",
    (p) => {
      p.load([...moveImmediate(3, 7n), ...touchDevice, decrement(3), ...touchDevice]);
      p.run();
      p.vcpu.setMpState(MpState.stopped);
      expect(errno(() => p.run())).toBe("EINTR");
      p.vcpu.setMpState(MpState.runnable);
      expect(p.run().exitReason).toBe("MMIO");
      expect(p.vcpu.getOneReg("x3")).toBe(6n);
    },
  ],
  [
    "device access",
    "whose instruction the VMM has left by setting pc is not carried out, and its data is no other's",
    (p) => {
      const other = DEVICE + 0x40;
      const toOther = moveImmediate(10, BigInt(other));
      for (const access of [0xb940_0149, store32(9, 10)]) {
        p.load([...moveImmediate(10, BigInt(DEVICE)), access, ...toOther, 0xb940_0140, ...touchDevice]);
        p.vcpu.setOneReg("x9", 9n);
        const run = p.run();
        if (run.exitReason !== "MMIO") throw new Error(run.exitReason);
        run.mmio.data.fill(0xff);
        p.vcpu.setOneReg("x10", BigInt(other));
        p.vcpu.setOneReg("pc", p.vcpu.getOneReg("pc") + 4n * BigInt(1 + toOther.length));
        expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(other), isWrite: false } });
        expect(p.vcpu.getOneReg("x9")).toBe(9n);
        expect(p.run()).toMatchObject({ exitReason: "MMIO", mmio: { physAddr: BigInt(DEVICE) } });
        expect(p.vcpu.getOneReg("x0")).toBe(0n);
      }
    },
  ],
  [
    "immediate exit",
    "nothing of the guest has run",
    (p) => {
      p.load([...moveImmediate(3, 7n), ...touchDevice]);
      expect(errno(() => p.run({ immediateExit: true }))).toBe("EINTR");
      expect([p.vcpu.getOneReg("pc"), p.vcpu.getOneReg("x3")]).toEqual([BigInt(CODE), 0n]);
      expect(p.run().exitReason).toBe("MMIO");
      expect(p.vcpu.getOneReg("x3")).toBe(7n);
    },
  ],
];

testRows("state of a vCPU", rows);
