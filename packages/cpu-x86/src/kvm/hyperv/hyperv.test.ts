import { describe, expect, it } from "@jest/globals";
import { ExitWord, frameU64, type KernelHalfOptions, KvmExit } from "@hvjournal/core";
import { kvmAmd } from "../exit-model.js";
import * as a from "../testing/assembler.js";
import { Configured } from "../testing/configure.js";
import { CODE, DATA, type Guest, guest, runOn } from "../testing/guest.js";
import { HypervMsr as M } from "./registers.js";

const HANDLER = CODE + 0x800;
const PAGE = 0x5_0000;
const OS_ID = 0x8100_0000_0000_0001n;
const GENERAL_PROTECTION = 13;
const INVALID_OPCODE = 6;

interface Enlightened extends Guest {
  readonly control: Configured;
  readonly word: (address: number) => bigint;
}

/** A guest with all enlightenments that has said who it is; exceptions halt at `HANDLER`. */
function enlightened(program: readonly number[], options: Partial<KernelHalfOptions> = {}): Enlightened {
  const made = guest([...a.writeMsr(M.HV_X64_MSR_GUEST_OS_ID, OS_ID), ...program, ...a.hlt], options);
  const control = new Configured(made.kernel);
  expect(control.set("hv", "all")).toBe("0");
  for (const vector of [GENERAL_PROTECTION, INVALID_OPCODE]) made.setGate(vector, HANDLER);
  made.place(HANDLER, a.hlt);
  const word = (address: number): bigint => {
    const bytes = made.kernel.memory.read(address, 8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  };
  return { ...made, control, word };
}

/** What a call with these parameters gives back. */
function call(input: bigint, parameters: readonly [bigint, bigint] = [0n, 0n], memory: readonly bigint[] = []): bigint {
  const it = enlightened(a.vmcall);
  place(it, memory);
  setParameters(it, input, parameters);
  expect(runOn(it.kernel, { limit: 20 }).stop).toBe("idle");
  return it.kernel.readRegister(0, "rax");
}

function place({ kernel }: Guest, words: readonly bigint[]): void {
  kernel.memory.write(DATA, new Uint8Array(BigUint64Array.from(words).buffer));
}

/** In place of the identity's own WRMSR: registers as they are to be at the call. */
function setParameters(it: Enlightened, input: bigint, [first, second]: readonly [bigint, bigint]): void {
  expect(it.kernel.run(100)).toBe("exit");
  it.kernel.finishExit();
  expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(CODE + 17));
  it.kernel.writeRegister(0, "rcx", input);
  it.kernel.writeRegister(0, "rdx", first);
  it.kernel.writeRegister(0, "r8", second);
}

describe("Hyper-V's discovery", () => {
  it.each([
    ["is by its own leaves", undefined, 0n],
    ["is by its own leaves, above which stand KVM's if asked for", "kvm", 0x4000_0110n],
  ])("%s", (_, hypervisor, kvmLeaf) => {
    const it = guest([
      ...a.cpuid(0x4000_0000),
      ...a.storeAt(DATA),
      ...a.cpuid(0x4000_0003),
      ...a.storeAt(DATA + 8),
      ...a.cpuid(0x4000_0100),
      ...a.storeAt(DATA + 16),
      ...a.hlt,
    ]);
    const control = new Configured(it.kernel);
    expect(control.set("hv", "all")).toBe("0");
    if (hypervisor !== undefined) expect(control.set("policy", `x86.cpuid.hypervisor=${hypervisor}`)).toBe("0");
    runOn(it.kernel);
    const words = [0, 8, 16].map((at) => {
      const { buffer, byteOffset } = it.kernel.memory.read(DATA + at, 8);
      return new DataView(buffer, byteOffset).getBigUint64(0, true);
    });
    expect(words).toEqual([0x4000_0005n, 0xaaffn, kvmLeaf]);
  });

  it("needs what QEMU says that it needs, and can't change once a vCPU has run", () => {
    const it = guest(a.hlt);
    const control = new Configured(it.kernel);
    expect(control.set("hv", "synic")).toBe("EINVAL");
    expect(control.set("hv", "vpindex,synic")).toBe("0");
    it.kernel.run(1);
    expect(control.set("hv", "vpindex")).toBe("EINVAL");
    expect(control.set("hv", "vpindex,synic")).toBe("0");
    expect(control.set("hv", "warp-drive")).toContain("'warp-drive' is none of");
  });
});

