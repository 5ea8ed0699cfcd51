import { describe, expect, it } from "@jest/globals";
import { ExitWord, type KernelHalfOptions, KvmExit } from "@hvjournal/core";
import { kvmAmd, kvmIntel } from "./exit-model.js";
import * as a from "./testing/assembler.js";
import { Configured } from "./testing/configure.js";
import { CODE, DATA, type Guest, guest, reasonOf, runOn } from "./testing/guest.js";

const INVALID_OPCODE = 6;
const HANDLER = CODE + 0x800;

interface Caller extends Guest {
  readonly control: Configured;
  readonly rax: () => bigint;
}

/** A guest that makes a call with these registers, and halts; #UD halts too, one byte further. */
function caller(
  registers: Readonly<Record<string, bigint | number>>,
  call: readonly number[] = a.vmcall,
  options: Partial<KernelHalfOptions> = {},
): Caller {
  const made = guest([...call, ...a.hlt], options);
  for (const [name, value] of Object.entries(registers)) made.kernel.writeRegister(0, name, BigInt(value));
  made.setGate(INVALID_OPCODE, HANDLER);
  made.place(HANDLER, [...a.nop, ...a.hlt]);
  const { kernel } = made;
  return { ...made, control: new Configured(kernel), rax: () => BigInt.asIntN(64, kernel.readRegister(0, "rax")) };
}

const AMD = { exitModel: kvmAmd };
const INTEL = { exitModel: kvmIntel };

describe("KVM's hypercalls", () => {
  it.each([
    ["VAPIC_POLL_IRQ", { rax: 1 }, 0n],
    ["MMU_OP, which has gone", { rax: 2 }, -1000n],
    ["KICK_CPU of nobody", { rax: 5, rcx: 7 }, 0n],
    ["SCHED_YIELD", { rax: 11 }, 0n],
    ["MAP_GPA_RANGE, which nobody asked for", { rax: 12, rbx: 0x1000, rcx: 1 }, -1000n],
    ["an unknown one", { rax: 0x7fff }, -1000n],
    ["SEND_IPI to itself", { rax: 10, rbx: 1, rcx: 0, rdx: 0, rsi: 0x40 }, 1n],
    ["CLOCK_PAIRING of another type", { rax: 9, rbx: DATA, rcx: 1 }, -95n],
    ["CLOCK_PAIRING where there is no RAM", { rax: 9, rbx: 0xf000_0000, rcx: 0 }, -14n],
  ])("answer %s", (_name, registers, expected) => {
    const it = caller(registers);
    expect(runOn(it.kernel).stop).toBe("idle");
    expect(it.rax()).toBe(expected);
    expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(CODE + 4));
  });

  it("tell the wall clock and the counter of one moment", () => {
    const it = caller({ rax: 9, rbx: DATA, rcx: 0 }, a.vmcall, { wallClockBaseNs: 1_700_000_000_000_000_123n });
    runOn(it.kernel);
    const bytes = it.kernel.memory.read(DATA, 24);
    const view = new DataView(bytes.buffer, bytes.byteOffset, 24);
    const counter = view.getBigUint64(16, true);
    expect([view.getBigUint64(0, true), view.getBigUint64(8, true) - counter]).toEqual([1_700_000_000n, 123n]);
  });

  it("go to the VMM for MAP_GPA_RANGE where it asks, with good arguments only", () => {
    const good = caller({ rax: 12, rbx: 0x1000, rcx: 2, rdx: 0x10 });
    expect(good.control.set("cap", "EXIT_HYPERCALL=0x1001")).toBe("EINVAL");
    expect(good.control.set("cap", "EXIT_HYPERCALL=0x1000")).toBe("0");
    expect(good.kernel.run(100)).toBe("exit");
    const { exit } = good.kernel;
    expect([exit[ExitWord.kvmExit], exit[ExitWord.info], exit[ExitWord.arg0Low], exit[ExitWord.arg3Low]]).toEqual([
      ...[KvmExit.hypercall, 1, 12, 0x10],
    ]);
    expect(good.kernel.readRegister(0, "rip")).toBe(BigInt(CODE));
    good.kernel.completeExit(0xffff_ffff, 0xffff_ffff);
    runOn(good.kernel);
    expect(good.rax()).toBe(-1n);
    const bad = caller({ rax: 12, rbx: 0x1001, rcx: 1 });
    bad.control.set("cap", "EXIT_HYPERCALL=0x1000");
    runOn(bad.kernel);
    expect(bad.rax()).toBe(-22n);
  });
});

