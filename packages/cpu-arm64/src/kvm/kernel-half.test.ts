import { describe, expect, it } from "@jest/globals";
import { ExitWord, FinishedBy, frameU64, type KernelHalf, KvmExit, systemEventOf } from "@hvjournal/core";
import * as a from "../isa/testing/encodings.js";
import { arm64 } from "./architecture.js";
import { arm64ControlSlice } from "./control-slice.js";
import { kvmArm64 } from "./exit-model.js";
import {
  CODE,
  CODE_BYTES,
  DATA,
  guest,
  RAM_BASE,
  RAM_BYTES,
  reasonOf,
  runOn,
  UART,
  VECTOR_IRQ,
  VECTOR_SYNCHRONOUS,
  VECTORS,
} from "./testing/guest.js";
import * as p from "./testing/programs.js";

const U64 = 0xffff_ffff_ffff_ffffn;

/** Configures by the texts of options. */
function configure(kernel: KernelHalf, ...options: (readonly [string, string])[]): void {
  let state = arm64ControlSlice.initialState();
  for (const [index, [word, text]] of options.entries()) {
    const command = arm64ControlSlice.parse(word, text);
    if (typeof command === "string") throw new Error(command);
    const decision = arm64ControlSlice.decide(state, command, {
      hasRun: kernel.hasRun,
      hasVcpus: true,
      vcpuCount: 1,
      memoryBase: RAM_BASE,
      memoryBytes: RAM_BYTES,
    });
    if ("refused" in decision) throw new Error(decision.refused.reason);
    for (const event of decision.events) state = arm64ControlSlice.evolve(state, event, index + 7);
  }
  kernel.configure(state);
}

function toExit(kernel: KernelHalf, limit = 10_000): void {
  expect(kernel.run(limit)).toBe("exit");
}

/** Offset of the frame's pc in the program. */
function framePc(kernel: KernelHalf): number {
  return Number(frameU64(kernel.exit, ExitWord.pcLow)) - CODE;
}

describe("where an exit is described", () => {
  it("leaves a frame that was given for the exit before as it is, where none is given", () => {
    const { kernel } = guest([a.hvc(1), a.hvc(2), a.hvc(3)]);
    const given = new Uint32Array(kernel.exit.length);
    kernel.nextFrame = given;
    toExit(kernel);
    expect(kernel.exit).toBe(given);
    const first = given.slice();
    kernel.finishExit();
    toExit(kernel);
    expect(kernel.exit).not.toBe(given);
    expect(framePc(kernel)).toBe(8);
    expect(given).toEqual(first);
  });

  it("is the frame that was given, for an access that is the VMM's to carry out too", () => {
    const { kernel } = guest([p.storePair(3, 4, 1)]);
    configure(kernel, ["cap", "ARM_NISV_TO_USER"]);
    kernel.writeRegister(0, "x1", BigInt(UART));
    const before = kernel.exit;
    kernel.nextFrame = new Uint32Array(before.length);
    toExit(kernel);
    expect(kernel.exit[ExitWord.kvmExit]).toBe(KvmExit.armNisv);
    expect([...before]).toEqual(Array.from({ length: before.length }, () => 0));
  });
});

describe("what pc, icount and syndrome show at an exit", () => {
  const timer = [...p.startTimer(10), ...p.spin(1000)];
  it.each([
    ["IRQ", timer, 80 / 4 + 0, undefined, 0],
    ["WFx", [a.wfi], 4, 1, 0x07e0_0000],
    ["WFx", [a.wfe], 4, 1, 0x07e0_0001],
    ["HVC64", [a.hvc(3)], 4, 1, 0x5a00_0003],
    ["SMC64", [a.smc(0)], 4, 1, 0x5e00_0000],
    ["SYS64", [a.mrs(5, "ID_AA64PFR0_EL1")], 0, 0, 0x6230_00a9],
    ["SYS64", [a.msr("CNTP_CTL_EL0", 5)], 0, 0, 0x6232_f8a4],
    ["DABT_LOW", [p.load32(3, 1)], 0, 0, 0x9383_0007],
    ["DABT_LOW", [p.storePair(3, 4, 1)], 0, 0, 0x9200_0047],
  ])("%s", (reason, words, pc, icount, syndrome) => {
    const { kernel } = guest(words);
    kernel.writeRegister(0, "x1", BigInt(UART));
    toExit(kernel);
    expect(reasonOf(kernel)).toBe(reason);
    expect(kernel.exit[ExitWord.syndromeLow]).toBe(syndrome);
    expect(kernel.readRegister(0, "pc")).toBe(frameU64(kernel.exit, ExitWord.pcLow));
    if (icount === undefined) return;
    expect(framePc(kernel)).toBe(pc);
    expect(kernel.icount).toBe(icount);
    const row = kvmArm64.reasons[kernel.exit[ExitWord.reason] ?? -1];
    expect(row?.pc).toBe(pc === 0 ? "at" : "behind");
    expect((kernel.exit[ExitWord.syndromeLow] ?? 0) >>> 26).toBe(row?.code);
  });

  it("covers every reason of the exit model", () => {
    expect(kvmArm64.reasons.map((reason) => reason.name)).toEqual([
      "IRQ",
      "WFx",
      "HVC64",
      "SMC64",
      "SYS64",
      "DABT_LOW",
      "KVM_REQ_SUSPEND",
    ]);
  });
});