describe("Hyper-V's MSRs", () => {
  it.each([
    ["intel", {}, [0x0f, 0x01, 0xc1, 0xc3]],
    ["amd", { exitModel: kvmAmd }, [0x0f, 0x01, 0xd9, 0xc3]],
  ])("put the call of %s into the guest's page, and no more", (_vendor, options, expected) => {
    const it = enlightened(a.writeMsr(M.HV_X64_MSR_HYPERCALL, BigInt(PAGE | 1)), options);
    it.place(PAGE, [1, 2, 3, 4, 5]);
    runOn(it.kernel);
    expect([...it.kernel.memory.read(PAGE, 5)]).toEqual([...expected, 5]);
  });

  it("lose the page of calls with the guest's identity, and never have it without", () => {
    const it = enlightened([
      ...a.writeMsr(M.HV_X64_MSR_HYPERCALL, BigInt(PAGE | 1)),
      ...a.writeMsr(M.HV_X64_MSR_GUEST_OS_ID, 0n),
      ...a.readMsr(M.HV_X64_MSR_HYPERCALL),
      ...a.storeAt(DATA),
      ...a.writeMsr(M.HV_X64_MSR_HYPERCALL, BigInt(PAGE + 0x1001)),
      ...a.readMsr(M.HV_X64_MSR_HYPERCALL),
      ...a.storeAt(DATA + 8),
    ]);
    runOn(it.kernel);
    expect([it.word(DATA), it.word(DATA + 8)]).toEqual([BigInt(PAGE), BigInt(PAGE)]);
  });

  it("tell the time in units of 100 ns, by MSR and by the page", () => {
    const it = enlightened([
      ...a.writeMsr(M.HV_X64_MSR_REFERENCE_TSC, BigInt(PAGE | 1)),
      ...a.readMsr(M.HV_X64_MSR_TIME_REF_COUNT),
      ...a.storeAt(DATA),
    ]);
    runOn(it.kernel);
    const scale = it.word(PAGE + 8);
    const at = (ns: bigint): bigint => ((ns * scale) >> 64n) + BigInt.asIntN(64, it.word(PAGE + 16));
    expect(it.word(PAGE) & 0xffff_ffffn).toBe(1n);
    expect(Number(at(1_000_000_000n))).toBeCloseTo(10_000_000, -1);
    expect(it.word(DATA)).toBeLessThan(3n);
  });

  it.each([
    ["read of EOI", a.readMsr(M.HV_X64_MSR_EOI)],
    ["write of VP_INDEX", a.writeMsr(M.HV_X64_MSR_VP_INDEX, 0n)],
    ["SINT with a vector below 16", a.writeMsr(M.HV_X64_MSR_SINT0, 5n)],
    ["TSC_EMULATION_STATUS of 1", a.writeMsr(M.HV_X64_MSR_TSC_EMULATION_STATUS, 1n)],
    ["number that nobody has", a.readMsr(0x4000_00fe)],
  ])("refuse a %s by #GP", (_name, program) => {
    const it = enlightened(program);
    runOn(it.kernel);
    expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(HANDLER + 1));
  });

  it("are closed without their privilege where CPUID is enforced", () => {
    const it = guest([...a.readMsr(M.HV_X64_MSR_TIME_REF_COUNT), ...a.hlt]);
    const control = new Configured(it.kernel);
    control.set("hv", "vpindex");
    control.set("cap", "HYPERV_ENFORCE_CPUID=1");
    it.setGate(GENERAL_PROTECTION, HANDLER);
    it.place(HANDLER, a.hlt);
    runOn(it.kernel);
    expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(HANDLER + 1));
  });

  it.each([
    ["RESET", M.HV_X64_MSR_RESET, 1n, 2],
    ["CRASH_CTL", M.HV_X64_MSR_CRASH_CTL, 1n << 63n, 3],
  ])("tell the VMM of %s", (_name, msr, value, type) => {
    const it = enlightened(a.writeMsr(msr, value));
    expect(it.kernel.run(100)).toBe("exit");
    it.kernel.finishExit();
    expect(it.kernel.run(100)).toBe("exit");
    expect([it.kernel.exit[ExitWord.kvmExit], it.kernel.exit[ExitWord.info]]).toEqual([KvmExit.systemEvent, type]);
    it.kernel.completeExit(0, 0);
    expect(runOn(it.kernel).stop).toBe("idle");
  });
});

