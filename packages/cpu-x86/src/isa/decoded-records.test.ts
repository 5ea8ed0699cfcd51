/** Records of instructions of variable length, which stand in the order in which they were run, stay true to the code. */
import { describe, expect, it } from "@jest/globals";
import { EngineExit } from "@hvjournal/engine";
import { ExitCode } from "./exit-code.js";
import { hotVariants } from "./hot-variants.js";
import { CODE, machine, type Machine } from "./testing/machine.js";

const NOP = 0x90;
const HLT = 0xf4;

/** Inline variants have smaller records. */
const guests = {
  "out of line": machine([], { tier: "interpreter" }),
  inline: machine([], { tier: "interpreter", profile: hotVariants }),
  "with regions": machine([], { tier: "regions", profile: hotVariants }),
};

function start(guest: Machine, code: readonly number[], rip = CODE): void {
  guest.place(CODE, code);
  for (const name of ["rax", "rbx", "rcx"]) guest.set(name, 0);
  guest.set("rip", rip);
}

describe.each(Object.entries(guests))("decoded records, %s", (_tier, guest) => {
  it("are made anew each time that code is written, beyond the room of their page", () => {
    const turns = 6000;
    const code = [
      ...[0xb9, turns & 0xff, turns >> 8, 0, 0], // mov ecx, turns
      ...[0x89, 0x0d, 1, 0, 0, 0], // mov [rip+1], ecx: the number of the next instruction
      ...[0x05, 0, 0, 0, 0], // add eax, 0
      ...[0xff, 0xc9], // dec ecx
      ...[0x75, 0x100 - 15], // jnz
      HLT,
    ];
    start(guest, code);
    expect(guest.engine.run(100_000)).toBe(ExitCode.halt);
    expect(guest.get("rax")).toBe(BigInt((turns * (turns + 1)) / 2));
  });

  it("of instructions that overlap stand side by side, and go on alike", () => {
    const code = [
      ...[0xb8, 0x48, 0xff, 0xc3, NOP], // mov eax, 0x90c3ff48; one byte on: inc rbx; nop
      ...[0xff, 0xc1], // inc ecx
      ...[0x83, 0xf9, 101], // cmp ecx, 101
      ...[0x74, 0x07], // je
      ...[0xf6, 0xc1, 1], // test cl, 1
      ...[0x75, 0x100 - 16], // jnz: one byte on
      ...[0xeb, 0x100 - 19], // jmp: to the start
      HLT,
    ];
    start(guest, code);
    expect(guest.engine.run(100_000)).toBe(ExitCode.halt);
    expect([guest.get("rcx"), guest.get("rbx"), guest.get("rax")]).toEqual([101n, 50n, 0x90c3_ff48n]);
  });

  it("end with their page, and a run stops there where it is to", () => {
    const end = CODE + 0x1000;
    start(guest, [...new Array<number>(0x1000).fill(NOP), NOP, HLT], end - 3);
    // Twice: what is decoded the first time runs the second.
    for (let time = 0; time < 2; time++) {
      guest.set("rip", end - 3);
      expect([guest.engine.run(3), guest.get("rip")]).toEqual([EngineExit.budget, BigInt(end)]);
      guest.set("rip", end - 3);
      expect([guest.engine.run(9, BigInt(end)), guest.get("rip")]).toEqual([EngineExit.breakpoint, BigInt(end)]);
      // Not at the start of the page itself, whose offset is the same in its page.
      guest.set("rip", end - 3);
      expect([guest.engine.run(9, BigInt(CODE)), guest.get("rip")]).toEqual([ExitCode.halt, BigInt(end + 2)]);
    }
  });
});