describe("device accesses", () => {
  it("wait at their instruction, which retires when they are answered", () => {
    const { kernel } = guest([p.load32(3, 1), p.store32(3, 1), a.nop]);
    kernel.writeRegister(0, "x1", BigInt(UART));
    toExit(kernel);
    expect([...kernel.exit.subarray(ExitWord.finishedBy, ExitWord.rule)]).toEqual([
      FinishedBy.vmmHalf,
      KvmExit.mmio,
      4,
    ]);
    expect(frameU64(kernel.exit, ExitWord.arg0Low)).toBe(BigInt(UART));
    expect(() => kernel.run(100)).toThrow("run while an exit is pending");
    expect(() => kernel.finishExit()).toThrow("the other half's");
    kernel.completeExit(0x1234_5678, 0);
    expect([kernel.icount, kernel.exitPending]).toEqual([0, false]);
    toExit(kernel);
    expect(kernel.icount).toBe(1);
    expect(arm64.describeExit(kvmArm64, kernel.exit)).toBe("MMIO write 0x09000000 4 <- 0x12345678");
    kernel.completeExit(0, 0);
    expect(kernel.icount).toBe(2);
    expect(kernel.readRegister(0, "pc")).toBe(BigInt(CODE + 8));
  });

  it("of a pair leave one by one, and the instruction counts once", () => {
    const { kernel } = guest([p.storePair(3, 4, 1), p.loadPair(5, 6, 1), ...p.systemOff]);
    kernel.writeRegister(0, "x1", BigInt(UART));
    kernel.writeRegister(0, "x3", 0x1111n);
    kernel.writeRegister(0, "x4", 0x2222n);
    const trace = runOn(kernel, { readMmio: (physical) => physical & 0xff });
    expect(trace.exits.slice(0, 4)).toEqual([
      "0 vcpu0 MMIO write 0x09000000 8 <- 0x0000000000001111",
      "0 vcpu0 MMIO write 0x09000008 8 <- 0x0000000000002222",
      "1 vcpu0 MMIO read 0x09000000 8",
      "1 vcpu0 MMIO read 0x09000008 8",
    ]);
    expect([kernel.readRegister(0, "x5"), kernel.readRegister(0, "x6")]).toEqual([0n, 8n]);
  });

  it("to the GIC are the kernel half's", () => {
    const { kernel } = guest([...a.moveImmediate(1, BigInt(p.GICD + 8)), p.load32(3, 1), ...p.systemOff]);
    toExit(kernel);
    expect(kernel.exit[ExitWord.finishedBy]).toBe(FinishedBy.kernelHalf);
    expect(() => {
      kernel.completeExit(0, 0);
    }).toThrow("the other half's");
    expect(kernel.finishExit()).toBe(true);
    expect(kernel.answerLow).toBe(0x4b00343b);
    runOn(kernel);
    expect(kernel.readRegister(0, "x3")).toBe(0x4b00343bn);
  });

  it("across the end of the GIC's frame are divided between the halves", () => {
    const { kernel } = guest([...a.moveImmediate(1, BigInt(p.GICD + 0xfffc)), a.load(3, 1)]);
    toExit(kernel);
    expect([kernel.exit[ExitWord.finishedBy], kernel.exit[ExitWord.info]]).toEqual([FinishedBy.kernelHalf, 4]);
    kernel.finishExit();
    toExit(kernel);
    expect([kernel.exit[ExitWord.finishedBy], kernel.exit[ExitWord.info]]).toEqual([FinishedBy.vmmHalf, 4]);
  });
});

