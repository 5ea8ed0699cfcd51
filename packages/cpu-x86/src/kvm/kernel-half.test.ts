import { describe, expect, it } from "@jest/globals";
import * as a from "./testing/assembler.js";
import { Configured } from "./testing/configure.js";
import { CODE, CountingEntropy, DATA, DEVICE, exitLine, guest, runOn, SERIAL } from "./testing/guest.js";

describe("a vCPU of the kernel half", () => {
  it("leaves for ports and devices that are not the kernel's, and goes on with the answers", () => {
    const { kernel } = guest([
      ...a.out8(SERIAL, 0x41),
      ...a.in8(SERIAL + 5),
      ...a.storeAt(DATA),
      ...a.store(DEVICE, 7),
      ...a.load(DEVICE + 4),
      ...a.storeAt(DATA + 4),
      ...a.hlt,
    ]);
    const { exits, stop } = runOn(kernel, { read: (place) => place & 0xff });
    expect(exits.map((line) => line.replace(/^\d+ vcpu0 /, ""))).toEqual([
      "IO write 0x03f8 1 <- 0x41",
      "IO read 0x03fd 1",
      "MMIO write 0xd0000000 4 <- 0x00000007",
      "MMIO read 0xd0000004 4",
      "HLT",
    ]);
    expect(stop).toBe("idle");
    expect([...kernel.memory.read(DATA, 1), ...kernel.memory.read(DATA + 4, 4)]).toEqual([0xfd, 4, 0, 0, 0]);
    expect(kernel.canBeWoken).toBe(false);
  });

  it("is at its instruction when it leaves for a port, and behind it once it is answered", () => {
    const { kernel } = guest([...a.out8(SERIAL, 1), ...a.hlt]);
    expect(kernel.run(100)).toBe("exit");
    expect(kernel.readRegister(0, "rip")).toBe(BigInt(CODE + 7));
    expect(kernel.icount).toBe(2);
    kernel.completeExit(0, 0);
    expect(kernel.run(3)).toBe("limit");
    expect(kernel.readRegister(0, "rip")).toBe(BigInt(CODE + 8));
  });

  it("tells CPUID, the counter and MSRs, and raises #GP for an MSR that nobody has", () => {
    const it = guest([
      ...a.cpuid(0x4000_0000),
      ...a.rdtsc,
      ...a.readMsr(0x1b),
      ...a.storeAt(DATA),
      ...a.readMsr(0x1234_5678),
    ]);
    it.setGate(13, CODE + 0x800);
    it.place(CODE + 0x800, a.hlt);
    const { exits, stop } = runOn(it.kernel);
    expect(exits.map((line) => line.split(" ").slice(2).join(" "))).toEqual([
      "CPUID 0x40000000.0",
      "MSR_READ IA32_APIC_BASE",
      "MSR_READ 0x12345678",
      "HLT",
    ]);
    expect(stop).toBe("idle");
    expect([...it.kernel.memory.read(DATA, 4)]).toEqual([0, 9, 0xe0, 0xfe]);
    expect(it.kernel.readRegister(0, "rbx")).toBe(0x4b4d_564bn);
    expect(it.kernel.readRegister(0, "rip")).toBe(BigInt(CODE + 0x801));
  });

  it("raises #UD for what its CPUID does not offer, and counts it by name", () => {
    // VZEROUPPER; the handler goes on to an encoding that nobody has (0F 04).
    const it = guest([0xc5, 0xf8, 0x77]);
    it.setGate(6, CODE + 0x800);
    it.place(CODE + 0x800, [
      ...a.increment(DATA),
      0x81,
      0x3c,
      0x25,
      ...[0, 0, 3, 0],
      ...[2, 0, 0, 0],
      0x74,
      2,
      0x0f,
      0x04,
      ...a.hlt,
    ]);
    const { exits, stop } = runOn(it.kernel);
    expect([exits.length, stop]).toEqual([1, "idle"]);
    expect([...it.kernel.memory.read(DATA, 1)]).toEqual([2]);
    expect([...it.kernel.unimplemented().keys()]).toEqual(["c5 (VEX: AVX, BMI)", "0f 04"]);
  });

  it("draws RDRAND and RDSEED of every size from the VM's entropy alone", () => {
    // rdrand rax; rdseed ecx; rdrand dx; hlt
    const program = [0x48, 0x0f, 0xc7, 0xf0, 0x0f, 0xc7, 0xf9, 0x66, 0x0f, 0xc7, 0xf2, 0xf4];
    const drawnWith = (seed: bigint): bigint[] => {
      const { kernel } = guest(program, { entropy: new CountingEntropy(seed) });
      for (const name of ["rax", "rcx", "rdx"]) kernel.writeRegister(0, name, -1n & 0xffff_ffff_ffff_ffffn);
      kernel.writeRegister(0, "rflags", 0x8d6n);
      expect(runOn(kernel).stop).toBe("idle");
      // CF alone is set.
      expect(kernel.readRegister(0, "rflags")).toBe(3n);
      return ["rax", "rcx", "rdx"].map((name) => kernel.readRegister(0, name));
    };
    const stream = new CountingEntropy(7n).stream("rdrand0");
    const [first, second, third] = [stream.next(), stream.next(), stream.next()];
    expect(drawnWith(7n)).toEqual([first, second & 0xffff_ffffn, 0xffff_ffff_ffff_0000n | (third & 0xffffn)]);
    expect(drawnWith(7n)).toEqual(drawnWith(7n));
    expect(drawnWith(8n)).not.toEqual(drawnWith(7n));
  });

  it.each([
    ["HLT", []],
    ["HLT that does not exit", [["cap", "X86_DISABLE_EXITS=2"]]],
  ] as const)("is woken from %s by its local APIC's timer, in TSC deadline mode, at the exact time", (_what, words) => {
    const it = guest([
      ...a.store(0xfee0_00f0, 0x1ff),
      ...a.store(0xfee0_0320, (2 << 17) | 0x40),
      ...a.writeMsr(0x6e0, 50_000n),
      ...a.sti,
      ...a.hlt,
      ...a.spin,
    ]);
    it.setGate(0x40, CODE + 0x800);
    it.place(CODE + 0x800, [...a.rdtsc, ...a.storeAt(DATA), ...a.store(0xfee0_00b0, 0), ...a.cli, ...a.hlt]);
    const control = new Configured(it.kernel);
    for (const [word, text] of words) expect(control.set(word, text)).toBe("0");
    const { exits, stop } = runOn(it.kernel);
    expect(stop).toBe("idle");
    const halts = words.length === 0 ? ["HLT"] : [];
    expect(exits.map((line) => line.replace(/^\d+ vcpu0 /, ""))).toEqual([
      "MMIO write 0xfee000f0 4 <- 0x000001ff",
      "MMIO write 0xfee00320 4 <- 0x00040040",
      "MSR_WRITE IA32_TSC_DEADLINE <- 0xc350",
      ...halts,
      "MMIO write 0xfee000b0 4 <- 0x00000000",
      ...halts,
    ]);
    const view = new DataView(it.kernel.memory.read(DATA, 4).buffer);
    // Delivery is a unit, RDTSC shows the time at which it begins.
    expect(view.getUint32(0, true)).toBe(50_002);
  });

  it("leaves when the timer expires while it runs, and is interrupted right there", () => {
    const it = guest([
      ...a.store(0xfee0_00f0, 0x1ff),
      ...a.store(0xfee0_0320, 0x40),
      ...a.store(0xfee0_03e0, 0xb),
      ...a.store(0xfee0_0380, 1000),
      ...a.sti,
      ...a.nop,
      ...a.spin,
    ]);
    it.setGate(0x40, CODE + 0x800);
    it.place(CODE + 0x800, a.hlt);
    const { exits } = runOn(it.kernel);
    const start = Number(/^\d+/.exec(exits[3] ?? "")?.[0]);
    expect(exits.at(-2)).toBe(`${start + 500} vcpu0 PREEMPTION_TIMER`);
    expect(exits.at(-1)).toBe(`${start + 502} vcpu0 HLT`);
  });

  it("starts another vCPU by INIT and SIPI, in real mode", () => {
    const it = guest(
      [
        ...a.store(0xfee0_00f0, 0x1ff),
        ...a.store(0xfee0_0310, 1 << 24),
        ...a.store(0xfee0_0300, 0x4500),
        ...a.store(0xfee0_0300, 0x4608),
        ...a.hlt,
      ],
      { vcpuCount: 2 },
    );
    // mov al, 0x42; out 0x80, al; hlt
    it.place(0x8000, [0xb0, 0x42, 0xe6, 0x80, 0xf4]);
    const { exits } = runOn(it.kernel);
    expect(exits.slice(-3).map((line) => line.replace(/^\d+ /, ""))).toEqual([
      "vcpu0 HLT",
      "vcpu1 IO write 0x0080 1 <- 0x42",
      "vcpu1 HLT",
    ]);
    expect(it.kernel.readRegister(1, "cs")).toBe(0x800n);
    expect(exitLine(it.kernel)).toContain("vcpu1");
  });
});
