/** Virtual-8086 mode by guests: a monitor at CPL 0, and code of 16 bits. Bytes are what GNU as makes of the text beside them. */
import { describe, expect, it } from "@jest/globals";
import { Vector } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import { Flag } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import { Segment } from "./state.js";
import { CODE, DATA, HANDLERS, handledVector, type Machine, Selector, STACK } from "./testing/machine.js";
import {
  addDescriptor,
  bytes,
  flags,
  Legacy,
  LEVEL0_ESP,
  protectedMode,
  setLegacyGate,
  setSegment,
  word32,
} from "./testing/modes.js";

const { P, S, code, conforming, writable, DB, G } = SegmentAttribute;
const tiers = [
  ["handlers out of line", {}],
  ["compiled blocks", { tier: "blocks" }],
] as const;
const [CS, SS, ES, DS, FS, GS] = [DATA >> 4, 0x3000, 0x1111, 0x2222, 0x3333, 0x4444];
const SP = 0x8000;
const IOPL3 = Flag.IOPL;

/** A monitor that has returned to `program` by IRETD. */
function virtual(program: string, extraFlags: number, options: object): Machine {
  // iretd
  const guest = protectedMode("cf", options);
  const frame = [0, CS, Flag.VM | extraFlags | 2, SP, SS, ES, DS, FS, GS];
  frame.forEach((word, index) => guest.setWord64(STACK - 36 + 4 * index, BigInt(word)));
  guest.set("rsp", STACK - 36);
  guest.place(DATA, bytes(program));
  guest.engine.run(1);
  return guest;
}

/** Frame of a handler at CPL 0, of words of 32 bits; `count` of them. */
function frameWords(guest: Machine, count: number): number[] {
  const rsp = Number(guest.get("rsp"));
  return Array.from({ length: count }, (_, index) => word32(guest, rsp + 4 * index));
}

function run(guest: Machine): number {
  expect(guest.engine.run(50)).toBe(ExitCode.halt);
  return handledVector(guest);
}