describe("hypercalls", () => {
  it("in a forwarded range leave for the VMM with the id, the conduit and the deciding event (A21, A22, A24, A25)", () => {
    const { kernel } = guest([a.hvc(0), a.smc(0)]);
    configure(kernel, ["smccc-filter", "0xc6000000+0x100=forward"]);
    for (const [index, value] of [0xc600_0001n, 0x1000n, 0x2000n, 0x3000n].entries())
      kernel.writeRegister(0, `x${index}`, value);
    toExit(kernel);
    expect([...kernel.exit.subarray(ExitWord.finishedBy, ExitWord.pcLow)]).toEqual([
      FinishedBy.vmmHalf,
      KvmExit.hypercall,
      0,
      7,
    ]);
    expect(
      [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low].map((word) =>
        frameU64(kernel.exit, word),
      ),
    ).toEqual([0xc600_0001n, 0x1000n, 0x2000n, 0x3000n]);
    expect(arm64.describeExit(kvmArm64, kernel.exit)).toBe("HVC64 0xc6000001");
    kernel.completeExit(0, 0);
    toExit(kernel);
    expect(reasonOf(kernel)).toBe("SMC64");
    expect(kernel.exit[ExitWord.info]).toBe(1);
    expect(framePc(kernel)).toBe(8);
    // The VMM answers through registers; doing nothing leaves the id in x0 (A23, A26).
    expect(kernel.readRegister(0, "x0")).toBe(0xc600_0001n);
    kernel.writeRegister(0, "x0", 5n);
    kernel.completeExit(0, 0);
    expect(kernel.readRegister(0, "x0")).toBe(5n);
  });

  it("that nobody serves get -1 and zeros, and SMC with an immediate gets -1 whatever is forwarded (A27, A28)", () => {
    const { kernel } = guest([a.hvc(9), a.smc(1)]);
    configure(kernel, ["smccc-filter", "0xc6000000+0x100=forward"]);
    expect(arm64.pendingExit?.(kernel.save())).toBeUndefined();
    for (const register of ["x0", "x1", "x2", "x3"]) kernel.writeRegister(0, register, 0xc600_0100n);
    toExit(kernel);
    // As KVM does, HVC's immediate is not looked at.
    expect(arm64.describeExit(kvmArm64, kernel.exit)).toBe("HVC64 0xc6000100 #9");
    expect(arm64.unruledCall?.(kernel.exit)).toBeUndefined();
    expect(arm64.pendingExit?.(kernel.save())).toEqual(kernel.exit);
    expect(kernel.finishExit()).toBe(true);
    expect([kernel.answerLow, kernel.answerHigh]).toEqual([0xffff_ffff, 0xffff_ffff]);
    expect(["x0", "x1", "x2", "x3"].map((register) => kernel.readRegister(0, register))).toEqual([U64, 0n, 0n, 0n]);
    kernel.writeRegister(0, "x0", 0xc600_0001n);
    toExit(kernel);
    expect(kernel.exit[ExitWord.finishedBy]).toBe(FinishedBy.kernelHalf);
    expect(arm64.describeExit(kvmArm64, kernel.exit)).toBe("SMC64 0xc6000001 #1");
    expect(arm64.unruledCall?.(kernel.exit)).toBe("SMC #1 is no SMCCC call: only #0 is, so no filter is asked");
    kernel.finishExit();
    expect(kernel.readRegister(0, "x0")).toBe(U64);
  });

  it("for the workarounds are answered without an exit by HVC, not by SMC", () => {
    const { kernel } = guest([...p.call(0x8000_8000), ...a.moveImmediate(0, 0x8000_8000n), a.smc(0)]);
    toExit(kernel);
    expect([reasonOf(kernel), kernel.icount]).toEqual(["SMC64", 6]);
  });

  it("of SYSTEM_OFF stop every vCPU and leave a failure in x0 (C14)", () => {
    const { kernel } = guest([...p.systemOff]);
    toExit(kernel);
    expect([...kernel.exit.subarray(ExitWord.finishedBy, ExitWord.rule)]).toEqual([
      FinishedBy.vmmHalf,
      KvmExit.systemEvent,
      1,
    ]);
    expect(frameU64(kernel.exit, ExitWord.arg0Low)).toBe(0x8400_0008n);
    expect(kernel.readRegister(0, "x0")).toBe(BigInt.asUintN(64, -6n));
    kernel.completeExit(0, 0);
    expect(kernel.run(10_000)).toBe("stuck");
    expect(kernel.stuckReason).toBe("every vCPU is powered off");
  });

  it("of SYSTEM_RESET2 leave with the function, the guest's arguments, and the flags beside the type", () => {
    const { kernel } = guest([
      ...a.moveImmediate(1, 0x8000_0001n),
      ...a.moveImmediate(2, 0x77n),
      ...p.call(0xc400_0012),
    ]);
    toExit(kernel);
    const args = [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low];
    expect(args.map((word) => frameU64(kernel.exit, word))).toEqual([0xc400_0012n, 0x8000_0001n, 0x77n]);
    expect(systemEventOf(kernel.exit[ExitWord.info] ?? 0)).toEqual({ type: 2, flags: 1 });
  });

  it("of SYSTEM_SUSPEND leave registers alone (C10, C11)", () => {
    const { kernel } = guest([...p.call(0xc400_000e), a.nop]);
    configure(kernel, ["cap", "KVM_CAP_ARM_SYSTEM_SUSPEND"]);
    toExit(kernel);
    expect([kernel.exit[ExitWord.kvmExit], kernel.exit[ExitWord.info]]).toEqual([KvmExit.systemEvent, 5]);
    expect(kernel.readRegister(0, "x0")).toBe(0xc400_000en);
    kernel.completeExit(0, 0);
    expect(kernel.run(kernel.icount + 1)).toBe("limit");
  });
});

