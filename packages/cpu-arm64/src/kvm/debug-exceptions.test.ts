import { describe, expect, it } from "@jest/globals";
import { Engine } from "@hvjournal/engine";
import { cortexA57 } from "../isa/cpu.js";
import { mdcrEl2 } from "../isa/system-registers.js";
import * as a from "../isa/testing/encodings.js";
import { VIRT_BOARD } from "./architecture.js";
import { Arm64KernelHalf } from "./kernel-half.js";
import {
  answerExit,
  CODE,
  CountingEntropy,
  type Guest,
  guest,
  RAM_BASE,
  RAM_BYTES,
  runOn,
  VECTOR_SYNCHRONOUS,
  VECTORS,
} from "./testing/guest.js";
import { Vm } from "./vm.js";

const MDSCR_SS = 1n;
const MDSCR_KDE = 1n << 13n;
const MDSCR_MDE = 1n << 15n;
const SPSR_SS = 1n << 21n;
/** EL1h with D clear and the other masks set. */
const EL1H_STEPPABLE = 0x1c5n;
const STEP_FROM_EL1 = 0xce00_0022n;
const ISV = 1n << 24n;
const STEPPED = CODE + 0x100;

/** At EL1, an ERET that steps the first of `words`. */
function stepping(words: readonly number[]): Guest {
  const it = guest([a.eret]);
  it.place(STEPPED, words);
  it.kernel.writeRegister(0, "mdscr_el1", MDSCR_SS | MDSCR_KDE);
  it.kernel.writeRegister(0, "spsr_el1", EL1H_STEPPABLE | SPSR_SS);
  it.kernel.writeRegister(0, "elr_el1", BigInt(STEPPED));
  return it;
}

function runTo({ kernel }: Guest, icount: number): void {
  while (kernel.icount < icount) if (kernel.run(icount) === "exit") answerExit(kernel);
}

describe("software step by the guest's own debugger", () => {
  it.each([
    ["a counter that the kernel half reads", a.mrs(1, "CNTVCT_EL0"), 0n],
    ["an interface register that the kernel half writes", a.msr("ICC_PMR_EL1", 1), 0n],
    ["a register that exits and is the kernel half's", a.mrs(1, "CNTP_CTL_EL0"), 0n],
    ["a register that exits and is the vCPU's", a.mrs(1, "ACTLR_EL1"), ISV],
    ["a hypercall", a.hvc(0), ISV],
    ["an SMC", a.smc(0), 0n],
  ])("stops behind %s", (_what, word, flags) => {
    const it = stepping([word, a.nop]);
    // ERET, the stepped instruction, the step exception.
    runTo(it, 3);
    expect(it.kernel.readRegister(0, "pc")).toBe(BigInt(VECTORS + VECTOR_SYNCHRONOUS));
    expect(it.kernel.readRegister(0, "elr_el1")).toBe(BigInt(STEPPED + 4));
    expect(it.kernel.readRegister(0, "esr_el1").toString(16)).toBe((STEP_FROM_EL1 | flags).toString(16));
  });

  it("shows in PSTATE, and is saved before and behind the stepped instruction", () => {
    const from = stepping([a.nop, a.nop]);
    runTo(from, 1);
    expect(from.kernel.readRegister(0, "pstate") & SPSR_SS).toBe(SPSR_SS);
    for (const icount of [1, 2]) {
      runTo(from, icount);
      const to = stepping([a.nop, a.nop]);
      to.kernel.restore(from.kernel.save());
      expect(to.kernel.save()).toEqual(from.kernel.save());
      runTo(to, 3);
      expect(to.kernel.readRegister(0, "elr_el1")).toBe(BigInt(STEPPED + 4));
      expect(to.kernel.readRegister(0, "esr_el1")).toBe(STEP_FROM_EL1 | ISV);
    }
    expect(from.kernel.readRegister(0, "pstate") & SPSR_SS).toBe(0n);
    from.kernel.writeRegister(0, "pstate", EL1H_STEPPABLE | SPSR_SS);
    expect(from.kernel.readRegister(0, "pstate") & SPSR_SS).toBe(SPSR_SS);
  });

  it("leaves the bit of monitor debug events to the guest: none is enabled", () => {
    const { kernel } = guest([a.msr("MDSCR_EL1", 1), a.nop, a.nop]);
    kernel.writeRegister(0, "x1", MDSCR_MDE | MDSCR_KDE);
    expect(runOn(kernel, { limit: 3 }).stop).toBe("limit");
    expect(kernel.readRegister(0, "mdscr_el1")).toBe(MDSCR_MDE | MDSCR_KDE);
  });
});

describe("a hardware breakpoint that the guest enables", () => {
  const ENABLED = 0x1e5n;

  function expectStuck(kernel: Arm64KernelHalf | Guest["kernel"]): void {
    expect(runOn(kernel).stop).toBe("stuck");
    expect(kernel.stuckReason).toBe(
      `vcpu0 writes 0x1e5 to dbgwcr2_el1 at 0x${(CODE + 4).toString(16)}: hardware breakpoints and watchpoints of the guest are not simulated`,
    );
    expect([kernel.icount, kernel.readRegister(0, "dbgwcr2_el1")]).toEqual([1, 0n]);
    expect(kernel.run(100)).toBe("stuck");
  }
  const words = [...a.moveImmediate(2, ENABLED), a.msr("DBGWCR2_EL1", 2)];

  it("stops the VM by name when the hypervisor lets the trapped write through", () => {
    expectStuck(guest(words).kernel);
  });

  it("stops the VM by name when nothing traps the write", () => {
    const engine = new Engine(cortexA57, { ramBase: RAM_BASE, ramBytes: RAM_BYTES, vcpuCount: 1 });
    const entropy = new CountingEntropy();
    const kernel = new Arm64KernelHalf(
      new Vm(engine, { vcpuCount: 1, entropy, gic: VIRT_BOARD.gic, wallClockBaseNs: 0n }),
    );
    engine.writeField(mdcrEl2, 0n);
    kernel.memory.write(CODE, new Uint8Array(Uint32Array.from(words).buffer));
    kernel.writeRegister(0, "pc", BigInt(CODE));
    expectStuck(kernel);
  });
});