describe.each(tiers)("virtual-8086 mode with %s", (_name, options) => {
  it("is entered by IRET at CPL 0 with all segments, and runs code of 16 bits at CPL 3", () => {
    // mov ax,ds; mov [0x10],ax; jmp 0x2000:0x40
    const guest = virtual("8c d8 a3 10 00 ea 40 00 00 20", IOPL3, options);
    expect(["cpl", "rip", "rsp"].map(guest.get)).toEqual([3, DATA, SP].map(BigInt));
    expect([0, 1, 2, 3, 4, 5].map((index) => Number(guest.get(`segmentSelector${index}`)))).toEqual([
      ES,
      CS,
      SS,
      DS,
      FS,
      GS,
    ]);
    expect(guest.get(`segmentLimit${Segment.ds}`)).toBe(0xffffn);
    guest.engine.run(3);
    expect(word32(guest, (DS << 4) + 0x10) & 0xffff).toBe(DS);
    expect([guest.get("rip"), guest.get("segmentBase1")]).toEqual([0x2_0040n, 0x2_0000n]);
  });

  it("brings interrupts to the monitor with all segments on its stack, and IRET back", () => {
    // int 0x21; hlt
    const guest = virtual("cd 21 f4", IOPL3 | Flag.IF | Flag.CF, options);
    setLegacyGate(guest, 0x21, 0xee);
    // iretd
    guest.place(HANDLERS + 16 * 0x21, [0xcf]);
    guest.engine.run(1);
    const pushed = Flag.VM | IOPL3 | Flag.IF | Flag.CF | 2;
    expect(frameWords(guest, 9)).toEqual([2, CS, pushed, SP, SS, ES, DS, FS, GS]);
    expect([guest.get("cpl"), guest.get("rsp"), flags(guest) & (Flag.VM | Flag.IF)]).toEqual([
      0n,
      BigInt(LEVEL0_ESP - 36),
      0,
    ]);
    // The monitor begins with null data segments.
    expect([0, 3, 4, 5].map((index) => Number(guest.get(`segmentSelector${index}`)))).toEqual([0, 0, 0, 0]);
    guest.engine.run(1);
    expect([guest.get("rip"), guest.get("rsp"), flags(guest) & Flag.VM]).toEqual([
      BigInt(DATA + 2),
      BigInt(SP),
      Flag.VM,
    ]);
    // HLT is the system's.
    expect(run(guest)).toBe(Vector.generalProtection);
    expect(frameWords(guest, 3)).toEqual([0, 2, CS]);
  });

  it.each([
    ["PUSHF", "9c"],
    ["POPF", "9d"],
    ["CLI", "fa"],
    ["STI", "fb"],
    ["INT n", "cd 21"],
    ["IRET", "cf"],
  ])("refuses %s below IOPL 3", (_instruction, program) => {
    const guest = virtual(program, 2 << 12, options);
    setLegacyGate(guest, 0x21, 0xee);
    expect(run(guest)).toBe(Vector.generalProtection);
    expect(frameWords(guest, 3)).toEqual([0, 0, CS]);
  });

  it("lets INT3 through below IOPL 3", () => {
    const guest = virtual("cc", 0, options);
    setLegacyGate(guest, Vector.breakpoint, 0xee);
    expect(run(guest)).toBe(Vector.breakpoint);
    expect(frameWords(guest, 2)).toEqual([1, CS]);
  });

  it("pushes and pops flags at IOPL 3 without VM and IOPL", () => {
    // pushfd; popf; pop ax; push 0; popf; cli
    const guest = virtual("66 9c 9d 58 6a 00 9d fa 90", IOPL3 | Flag.IF | Flag.ZF, options);
    guest.engine.run(1);
    expect(word32(guest, (SS << 4) + SP - 4)).toBe(IOPL3 | Flag.IF | Flag.ZF | 2);
    guest.engine.run(4);
    expect(flags(guest)).toBe(Flag.VM | IOPL3);
    guest.engine.run(1);
    expect([guest.get("rip"), guest.get("rsp"), flags(guest)]).toEqual([BigInt(DATA + 8), BigInt(SP), Flag.VM | IOPL3]);
  });

  it("returns by IRET at IOPL 3 within the mode", () => {
    // push 0x402 (flags); push 0x2000; push 0x30; iret
    const guest = virtual("68 02 04 68 00 20 68 30 00 cf", IOPL3 | Flag.IF, options);
    guest.engine.run(4);
    expect(["cpl", "rip", "rsp"].map(guest.get)).toEqual([3, 0x2_0030, SP].map(BigInt));
    expect(flags(guest)).toBe(Flag.VM | IOPL3 | Flag.DF);
  });

  it("asks the bitmap of the TSS for every port", () => {
    // in al,0x60; in al,0x61
    const guest = virtual("e4 60 e4 61", IOPL3, options);
    const tss = 0x5800;
    guest.place(tss + 0x66, [0x68, 0]);
    guest.place(tss + 0x68 + 0x0c, [0x02, 0xff]);
    guest.set("segmentLimit7", 0x68 + 0x20);
    expect(guest.engine.run(5)).toBe(ExitCode.portRead);
    guest.set("portData", 0x5a);
    guest.set("portComplete", 1);
    expect(run(guest)).toBe(Vector.generalProtection);
    expect([frameWords(guest, 2), guest.get("rax") & 0xffn]).toEqual([[0, 2], 0x5an]);
  });

  it("knows no LLDT and no LAR, and refuses a handler that is not the system's", () => {
    for (const program of ["0f 00 d0", "0f 02 c0"])
      expect(run(virtual(program, IOPL3, options))).toBe(Vector.invalidOpcode);
    const guest = virtual("cd 21", IOPL3, options);
    setLegacyGate(guest, 0x21, 0xee);
    const place = 0x3000 + 8 * 0x21;
    guest.setWord64(place, (guest.word64(place) & ~(0xffffn << 16n)) | (BigInt(Legacy.narrowCode) << 16n));
    addDescriptor(guest, Legacy.narrowCode, P | S | code | conforming | writable | DB | G, 0xfffff);
    expect(run(guest)).toBe(Vector.generalProtection);
    expect(frameWords(guest, 1)).toEqual([Legacy.narrowCode]);
  });

  it("is left by SYSENTER and by a task gate, and entered by a task's TSS", () => {
    const entered = virtual("0f 34", IOPL3, options);
    entered.set("sysenterCs", 0x60);
    entered.set("sysenterEsp", LEVEL0_ESP);
    entered.set("sysenterEip", CODE + 0x100);
    entered.engine.run(1);
    expect([entered.get("cpl"), entered.get("rip"), flags(entered) & Flag.VM]).toEqual([0n, BigInt(CODE + 0x100), 0]);

    const [oldTss, newTss] = [0x5c00, 0x5a00];
    // ljmp $0x90,$0
    const guest = protectedMode("ea 00 00 00 00 90 00", options);
    addDescriptor(guest, Selector.tss, P | 0xb, 0x67, oldTss);
    addDescriptor(guest, Legacy.tss, P | 9, 0x67, newTss);
    setSegment(guest, Segment.tr, Selector.tss, oldTss, 0x67, P | 0xb);
    const put = (offset: number, value: number): void =>
      guest.place(
        newTss + offset,
        [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff),
      );
    put(4, LEVEL0_ESP);
    put(8, Legacy.data);
    put(0x20, 0x10);
    put(0x24, Flag.VM | IOPL3 | 2);
    put(0x38, SP);
    [ES, CS, SS, DS, FS, GS].forEach((selector, index) => put(0x48 + 4 * index, selector));
    // nop; int 0x21, through a gate to the first task
    guest.place(DATA + 0x10, bytes("90 cd 21"));
    guest.setWord64(0x3000 + 8 * 0x21, (0xe5n << 40n) | (BigInt(Selector.tss) << 16n));
    guest.engine.run(3);
    expect(["cpl", "rip", "rsp", "segmentBase3"].map(guest.get)).toEqual([3, DATA + 0x11, SP, DS << 4].map(BigInt));
    guest.place(CODE + 7, [0x90, 0xf4]);
    guest.set("segmentSelector7", Legacy.tss);
    // The first task is available again: a jump has left it.
    guest.engine.run(4);
    expect([flags(guest) & Flag.VM, guest.get("segmentSelector7"), guest.get("cpl")]).toEqual([
      0,
      BigInt(Selector.tss),
      0n,
    ]);
    expect(word32(guest, newTss + 0x24)).toBe(Flag.VM | IOPL3 | 2);
    expect([0, 1, 2, 3].map((index) => word32(guest, newTss + 0x48 + 4 * index) & 0xffff)).toEqual([ES, CS, SS, DS]);
  });

  it("checks offsets against 64 KiB", () => {
    // mov eax,[0xfffe] (of 4 bytes)
    const guest = virtual("66 a1 fe ff", IOPL3, options);
    expect(run(guest)).toBe(Vector.generalProtection);
    // An EIP above is refused in the monitor.
    const monitor = protectedMode("cf", options);
    [0x1_0000, CS, Flag.VM | 2, SP, SS, ES, DS, FS, GS].forEach((word, index) =>
      monitor.setWord64(STACK - 36 + 4 * index, BigInt(word)),
    );
    monitor.set("rsp", STACK - 36);
    expect(run(monitor)).toBe(Vector.generalProtection);
    expect(monitor.get("cpl")).toBe(0n);
  });
});