describe("system registers", () => {
  it("of the CPU interface, the virtual timer and the counters don't exit", () => {
    const words = [
      a.mrs(2, "ICC_CTLR_EL1"),
      a.mrs(3, "CNTVCT_EL0"),
      a.mrs(4, "CNTFRQ_EL0"),
      a.msr("CNTV_CVAL_EL0", 4),
      a.mrs(5, "CNTV_CVAL_EL0"),
    ];
    const { kernel } = guest([...p.spin(100), ...words, ...p.systemOff]);
    expect(runOn(kernel).exits).toEqual(["209 vcpu0 HVC64 0x84000008 PSCI SYSTEM_OFF"]);
    expect(["x2", "x3", "x4", "x5"].map((name) => kernel.readRegister(0, name))).toEqual([
      0x400n,
      BigInt(Math.floor((202 * 2) / 16)),
      62_500_000n,
      62_500_000n,
    ]);
  });

  it("that trap are read and written as if they did not, one unit each", () => {
    const words = [
      a.mrs(2, "ID_AA64MMFR0_EL1"),
      ...a.moveImmediate(3, 0x55n),
      a.msr("TTBR0_EL1", 3),
      a.msr("CNTP_CVAL_EL0", 3),
      a.mrs(4, "ICC_SRE_EL1"),
    ];
    const { kernel } = guest([...words, ...p.systemOff]);
    expect(runOn(kernel).exits).toEqual([
      "0 vcpu0 SYS64 id_aa64mmfr0_el1",
      "2 vcpu0 SYS64 ttbr0_el1 <- 0x55",
      "3 vcpu0 SYS64 cntp_cval_el0 <- 0x55",
      "4 vcpu0 SYS64 icc_sre_el1",
      "8 vcpu0 HVC64 0x84000008 PSCI SYSTEM_OFF",
    ]);
    expect(["x2", "ttbr0_el1", "cntp_cval_el0", "x4"].map((name) => kernel.readRegister(0, name))).toEqual([
      0x0f00_0022n,
      0x54n,
      0x55n,
      7n,
    ]);
  });

  it("give the value of a trapped read as the answer", () => {
    const { kernel } = guest([a.mrs(2, "ID_AA64MMFR0_EL1")]);
    toExit(kernel);
    expect(kernel.finishExit()).toBe(true);
    expect(kernel.answerLow).toBe(0x0f00_0022);
    expect(kernel.icount).toBe(1);
  });

  it("for memory control trap until MMU and caches are on", () => {
    const { kernel } = guest([
      ...a.moveImmediate(3, 0x30d0_1985n),
      a.msr("SCTLR_EL1", 3),
      a.msr("TTBR1_EL1", 3),
      a.nop,
    ]);
    // MMU on with the tables of TTBR0 at an empty page: the next fetch faults, which is enough to see.
    toExit(kernel);
    expect(arm64.describeExit(kvmArm64, kernel.exit)).toBe("SYS64 sctlr_el1 <- 0x30d01985");
    kernel.finishExit();
    expect(kernel.readRegister(0, "sctlr_el1") & 5n).toBe(5n);
    kernel.writeRegister(0, "sctlr_el1", 0x30d0_0980n);
    expect(kernel.run(kernel.icount + 2)).toBe("limit");
  });

  it("that are not there raise the undefined exception: the PMU's behind an exit, AP1R1 without", () => {
    const { kernel, place } = guest([a.mrs(2, "PMCR_EL0")]);
    place(VECTORS + VECTOR_SYNCHRONOUS, [...a.moveImmediate(4, BigInt(CODE + 0x100)), a.msr("ELR_EL1", 4), a.eret]);
    place(CODE + 0x100, [a.mrs(2, "ICC_AP1R1_EL1")]);
    toExit(kernel);
    expect(arm64.describeExit(kvmArm64, kernel.exit)).toBe("SYS64 pmcr_el0");
    kernel.finishExit();
    expect([kernel.icount, kernel.readRegister(0, "pc"), kernel.readRegister(0, "esr_el1")]).toEqual([
      1,
      BigInt(VECTORS + VECTOR_SYNCHRONOUS),
      0x0200_0000n,
    ]);
    kernel.run(6);
    expect([kernel.readRegister(0, "pc"), kernel.readRegister(0, "elr_el1")]).toEqual([
      BigInt(VECTORS + VECTOR_SYNCHRONOUS),
      BigInt(CODE + 0x100),
    ]);
  });

  it("that would enable a hardware breakpoint stop the VM by name, before the write", () => {
    const { kernel } = guest([...a.moveImmediate(2, 0x1e5n), a.msr("DBGBCR0_EL1", 2), a.nop]);
    expect(runOn(kernel).stop).toBe("stuck");
    expect(kernel.stuckReason).toBe(
      `vcpu0 writes 0x1e5 to dbgbcr0_el1 at 0x${(CODE + 4).toString(16)}: hardware breakpoints and watchpoints of the guest are not simulated`,
    );
    expect(kernel.readRegister(0, "dbgbcr0_el1")).toBe(0n);
    expect(kernel.icount).toBe(1);
  });
});

