/** Breakpoints at ports: Intel SDM volume 3, 18.2.4; CR4.DE. */
import { describe, expect, it } from "@jest/globals";
import { Vector } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import { Cr4 } from "./registers.js";
import { CODE, DATA, frameOf, handledVector, machine, type Machine } from "./testing/machine.js";
import { bytes } from "./testing/modes.js";

/** Breakpoint 1: enabled, at a port, of so many bytes. */
const portBreakpoint = (length: 1 | 2 | 4): number => 0x404 | (2 << 20) | ((length - 1) << 22);
const tiers = [
  ["handlers out of line", {}],
  ["compiled blocks", { tier: "blocks" }],
] as const;

/** Answers port accesses until the guest halts; gives how many there were. */
function runWithPorts(guest: Machine): number {
  for (let accesses = 0; accesses < 20; accesses++) {
    const exit = guest.engine.run(50);
    if (exit === ExitCode.halt) return accesses;
    expect([ExitCode.portRead, ExitCode.portWrite]).toContain(exit);
    guest.set("portData", 0x77);
    guest.set("portComplete", 1);
  }
  throw new Error("the guest goes on and on");
}

describe.each(tiers)("a breakpoint at a port, with %s", (_name, options) => {
  const at = (program: string, values: Readonly<Record<string, number | bigint>>): Machine => {
    const guest = machine(bytes(program), options);
    const all = { cr4: Cr4.PAE | Cr4.OSFXSR | Cr4.DE, dr6: 0xffff_0ff0, debugAddress1: 0x3f8, ...values };
    for (const [name, value] of Object.entries(all)) guest.set(name, value);
    return guest;
  };

  it("is a trap behind IN and OUT that touch it, once they are done", () => {
    // mov dr7,rax; mov dx,...: in al,dx; nop; hlt
    const guest = at("0f 23 f8 ec 90 f4", { rax: portBreakpoint(1), rdx: 0x3f8 });
    expect(runWithPorts(guest)).toBe(1);
    expect([handledVector(guest), frameOf(guest, false)["rip"], guest.get("dr6")]).toEqual([
      Vector.debug,
      BigInt(CODE + 4),
      0xffff_0ff2n,
    ]);
    expect(guest.get("rax") & 0xffn).toBe(0x77n);
    // out dx,eax of 0x3f6 to 0x3f9
    const overlapping = at("ef 90 f4", { dr7: portBreakpoint(1), rdx: 0x3f6 });
    runWithPorts(overlapping);
    expect([handledVector(overlapping), frameOf(overlapping, false)["rip"]]).toEqual([Vector.debug, BigInt(CODE + 1)]);
  });

  it("is not met by other ports, by memory, or without CR4.DE", () => {
    // in al,dx; push qword ptr [rdi]; hlt
    const program = "ec ff 37 f4";
    for (const values of [
      { rdx: 0x3f7, rdi: DATA },
      { rdx: 0x3fa, rdi: 0x3f8 + DATA, debugAddress1: 0x3f8 + DATA },
      { rdx: 0x3f8, rdi: DATA, cr4: Cr4.PAE | Cr4.OSFXSR },
    ]) {
      const guest = at(program, { ...values, dr7: portBreakpoint(2) });
      runWithPorts(guest);
      expect([guest.get("rip"), guest.get("dr6")]).toEqual([BigInt(CODE + 4), 0xffff_0ff0n]);
    }
  });

  it("stops a repetition behind each element", () => {
    // rep outsb; hlt
    const guest = at("f3 6e f4", { dr7: portBreakpoint(4), rdx: 0x3fb, rcx: 3, rsi: DATA });
    expect(runWithPorts(guest)).toBe(1);
    expect([handledVector(guest), guest.get("rcx"), frameOf(guest, false)["rip"]]).toEqual([
      Vector.debug,
      2n,
      BigInt(CODE),
    ]);
  });
});