describe("Hyper-V's calls", () => {
  it.each([
    ["an unknown code", 0xbeefn, 2n],
    ["a reserved bit", (1n << 27n) | 0x2n, 3n],
    ["LONG_SPIN_WAIT", 0x10008n, 0n],
    ["LONG_SPIN_WAIT with reps", (1n << 32n) | 0x10008n, 3n],
    ["FLUSH_SPACE", 0x2n, 0n],
    ["FLUSH_LIST of two", (2n << 32n) | 0x3n, 2n << 32n],
    ["FLUSH_LIST from the second on", (1n << 48n) | (2n << 32n) | 0x3n, 3n],
    ["0x8042, behind the extended ones", 0x8042n, 2n],
    ["an extended one that is fast", 0x1_8001n, 5n],
  ])("answer %s", (_name, input, expected) => {
    expect(call(input)).toBe(expected);
  });

  it.each([
    ["fast", 0x1_000bn, [0x40n, 1n], [], 0n],
    ["by memory", 0xbn, [BigInt(DATA), 0n], [0x40n, 1n], 0n],
    ["with a vector below 16", 0x1_000bn, [0xfn, 1n], [], 3n],
    ["with a vector above 255", 0x1_000bn, [0x100n, 1n], [], 3n],
    ["to a bank", (1n << 17n) | 0x15n, [BigInt(DATA), 0n], [0x40n, 0n, 1n, 1n], 0n],
    ["to no bank", 0x15n, [BigInt(DATA), 0n], [0x40n, 0n, 0n], 0n],
    ["to a bank that the header does not count", 0x15n, [BigInt(DATA), 0n], [0x40n, 0n, 1n, 1n], 3n],
    ["to all", 0x15n, [BigInt(DATA), 0n], [0x40n, 1n, 0n], 0n],
  ] as const)("send an IPI %s", (_name, input, parameters, memory, expected) => {
    expect(call(input, parameters, memory)).toBe(expected);
  });

  it("take what is beyond two parameters of a fast call from XMM registers", () => {
    const it = enlightened(a.vmcall);
    setParameters(it, (1n << 17n) | 0x1_0015n, [0x40n, 0n]);
    it.kernel.writeRegister(0, "xmm0.q[0]", 1n);
    it.kernel.writeRegister(0, "xmm0.q[1]", 1n);
    runOn(it.kernel, { limit: 20 });
    expect(it.kernel.readRegister(0, "rax")).toBe(0n);
  });

  it("are the VMM's where they are extended, with its result", () => {
    const it = enlightened(a.vmcall);
    setParameters(it, 0x8001n, [0n, BigInt(DATA)]);
    expect(it.kernel.run(100)).toBe("exit");
    const { exit } = it.kernel;
    expect([exit[ExitWord.kvmExit], exit[ExitWord.info], frameU64(exit, ExitWord.arg0Low)]).toEqual([
      ...[KvmExit.hyperv, 2, 0x8001n],
    ]);
    expect(frameU64(exit, ExitWord.arg2Low)).toBe(BigInt(DATA));
    it.kernel.completeExit(0, 0);
    runOn(it.kernel);
    expect(it.kernel.readRegister(0, "rax")).toBe(0n);
  });

  it("are KVM's own as long as the guest has not said who it is", () => {
    const it = guest([...a.vmcall, ...a.hlt]);
    new Configured(it.kernel).set("hv", "all");
    it.kernel.writeRegister(0, "rax", 1n);
    runOn(it.kernel);
    expect(it.kernel.readRegister(0, "rax")).toBe(0n);
  });
});

describe("the synthetic timers", () => {
  it("interrupt directly at their moment, and again if they are periodic", () => {
    const config = (0x41n << 4n) | (1n << 12n) | 1n | 2n;
    const it = enlightened([
      ...a.store(0xfee0_00f0, 0x1ff),
      ...a.writeMsr(M.HV_X64_MSR_STIMER0_COUNT, 100n),
      ...a.writeMsr(M.HV_X64_MSR_STIMER0_CONFIG, config),
      ...a.sti,
      ...a.hlt,
      ...a.sti,
      ...a.hlt,
      ...a.writeMsr(M.HV_X64_MSR_STIMER0_COUNT, 0n),
      ...a.cli,
    ]);
    it.setGate(0x41, CODE + 0x900);
    it.place(CODE + 0x900, [...a.increment(DATA), ...a.writeMsr(M.HV_X64_MSR_EOI, 0n), ...a.iret]);
    const { stop } = runOn(it.kernel);
    expect(stop).toBe("idle");
    expect(it.word(DATA)).toBe(2n);
    expect(it.kernel.guestTimeNs).toBeGreaterThan(20_000);
  });

  it("write their message into the slot; the next one waits until it is free", () => {
    const config = (2n << 16n) | 1n;
    const it = enlightened([
      ...a.store(0xfee0_00f0, 0x1ff),
      ...a.writeMsr(M.HV_X64_MSR_SCONTROL, 1n),
      ...a.writeMsr(M.HV_X64_MSR_SIMP, BigInt(PAGE | 1)),
      ...a.writeMsr(M.HV_X64_MSR_SINT0 + 2, 0x42n),
      ...[0, 1].flatMap((timer) => [
        ...a.writeMsr(M.HV_X64_MSR_STIMER0_COUNT + 2 * timer, BigInt(100 + 50 * timer)),
        ...a.writeMsr(M.HV_X64_MSR_STIMER0_CONFIG + 2 * timer, config),
      ]),
      ...a.sti,
      ...a.hlt,
      ...a.hlt,
    ]);
    it.setGate(0x42, CODE + 0x900);
    it.place(CODE + 0x900, [...a.increment(DATA), ...a.writeMsr(M.HV_X64_MSR_EOI, 0n), ...a.iret]);
    expect(runOn(it.kernel).stop).toBe("idle");
    expect(it.kernel.guestTimeNs).toBe(15_000);
    // Type, size of the payload, the flag that another one waits; the timer's number.
    expect(it.word(PAGE + 0x200)).toBe(0x0118_8000_0010n);
    expect(it.word(PAGE + 0x210)).toBe(0n);
    expect(it.word(DATA)).toBe(1n);
  });
});