describe("timers and interrupts", () => {
  it("interrupt the guest at the first unit whose guest time has reached the compare value", () => {
    const { kernel, place } = guest([...p.openTimerInterrupt(), ...p.startTimer(100), ...p.spin(5000)]);
    place(VECTORS + VECTOR_IRQ, p.timerHandler(100));
    const trace = runOn(kernel, { limit: 5000 });
    const irqs = trace.exits.filter((line) => line.includes("IRQ")).map((line) => Number(line.split(" ")[0]));
    expect(irqs.length).toBeGreaterThan(4);
    const started = p.openTimerInterrupt().length + 1;
    expect(irqs[0]).toBe(Math.ceil(((Math.floor((started * 2) / 16) + 100) * 16) / 2));
    // Each handler writes TVAL in its fourth instruction, after the exception: the period follows exactly.
    for (const [index, at] of irqs.slice(1).entries()) {
      const written = (irqs[index] ?? 0) + 4;
      expect(at).toBe(Math.ceil(((Math.floor((written * 2) / 16) + 100) * 16) / 2));
    }
    expect(kernel.readRegister(0, "x22")).toBe(27n);
    expect(kernel.readRegister(0, "x21")).toBe(BigInt(irqs.length));
  });

  it("exit once while the guest has interrupts masked", () => {
    const { kernel } = guest([...p.openTimerInterrupt(), a.daifSet(2), ...p.startTimer(10), ...p.spin(5000)]);
    expect(runOn(kernel, { limit: 5000 }).exits.filter((line) => line.includes("IRQ"))).toHaveLength(1);
  });

  it("exit again when the guest ends an interrupt whose timer is still expired", () => {
    const { kernel, place } = guest([...p.openTimerInterrupt(), ...p.startTimer(10), ...p.spin(5000)]);
    place(VECTORS + VECTOR_IRQ, [a.mrs(22, "ICC_IAR1_EL1"), p.increment(21), a.msr("ICC_EOIR1_EL1", 22), a.eret]);
    const { exits } = runOn(kernel, { limit: 1000 });
    expect(exits.filter((line) => line.includes("IRQ")).length).toBeGreaterThan(50);
  });

  it("wake a waiting guest without an exit, at the timer's moment", () => {
    const { kernel, place } = guest([...p.openTimerInterrupt(), ...p.startTimer(100_000), a.wfi, ...p.systemOff]);
    place(VECTORS + VECTOR_IRQ, p.timerHandler(100_000));
    const toWfi = runOn(kernel, { limit: 19 });
    expect(toWfi.exits.filter((line) => line.includes("MMIO"))).toHaveLength(2);
    const trace = runOn(kernel);
    expect(trace.exits.map((line) => line.replace(/^\d+ vcpu0 /, ""))).toEqual([
      "WFx WFI",
      "HVC64 0x84000008 PSCI SYSTEM_OFF",
    ]);
    expect(kernel.readRegister(0, "x21")).toBe(1n);
    const started = p.openTimerInterrupt().length + 2;
    const behind = 1 + p.timerHandler(100_000).length + p.systemOff.length;
    expect(kernel.guestTimeNs).toBe((Math.floor((started * 2) / 16) + 100_000) * 16 + behind * 2);
  });

  it("leave a guest idle for ever that waits without a timer", () => {
    const { kernel } = guest([a.wfi, a.nop]);
    expect(runOn(kernel).stop).toBe("idle");
    expect(kernel.idleDeadlineNs).toBeUndefined();
    expect(kernel.canBeWoken).toBe(false);
    expect(() => {
      kernel.skipTo(-1);
    }).toThrow("can't go back");
    kernel.skipTo(1001);
    expect(kernel.guestTimeNs).toBe(1001);
    expect(kernel.run(100)).toBe("idle");
  });

  it("can wake a guest that waits without a timer once it has enabled one of a device", () => {
    const setup = [...p.openTimerInterrupt(), ...p.poke32(p.GICD + 0x104, 2)];
    const { kernel } = guest([...setup, a.wfi, a.nop]);
    expect(runOn(kernel).stop).toBe("idle");
    expect([kernel.idleDeadlineNs, kernel.canBeWoken]).toEqual([undefined, true]);
  });

  it("of a line raised while the guest runs are an IRQ exit; raised inside an exit they are none", () => {
    const setup = [...p.openTimerInterrupt(), ...p.poke32(p.GICD + 0x104, 2)];
    const { kernel, place } = guest([
      ...setup,
      ...p.spin(1000),
      ...a.moveImmediate(1, BigInt(UART)),
      p.load32(3, 1),
      ...p.spin(1000),
    ]);
    place(VECTORS + VECTOR_IRQ, [a.mrs(22, "ICC_IAR1_EL1"), p.increment(21), a.msr("ICC_EOIR1_EL1", 22), a.eret]);
    expect(runOn(kernel, { limit: 500 }).stop).toBe("limit");
    kernel.setIrqLine(1, 1);
    toExit(kernel);
    expect([reasonOf(kernel), kernel.icount]).toEqual(["IRQ", 500]);
    kernel.finishExit();
    kernel.run(503);
    expect(kernel.readRegister(0, "x22")).toBe(33n);
    kernel.setIrqLine(1, 0);
    toExit(kernel);
    expect(reasonOf(kernel)).toBe("DABT_LOW");
    kernel.setIrqLine(1, 1);
    kernel.completeExit(0, 0);
    expect(kernel.run(kernel.icount + 4)).toBe("limit");
    expect(kernel.readRegister(0, "x21")).toBe(2n);
    kernel.setIrqLine(1, 0);
    expect(kernel.run(kernel.icount + 100)).toBe("limit");
  });

  it("refuse a line that no SPI has", () => {
    expect(() => {
      guest([]).kernel.setIrqLine(224, 1);
    }).toThrow("SPI 224 is beyond the last, 223");
  });
});