describe("the other vendor's call", () => {
  it.each([
    ["VMMCALL on Intel", a.vmmcall, INTEL, a.vmcall],
    ["VMCALL on AMD", a.vmcall, AMD, a.vmmcall],
  ])("%s is written over by the host's own, which is told, and then made", (_name, call, options, expected) => {
    const it = caller({ rax: 11 }, call, options);
    expect(it.kernel.run(100)).toBe("exit");
    const reason = options.exitModel.reasons[it.kernel.exit[ExitWord.reason] ?? 0]?.name;
    expect(reason).toBe(options === INTEL ? "EXCEPTION_NMI" : "EXCP_UD");
    expect(it.kernel.finishExit()).toBe(false);
    expect(it.kernel.codePatch).toEqual({
      ...{ vcpu: 0, physical: CODE },
      ...{ before: Uint8Array.from(call), after: Uint8Array.from(expected) },
    });
    expect([...it.kernel.memory.read(CODE, 3)]).toEqual([...expected]);
    runOn(it.kernel);
    expect(it.rax()).toBe(0n);
    expect(it.kernel.codePatch).toBeUndefined();
  });

  it("raises #UD with the policy off, and the code stays", () => {
    const it = caller({ rax: 11 }, a.vmmcall);
    expect(it.control.set("policy", "x86.hypercall.patch=ud")).toBe("0");
    expect(runOn(it.kernel).stop).toBe("idle");
    expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(HANDLER + 2));
    expect([...it.kernel.memory.read(CODE, 3)]).toEqual([...a.vmmcall]);
  });
});

describe("MSRs that the VMM answers", () => {
  const UNKNOWN = 0x1234;

  it("are those that it asked for: unknown, filtered, with a value that can't be", () => {
    const it = guest([...a.readMsr(UNKNOWN), ...a.readMsr(0x10), ...a.writeMsr(0x1b, 0xffn), ...a.hlt]);
    const control = new Configured(it.kernel);
    expect(control.set("cap", "X86_USER_SPACE_MSR=8")).toBe("EINVAL");
    expect(control.set("cap", "X86_USER_SPACE_MSR=6")).toBe("0");
    expect(control.set("msr-filter", "0x10+1=-")).toBe("0");
    it.setGate(13, HANDLER);
    it.place(HANDLER, a.hlt);
    const reasons: unknown[] = [];
    for (let exits = 0; exits < 2; exits++) {
      expect(it.kernel.run(1000)).toBe("exit");
      const { exit } = it.kernel;
      reasons.push([reasonOf(it.kernel), exit[ExitWord.kvmExit], exit[ExitWord.arg0Low], exit[ExitWord.arg2Low]]);
      it.kernel.completeExit(0x55, 0x66);
    }
    expect(reasons).toEqual([
      ["MSR_READ", KvmExit.x86Rdmsr, UNKNOWN, 2],
      ["MSR_READ", KvmExit.x86Rdmsr, 0x10, 4],
    ]);
    // The value of IA32_APIC_BASE is no reason that was asked for: #GP.
    expect(runOn(it.kernel).stop).toBe("idle");
    expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(HANDLER + 1));
  });

  it("give their data, or an error, which is #GP", () => {
    const it = guest([...a.readMsr(UNKNOWN), ...a.storeAt(DATA), ...a.readMsr(UNKNOWN), ...a.hlt]);
    new Configured(it.kernel).set("cap", "X86_USER_SPACE_MSR=2");
    it.setGate(13, HANDLER);
    it.place(HANDLER, a.hlt);
    expect(it.kernel.run(1000)).toBe("exit");
    it.kernel.completeExit(0x1234_5678, 0);
    expect(it.kernel.run(1000)).toBe("exit");
    it.kernel.writeRegister(0, "msr_error", 1n);
    it.kernel.completeExit(0, 0);
    expect(runOn(it.kernel).stop).toBe("idle");
    expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(HANDLER + 1));
    expect([...it.kernel.memory.read(DATA, 4)]).toEqual([0x78, 0x56, 0x34, 0x12]);
  });
});