describe("several vCPUs", () => {
  /** Both add to one counter by exclusives `count` times, then vCPU 1 turns itself off and vCPU 0 waits for it. */
  function counting(count: number) {
    const add = [
      ...a.moveImmediate(1, BigInt(DATA)),
      ...a.moveImmediate(9, BigInt(count)),
      p.loadExclusive(5, 1),
      p.increment(5),
      p.storeExclusive(6, 5, 1),
      p.branchIfNonZero32(6, -3),
      p.decrement(9),
      p.branchIfNotEqual(-5),
    ];
    const on = [
      ...a.moveImmediate(1, 1n),
      ...a.moveImmediate(2, BigInt(CODE + CODE_BYTES)),
      ...a.moveImmediate(3, 0x77n),
      ...p.call(0xc400_0003),
    ];
    const wait = [
      a.yieldHint,
      ...a.moveImmediate(1, 1n),
      ...a.moveImmediate(2, 0n),
      ...p.call(0xc400_0004),
      p.compareImmediate(0, 1),
      p.branchIfNotEqual(-7),
    ];
    const it = guest([...on, ...add, ...wait, ...p.systemOff], { vcpuCount: 2 });
    it.place(CODE + CODE_BYTES, [...a.moveImmediate(20, 0n), 0x9100_0014, ...add, ...p.call(0x8400_0002)]);
    return it;
  }

  it("start by CPU_ON with entry and context, run in turn, and lose no exclusive update", () => {
    const { kernel } = counting(20_000);
    const trace = runOn(kernel, { limit: 3_000_000 });
    expect(trace.stop).toBe("system event 1");
    expect(new DataView(kernel.memory.read(DATA, 8).buffer).getBigUint64(0, true)).toBe(40_000n);
    expect(kernel.readRegister(1, "x20")).toBe(0x77n);
    expect(kernel.readRegister(1, "mpidr_el1")).toBe(0x8000_0001n);
    expect(trace.exits.some((line) => line.includes("vcpu1 HVC64 0x84000002"))).toBe(true);
  });

  it("take the same turns however often an observer stops them", () => {
    const plain = counting(5000).kernel;
    const expected = runOn(plain, { limit: 3_000_000 });
    const watched = counting(5000).kernel;
    let state = 12345;
    const step = (): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return 1 + (state % 3000);
    };
    expect(runOn(watched, { limit: 3_000_000, step })).toEqual(expected);
    expect(watched.save()).toEqual(plain.save());
  });

  it("wake each other by SGIs and see each other's registers", () => {
    const boot = [...a.moveImmediate(1, 1n), ...a.moveImmediate(2, BigInt(CODE + CODE_BYTES)), ...p.call(0xc400_0003)];
    const send = [...a.moveImmediate(2, (5n << 24n) | 2n), a.msr("ICC_SGI1R_EL1", 2)];
    const it = guest(
      [...boot, ...p.poke32(p.GICD, 0x12), ...p.spin(60_000), ...send, ...p.spin(60_000), ...p.systemOff],
      { vcpuCount: 2 },
    );
    it.place(CODE + CODE_BYTES, [
      ...a.moveImmediate(2, 0xf0n),
      a.msr("ICC_PMR_EL1", 2),
      ...a.moveImmediate(2, 1n),
      a.msr("ICC_IGRPEN1_EL1", 2),
      a.wfi,
      a.mrs(20, "ICC_IAR1_EL1"),
      a.wfi,
    ]);
    const trace = runOn(it.kernel, { limit: 1_000_000 });
    expect(trace.stop).toBe("system event 1");
    expect(trace.exits.filter((line) => line.includes("WFI"))).toHaveLength(2);
    expect(trace.exits.some((line) => line.includes("SYS64 icc_sgi1r_el1"))).toBe(true);
    expect(it.kernel.readRegister(1, "x20")).toBe(5n);
  });
});

describe("looking at a guest", () => {
  it("names registers as the manuals do, and refuses what is not there", () => {
    const { kernel } = guest([]);
    const names = kernel.registers.map((register) => register.name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.slice(0, 35)).toEqual([...Array.from({ length: 31 }, (_, n) => `x${n}`), "sp", "pc", "pstate", "v0"]);
    for (const { name, bits } of kernel.registers) expect(kernel.readRegister(0, name) >> BigInt(bits)).toBe(0n);
    expect(kernel.readRegister(0, "pstate")).toBe(0x3c5n);
    expect(kernel.readRegister(0, "cpsr")).toBe(0x3c5n);
    expect(() => kernel.readRegister(0, "rax")).toThrow("arm64 has no register rax");
    expect(() => {
      kernel.writeRegister(0, "x0", -1n);
    }).toThrow("x0 has 64 bits");
    expect(() => {
      kernel.writeRegister(0, "id_aa64pfr0_el1", 0n);
    }).toThrow("can't be written");
    expect(() => {
      kernel.writeRegister(0, "pstate", 0x9n);
    }).toThrow("none of EL0t");
  });

  it("swaps stack pointers with pstate and keeps both", () => {
    const { kernel } = guest([]);
    kernel.writeRegister(0, "sp_el0", 0x100n);
    kernel.writeRegister(0, "sp_el1", 0x200n);
    expect(kernel.readRegister(0, "sp")).toBe(0x200n);
    kernel.writeRegister(0, "pstate", 0x8000_0000n);
    expect([kernel.readRegister(0, "sp"), kernel.readRegister(0, "sp_el1"), kernel.readRegister(0, "pstate")]).toEqual([
      0x100n,
      0x200n,
      0x8000_0000n,
    ]);
  });

  it("translates, disassembles and walks callers", () => {
    const { kernel, place } = guest([]);
    // f: stp x29, x30, [sp, #-16]!; mov x29, sp; bl g; g: nop; nop
    place(CODE, [0xa9bf7bfd, 0x910003fd, 0x94000002, a.nop, a.nop, a.nop, 0xd65f03c0]);
    kernel.writeRegister(0, "sp", BigInt(DATA));
    kernel.writeRegister(0, "x29", BigInt(DATA + 0x100));
    kernel.writeRegister(0, "x30", 0x4444n);
    const outer = new BigUint64Array([0n, 0x5555n]);
    kernel.memory.write(DATA + 0x100, new Uint8Array(outer.buffer));
    kernel.run(5);
    expect(kernel.readRegister(0, "pc")).toBe(BigInt(CODE + 24));
    expect(kernel.backtrace(0, 10)).toEqual([BigInt(CODE + 12), 0x4444n, 0x5555n]);
    expect(kernel.backtrace(0, 1)).toEqual([BigInt(CODE + 12)]);
    expect(kernel.translate(0, BigInt(CODE))).toBe(CODE);
    expect(kernel.translate(0, 1n << 50n)).toBeUndefined();
    expect(kernel.disassemble(0, BigInt(CODE), 3).map((line) => line.text)).toEqual([
      "stp x29, x30, [sp, #-16]!",
      "mov x29, sp",
      "bl 0x40001010",
    ]);
  });

  it("stops behind a watched write whose instruction also writes to a device, once the device has it", () => {
    const end = RAM_BASE + RAM_BYTES;
    const { kernel } = guest([a.store(2, 1), a.nop]);
    kernel.writeRegister(0, "x1", BigInt(end - 4));
    kernel.watch?.(end - 4, 4);
    toExit(kernel);
    expect(arm64.describeExit(kvmArm64, kernel.exit)).toContain(`MMIO write 0x${end.toString(16)} 4`);
    kernel.memory.write(end - 2, Uint8Array.of(1));
    kernel.completeExit(0, 0);
    expect(kernel.run(100)).toBe("watch");
    expect([kernel.icount, kernel.watchReport]).toEqual([
      1,
      { vcpu: 0, pc: BigInt(CODE), physical: end - 4, bytes: 4 },
    ]);
    expect(kernel.run(2)).toBe("limit");
  });

  it("stops behind an instruction that writes where it watches", () => {
    const { kernel } = guest([...a.moveImmediate(1, BigInt(DATA)), p.store32(2, 1), a.store(2, 1), a.nop]);
    kernel.watch?.(DATA + 4, 4);
    expect(kernel.run(100)).toBe("watch");
    expect(kernel.icount).toBe(4);
    expect(kernel.watchReport).toEqual({ vcpu: 0, pc: BigInt(CODE + 12), physical: DATA + 4, bytes: 4 });
    kernel.watch?.(0, 0);
  });
});

describe("a break pc", () => {
  const SEV = 0xd503_209f;
  const at = (index: number): bigint => BigInt(CODE + 4 * index);

  it("stops in front of its instruction each time, and goes on once it is gone", () => {
    const { kernel } = guest([a.nop, a.nop, a.nop, a.branch(-8)]);
    const stops = [at(2), at(2), at(1), undefined].map((pc) => {
      kernel.breakAt?.(undefined);
      kernel.run(kernel.icount + 1);
      kernel.breakAt?.(pc);
      return [kernel.run(20), kernel.icount, kernel.readRegister(0, "pc")];
    });
    expect(stops).toEqual([
      ["breakpoint", 2, at(2)],
      ["breakpoint", 5, at(2)],
      ["breakpoint", 7, at(1)],
      ["limit", 20, at(2)],
    ]);
  });

  it("is seen at the limit, behind an instruction that the kernel half had to do with", () => {
    const { kernel } = guest([SEV, a.nop]);
    kernel.breakAt?.(at(1));
    expect([kernel.run(1), kernel.icount]).toEqual(["breakpoint", 1]);
  });

  it("is seen in front of the exit for a timer that expires there", () => {
    const words = [...p.startTimer(10), ...p.spin(1000)];
    const { kernel } = guest(words);
    toExit(kernel);
    while (reasonOf(kernel) !== "IRQ") {
      kernel.finishExit();
      toExit(kernel);
    }
    const { icount } = kernel;
    const pc = kernel.readRegister(0, "pc");
    const again = guest(words).kernel;
    while (again.icount < icount - 1) if (again.run(icount - 1) === "exit") again.finishExit();
    again.breakAt?.(pc);
    expect([again.run(icount + 1), again.icount, again.exitPending]).toEqual(["breakpoint", icount, false]);
    again.breakAt?.(undefined);
    expect(again.run(icount + 1)).toBe("exit");
    expect(reasonOf(again)).toBe("IRQ");
  });
});
