/** Programs of a few instructions in every mode. Their bytes are what GNU as makes of the text beside them. */
import { describe, expect, it } from "@jest/globals";
import { Context } from "./context.js";
import { Vector } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import { Cr0, CR0_PG, Cr4, Efer, Flag } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import { InterruptShadow, Segment } from "./state.js";
import {
  CODE,
  DATA,
  frameOf,
  HANDLERS,
  handledVector,
  LEVEL0_STACK,
  machine,
  type Machine,
  PageEntry,
  Selector,
  setGate,
  STACK,
} from "./testing/machine.js";
import {
  addDescriptor,
  bytes,
  flags,
  Legacy,
  LEVEL0_ESP,
  protectedMode,
  realMode,
  setLegacyGate,
  setSegment,
  toUserMode,
  word32,
} from "./testing/modes.js";

const { P, S, code, writable, accessed, L, DB, G } = SegmentAttribute;
const tiers = [
  ["handlers out of line", {}],
  ["compiled blocks", { tier: "blocks" }],
] as const;

function run(guest: Machine): Machine {
  expect(guest.engine.run(100)).toBe(ExitCode.halt);
  return guest;
}

/** The vector that its handler has been entered for. */
function vectorOf(guest: Machine): number {
  return handledVector(run(guest));
}

/** The vector that one instruction raises at CPL 3; a machine for each would cost too much. */
function faultAtUser(guest: Machine, program: string): number | undefined {
  guest.place(CODE, bytes(program));
  toUserMode(guest, Selector.userCode, Selector.userData, P | S | code | writable | accessed | L | G);
  guest.set("rip", CODE);
  guest.set("rsp", STACK);
  guest.engine.run(1);
  const handler = (Number(guest.get("rip")) - HANDLERS) / 16;
  return handler >= 0 && handler < 256 ? handler : undefined;
}

describe.each(tiers)("real mode with %s", (_name, options) => {
  it("leads through protected mode to 64-bit mode, as other processors start", () => {
    // lgdtl 0x100; movl %ebx,%cr0; ljmpl $0x60,$0x10040
    const guest = realMode("66 0f 01 16 00 01 0f 22 c3 66 ea 40 00 01 00 60 00", options);
    // mov ds,esi; mov es,esi; mov ss,esi; mov cr4,edi; mov cr3,ebp; wrmsr; mov cr0,esp; jmp 8:0x10080
    guest.place(CODE + 0x40, bytes("8e de 8e c6 8e d6 0f 22 e7 0f 22 dd 0f 30 0f 22 c4 ea 80 00 01 00 08 00"));
    // swapgs; hlt
    guest.place(CODE + 0x80, bytes("0f 01 f8 f4"));
    guest.setWord64(CODE + 0x100, (BigInt(guest.gdtBase) << 16n) | 0xffn);
    addDescriptor(guest, Legacy.code, P | S | code | writable | DB | G, 0xfffff);
    for (const [name, value] of [
      ["gdtBase", 0],
      ["gdtLimit", 0],
      ["rbx", 0x11],
      ["rsi", Selector.data],
      ["rdi", Cr4.PAE],
      ["rbp", guest.get("cr3")],
      ["rsp", CR0_PG | 0x11n],
      ["rcx", 0xc000_0080],
      ["rax", Efer.LME],
      ["kernelGsBase", 0x1234],
      ["cr3", 0],
    ] as const)
      guest.set(name, value);
    run(guest);
    expect([guest.get("rip"), guest.get("contextWord"), guest.get("efer"), guest.get("segmentBase5")]).toEqual([
      BigInt(CODE + 0x84),
      BigInt(Context.long),
      BigInt(Efer.LME | Efer.LMA),
      0x1234n,
    ]);
  });

  it("delivers INT through the table of vectors, and IRET comes back", () => {
    // int 0x21; hlt
    const guest = realMode("cd 21 f4", options);
    // iret
    guest.place(HANDLERS + 16 * 0x21, [0xcf]);
    guest.set("rflags", Flag.IF | Flag.CF | 2);
    guest.engine.run(1);
    expect([guest.get("rip"), guest.get("segmentSelector1"), guest.get("rsp"), flags(guest)]).toEqual([
      BigInt(HANDLERS + 16 * 0x21),
      0x1800n,
      0xffean,
      Flag.CF,
    ]);
    expect([0, 2, 4].map((offset) => word32(guest, STACK - 22 + offset) & 0xffff)).toEqual([
      2,
      CODE >> 4,
      Flag.IF | Flag.CF | 2,
    ]);
    run(guest);
    expect([guest.get("rip"), guest.get("rsp"), flags(guest)]).toEqual([BigInt(CODE + 3), 0xfff0n, Flag.IF | Flag.CF]);
  });

  it("has segments of 64 KiB at 16 times the selector", () => {
    // push word ptr cs:[2]; hlt
    const guest = run(realMode("2e ff 36 02 00 f4", options));
    expect([guest.get("rsp"), word32(guest, STACK - 18) & 0xffff]).toEqual([0xffeen, 0x0236]);
    // push dword ptr [0xfffe]: it ends beyond the limit
    const beyond = realMode("66 ff 36 fe ff", options);
    expect(vectorOf(beyond)).toBe(Vector.generalProtection);
    expect(word32(beyond, STACK - 22) & 0xffff).toBe(0);
    // push eax, with SP 2: no exception can be delivered on such a stack
    const full = realMode("66 50", options);
    full.set("rsp", 2);
    expect([full.engine.run(10), full.get("rip")]).toEqual([ExitCode.shutdown, BigInt(CODE)]);
  });

  it("loads segments without descriptors", () => {
    // mov es,ax; push es; hlt
    const guest = realMode("8e c0 06 f4", options);
    guest.set("rax", 0x1234);
    run(guest);
    expect([guest.get("segmentBase0"), guest.get("segmentLimit0"), word32(guest, STACK - 18) & 0xffff]).toEqual([
      0x1_2340n,
      0xffffn,
      0x1234,
    ]);
  });

  it("has no LLDT, LAR, ARPL, SYSENTER", () => {
    const guest = realMode("0f 34", options);
    guest.set("sysenterCs", 8);
    expect(vectorOf(guest)).toBe(Vector.generalProtection);
    for (const program of ["0f 00 d0", "0f 02 c0", "63 c0"])
      expect(vectorOf(realMode(program, options))).toBe(Vector.invalidOpcode);
  });
});

describe.each(tiers)("protected mode with %s", (_name, options) => {
  it("checks limits and rights of segments that are not flat", () => {
    // push dword ptr es:[edi]; hlt
    const at = (edi: number, limit: number, attributes: number): Machine => {
      const guest = protectedMode("26 ff 37 f4", options);
      guest.set("rdi", edi);
      setSegment(guest, Segment.es, Legacy.data, DATA, limit, attributes);
      return guest;
    };
    const data = P | S | writable | accessed | DB;
    const good = at(0xc, 0xf, data);
    good.place(DATA + 0xc, [1, 2, 3, 4]);
    run(good);
    expect([good.get("rip"), word32(good, STACK - 4)]).toEqual([BigInt(CODE + 4), 0x0403_0201]);
    const expandDown = data | SegmentAttribute.conforming;
    for (const [edi, limit, attributes, vector] of [
      [0xd, 0xf, data, Vector.generalProtection],
      [0xf, 0xf, expandDown, Vector.generalProtection],
      [0, 0xffff, SegmentAttribute.unusable, Vector.generalProtection],
      [0, 0xffff, P | S | code | accessed | DB, Vector.generalProtection],
    ] as const) {
      const guest = at(edi, limit, attributes);
      expect(vectorOf(guest)).toBe(vector);
      expect(word32(guest, Number(guest.get("rsp")))).toBe(0);
    }
    expect(run(at(0x10, 0xf, expandDown)).get("rip")).toBe(BigInt(CODE + 4));
  });

  it("switches to the stack of the TSS for an interrupt, and IRET returns to the outer level", () => {
    // int 0x80; hlt
    const guest = protectedMode("cd 80 f4", options);
    setLegacyGate(guest, 0x80, 0xee);
    guest.place(HANDLERS + 16 * 0x80, [0xcf]);
    toUserMode(guest, Legacy.userCode, Legacy.userData, P | S | code | writable | accessed | DB | G);
    guest.set("rflags", Flag.IF | 2);
    guest.engine.run(1);
    expect([guest.get("cpl"), guest.get("rsp"), guest.get("segmentSelector2")]).toEqual([
      0n,
      BigInt(LEVEL0_ESP - 20),
      BigInt(Legacy.data),
    ]);
    expect([0, 4, 8, 12, 16].map((offset) => word32(guest, LEVEL0_ESP - 20 + offset))).toEqual([
      CODE + 2,
      Legacy.userCode,
      Flag.IF | 2,
      STACK,
      Legacy.userData,
    ]);
    // Back at CPL 3 HLT is refused.
    expect(vectorOf(guest)).toBe(Vector.generalProtection);
    expect(word32(guest, LEVEL0_ESP - 20)).toBe(CODE + 2);
  });

  it("refuses INT at CPL 3 through a gate of the system, with its vector as error code", () => {
    const guest = protectedMode("cd 80", options);
    toUserMode(guest, Legacy.userCode, Legacy.userData, P | S | code | writable | accessed | DB | G);
    expect(vectorOf(guest)).toBe(Vector.generalProtection);
    expect(word32(guest, Number(guest.get("rsp")))).toBe(0x80 * 8 + 2);
  });

  it("calls through a gate to the inner level, and RET returns", () => {
    // lcall $0x88,$0; hlt
    const guest = protectedMode("9a 00 00 00 00 88 00 f4", options);
    const target = CODE + 0x200;
    const gate =
      BigInt(target & 0xffff) | (BigInt(Legacy.code) << 16n) | (0xecn << 40n) | (BigInt(target >> 16) << 48n);
    guest.setWord64(guest.gdtBase + Legacy.gate, gate);
    // lret
    guest.place(target, [0xcb]);
    toUserMode(guest, Legacy.userCode, Legacy.userData, P | S | code | writable | accessed | DB | G);
    guest.engine.run(1);
    expect([guest.get("cpl"), guest.get("rip"), guest.get("segmentSelector1")]).toEqual([
      0n,
      BigInt(target),
      BigInt(Legacy.code),
    ]);
    expect([0, 4, 8, 12].map((offset) => word32(guest, LEVEL0_ESP - 16 + offset))).toEqual([
      CODE + 7,
      Legacy.userCode,
      STACK,
      Legacy.userData,
    ]);
    guest.engine.run(1);
    expect([guest.get("cpl"), guest.get("rip"), guest.get("rsp"), guest.get("segmentSelector2")]).toEqual([
      3n,
      BigInt(CODE + 7),
      BigInt(STACK),
      BigInt(Legacy.userData),
    ]);
  });

  it("jumps to code of 16 bits, with its own sizes", () => {
    // ljmp $0x80,$4; in 16 bits: push $0x1234; push $0x12345678; hlt
    const guest = protectedMode("ea 04 00 00 00 80 00", options);
    addDescriptor(guest, Legacy.narrowCode, P | S | code | writable, 0xffff, DATA);
    guest.place(DATA + 4, bytes("68 34 12 66 68 78 56 34 12 f4"));
    run(guest);
    expect([guest.get("rip"), guest.get("rsp"), word32(guest, STACK - 6)]).toEqual([
      BigInt(DATA + 14),
      BigInt(STACK - 6),
      0x1234_5678,
    ]);
  });

  it("tells with LAR, LSL, VERR, VERW and ARPL what a selector is good for", () => {
    // lar eax,ebx; lsl ecx,ebx; verr bx; hlt
    const guest = protectedMode("0f 02 c3 0f 03 cb 0f 00 e3 f4", options);
    guest.set("rbx", Legacy.userCode);
    run(guest);
    expect([guest.get("rax"), guest.get("rcx"), flags(guest) & Flag.ZF]).toEqual([0xc0_fb00n, 0xffff_ffffn, Flag.ZF]);
    // verw bx: code can't be written
    const written = protectedMode("0f 00 eb f4", options);
    written.set("rbx", Legacy.userCode);
    written.set("rflags", Flag.ZF | 2);
    expect(flags(run(written)) & Flag.ZF).toBe(0);
    // arpl ax,bx
    const adjusted = protectedMode("63 d8 f4", options);
    adjusted.set("rax", 0x20);
    adjusted.set("rbx", 0x43);
    run(adjusted);
    expect([adjusted.get("rax"), flags(adjusted) & Flag.ZF]).toEqual([0x23n, Flag.ZF]);
  });

  describe("tasks", () => {
    const [OLD_TSS, NEW_TSS, TASK_ENTRY, TASK_STACK] = [0x5800, 0x5a00, CODE + 0x300, 0x3_9000];

    /** With a second task at selector 0x90, whose code is `task`. */
    function withTask(program: string, task: string): Machine {
      const guest = protectedMode(program, options);
      addDescriptor(guest, Selector.tss, P | 0xb, 0x67, OLD_TSS);
      addDescriptor(guest, Legacy.tss, P | 9, 0x67, NEW_TSS);
      const put = (offset: number, value: number): void =>
        guest.place(
          NEW_TSS + offset,
          [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff),
        );
      put(0x20, TASK_ENTRY);
      put(0x24, Flag.CF | 2);
      put(0x38, TASK_STACK);
      put(0x3c, 0x1234_5678);
      for (const offset of [0x48, 0x50, 0x54]) put(offset, Legacy.data);
      put(0x4c, Legacy.code);
      guest.place(TASK_ENTRY, bytes(task));
      return guest;
    }

    const typeOf = (guest: Machine, selector: number): bigint =>
      (guest.word64(guest.gdtBase + selector) >> 40n) & 0xffn;

    it("are switched by a far jump to a TSS", () => {
      // ljmp $0x90,$0; there: hlt
      const guest = run(withTask("ea 00 00 00 00 90 00", "f4"));
      expect(["rip", "rsp", "rbp", "segmentSelector7", "segmentSelector3"].map(guest.get)).toEqual(
        [TASK_ENTRY + 1, TASK_STACK, 0x1234_5678, Legacy.tss, Legacy.data].map(BigInt),
      );
      expect([flags(guest), guest.get("cr0") & BigInt(Cr0.TS)]).toEqual([Flag.CF, BigInt(Cr0.TS)]);
      expect([word32(guest, OLD_TSS + 0x20), word32(guest, OLD_TSS + 0x38), word32(guest, OLD_TSS + 0x4c)]).toEqual([
        CODE + 7,
        STACK,
        Legacy.code,
      ]);
      expect([typeOf(guest, Selector.tss), typeOf(guest, Legacy.tss)]).toEqual([0x89n, 0x8bn]);
    });

    it("nest in a call, and IRET returns", () => {
      // lcall $0x90,$0; hlt; there: iret; hlt
      const guest = withTask("9a 00 00 00 00 90 00 f4", "cf f4");
      guest.engine.run(2);
      expect([flags(guest), word32(guest, NEW_TSS) & 0xffff]).toEqual([Flag.CF | Flag.NT, Selector.tss]);
      run(guest);
      expect(["rip", "rsp", "segmentSelector7"].map(guest.get)).toEqual([CODE + 8, STACK, Selector.tss].map(BigInt));
      expect([typeOf(guest, Selector.tss), typeOf(guest, Legacy.tss)]).toEqual([0x8bn, 0x89n]);
      // What is left of it has its IRET behind it, and no NT.
      expect([word32(guest, NEW_TSS + 0x20), word32(guest, NEW_TSS + 0x24)]).toEqual([TASK_ENTRY + 1, Flag.CF | 2]);
    });

    it("handle exceptions, with the error code on their stacks", () => {
      // mov es,eax: beyond the table
      const guest = withTask("8e c0", "f4");
      guest.set("rax", 0x1000);
      guest.setWord64(0x3000 + 8 * Vector.generalProtection, (0x85n << 40n) | (BigInt(Legacy.tss) << 16n));
      run(guest);
      expect([guest.get("rip"), guest.get("rsp"), word32(guest, TASK_STACK - 4)]).toEqual([
        BigInt(TASK_ENTRY + 1),
        BigInt(TASK_STACK - 4),
        0x1000,
      ]);
      expect(word32(guest, OLD_TSS + 0x20)).toBe(CODE);
    });

    it("raise #TS for a segment that is wrong, in the new task", () => {
      const guest = withTask("ea 00 00 00 00 90 00", "f4");
      guest.place(NEW_TSS + 0x54, [Legacy.code + 0x100, 1]);
      guest.set("gdtLimit", 0xff);
      expect(vectorOf(guest)).toBe(Vector.invalidTss);
      expect(guest.get("segmentSelector7")).toBe(BigInt(Legacy.tss));
    });
  });

  it("enters and leaves the system by SYSENTER and SYSEXIT", () => {
    // sysenter
    const guest = protectedMode("0f 34", options);
    toUserMode(guest, Legacy.userCode, Legacy.userData, P | S | code | writable | accessed | DB | G);
    guest.set("sysenterCs", 0x60);
    guest.set("sysenterEsp", LEVEL0_ESP);
    guest.set("sysenterEip", CODE + 0x100);
    guest.set("rflags", Flag.IF | 2);
    guest.set("rcx", STACK);
    guest.set("rdx", CODE + 0x200);
    // sysexit
    guest.place(CODE + 0x100, [0x0f, 0x35]);
    guest.engine.run(1);
    expect(["cpl", "rip", "rsp", "segmentSelector1", "segmentSelector2"].map(guest.get)).toEqual(
      [0, CODE + 0x100, LEVEL0_ESP, 0x60, 0x68].map(BigInt),
    );
    expect(flags(guest)).toBe(0);
    guest.engine.run(1);
    expect(["cpl", "rip", "rsp", "segmentSelector1", "segmentSelector2"].map(guest.get)).toEqual(
      [3, CODE + 0x200, STACK, 0x73, 0x7b].map(BigInt),
    );
  });

  it("pages with entries of 32 bits, and large ones", () => {
    // push dword ptr [edi]; hlt
    const guest = protectedMode("ff 37 f4", options);
    const [directory, table] = [0x20_0000, 0x20_1000];
    guest.place(directory, [0x67, ...bytes("10 20 00")]);
    for (let page = 0; page < 1024; page++) guest.setWord64(table + 4 * page, BigInt(page << 12) | 0x67n);
    // The page above 4 MiB is the first one again.
    guest.place(directory + 4, bytes("e7 00 00 00"));
    guest.set("cr3", directory);
    guest.set("cr4", Cr4.PSE);
    guest.set("cr0", CR0_PG | 0x11n);
    guest.place(DATA, bytes("78 56 34 12"));
    guest.set("rdi", 0x40_0000 + DATA);
    run(guest);
    expect(word32(guest, STACK - 4)).toBe(0x1234_5678);
    // Not present: the error code says a read by the system.
    const absent = protectedMode("ff 37 f4", options);
    absent.place(directory, [0x67, ...bytes("10 20 00")]);
    for (let page = 0; page < 1024; page++) absent.setWord64(table + 4 * page, BigInt(page << 12) | 0x67n);
    absent.set("cr3", directory);
    absent.set("cr0", CR0_PG | 0x11n);
    absent.set("rdi", 0x80_0000);
    expect(vectorOf(absent)).toBe(Vector.pageFault);
    expect([absent.get("cr2"), word32(absent, Number(absent.get("rsp")))]).toEqual([0x80_0000n, 0]);
  });

  it("pages with PAE", () => {
    const guest = protectedMode("ff 37 f4", options);
    const [pointers, directory] = [0x20_0020, 0x20_1000];
    guest.setWord64(pointers, BigInt(directory) | 1n);
    guest.setWord64(directory, 0xe7n);
    guest.setWord64(directory + 8, 0xe7n);
    guest.set("cr3", pointers);
    guest.set("cr4", Cr4.PAE);
    guest.set("cr0", CR0_PG | 0x11n);
    guest.place(DATA, bytes("78 56 34 12"));
    guest.set("rdi", 0x20_0000 + DATA);
    expect(word32(run(guest), STACK - 4)).toBe(0x1234_5678);
  });

  it("refuses reserved bits of PAE's pointers when a control register is written", () => {
    const [pointers, others, directory] = [0x20_0020, 0x20_0040, 0x20_1000];
    const paged = (program: string, values: Readonly<Record<string, number | bigint>>): Machine => {
      const guest = protectedMode(program, options);
      guest.setWord64(pointers, BigInt(directory) | 1n);
      guest.setWord64(directory, 0xe7n);
      const all = { cr3: pointers, cr4: Cr4.PAE, cr0: CR0_PG | 0x11n, ...values };
      for (const [name, value] of Object.entries(all)) guest.set(name, value);
      return guest;
    };
    // mov cr3,eax; hlt
    const change = "0f 22 d8 f4";
    for (const bit of [1n, 2n, 5n, 8n, 46n, 63n]) {
      const guest = paged(change, { rax: others });
      guest.setWord64(others, BigInt(directory) | 1n);
      guest.setWord64(others + 24, 1n | (1n << bit));
      expect([bit, vectorOf(guest), guest.get("cr3")]).toEqual([bit, Vector.generalProtection, BigInt(pointers)]);
    }
    // One that is not present may have any, and bits 3, 4 and 9 to 11 are none.
    const fine = paged(change, { rax: others });
    fine.setWord64(others, BigInt(directory) | 0xe19n);
    fine.setWord64(others + 8, 0x1e6n);
    expect([run(fine).get("rip"), fine.get("cr3")]).toEqual([BigInt(CODE + 4), BigInt(others)]);
    // mov cr0,eax that begins paging; mov cr4,eax that changes PGE, and one that changes none of these
    for (const [program, values, vector] of [
      ["0f 22 c0 f4", { cr0: 0x11, rax: CR0_PG | 0x11n }, Vector.generalProtection],
      ["0f 22 e0 f4", { rax: Cr4.PAE | Cr4.PGE }, Vector.generalProtection],
      ["0f 22 e0 f4", { rax: Cr4.PAE | Cr4.TSD }, undefined],
    ] as const) {
      const guest = paged(program, values);
      guest.setWord64(pointers + 8, 3n);
      run(guest);
      if (vector === undefined) expect(guest.get("rip")).toBe(BigInt(CODE + 4));
      else expect(handledVector(guest)).toBe(vector);
    }
  });
});

describe.each(tiers)("64-bit mode with %s", (_name, options) => {
  function at(program: string, registers: Readonly<Record<string, number | bigint>> = {}): Machine {
    const guest = machine(bytes(program), options);
    for (const [name, value] of Object.entries(registers)) guest.set(name, value);
    return guest;
  }

  function atUser(program: string, registers: Readonly<Record<string, number | bigint>> = {}): Machine {
    const guest = at(program, registers);
    toUserMode(guest, Selector.userCode, Selector.userData, P | S | code | writable | accessed | L | G);
    return guest;
  }

  it("enters the system by SYSCALL and leaves it by SYSRET", () => {
    const guest = atUser("0f 05", {
      efer: Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE,
      star: (0x1bn << 48n) | (0x08n << 32n),
      lstar: CODE + 0x100,
      fmask: Flag.IF | Flag.DF,
      rflags: Flag.IF | Flag.DF | Flag.CF | 2,
    });
    // sysretq
    guest.place(CODE + 0x100, [0x48, 0x0f, 0x07]);
    guest.engine.run(1);
    expect(["cpl", "rip", "rcx", "r11", "segmentSelector1", "segmentSelector2"].map(guest.get)).toEqual(
      [0, CODE + 0x100, CODE + 2, Flag.IF | Flag.DF | Flag.CF | 2, 0x08, 0x10].map(BigInt),
    );
    expect(flags(guest)).toBe(Flag.CF);
    guest.engine.run(1);
    expect(["cpl", "rip", "segmentSelector1", "segmentSelector2"].map(guest.get)).toEqual(
      [3, CODE + 2, 0x2b, 0x23].map(BigInt),
    );
    expect(flags(guest)).toBe(Flag.IF | Flag.DF | Flag.CF);
    expect(vectorOf(at("0f 05"))).toBe(Vector.invalidOpcode);
  });

  it("refuses values of control registers that do not go together", () => {
    const guest = at("90");
    for (const [what, program, value] of [
      ["CR0: paging without protection", "0f 22 c0", CR0_PG],
      ["CR0: NW without CD", "0f 22 c0", CR0_PG | BigInt(Cr0.PE | Cr0.NW)],
      ["CR0: bits above 32", "0f 22 c0", CR0_PG | BigInt(Cr0.PE) | (1n << 40n)],
      ["CR0: no paging in 64-bit mode", "0f 22 c0", BigInt(Cr0.PE)],
      ["CR3: beyond the physical addresses", "0f 22 d8", 1n << 50n],
      ["CR4: no PAE in long mode", "0f 22 e0", 0n],
      ["CR4: a bit that does not exist", "0f 22 e0", BigInt(Cr4.PAE) | (1n << 15n)],
      ["CR8: more than four bits", "44 0f 22 c0", 16n],
      ["DR7: bits above 32", "0f 23 f8", 1n << 32n],
    ] as const) {
      guest.place(CODE, bytes(program));
      guest.set("rax", value);
      guest.set("rip", CODE);
      guest.set("rsp", STACK);
      expect([what, vectorOf(guest)]).toEqual([what, Vector.generalProtection]);
      expect([frameOf(guest, true)["error"], frameOf(guest, true)["rip"]]).toEqual([0n, BigInt(CODE)]);
    }
  });

  it("takes PCIDs with a CR3 whose low bits are clear, and does not keep bit 63", () => {
    // mov cr4,rax; mov cr3,rbx; mov rcx,cr3; hlt
    const program = "0f 22 e0 0f 22 db 0f 20 d9 f4";
    const root = at("").get("cr3");
    const guest = run(at(program, { rax: Cr4.PAE | Cr4.PCIDE, rbx: root | 5n | (1n << 63n) }));
    expect(guest.get("rcx")).toBe(root | 5n);
    expect(vectorOf(at(program, { rax: Cr4.PAE | Cr4.PCIDE, cr3: root | 0x18n }))).toBe(Vector.generalProtection);
  });

  it("keeps system registers from CPL 3", () => {
    const guest = at("90");
    for (const program of [
      "0f 20 c0",
      "0f 22 c0",
      "0f 06",
      "0f 01 f8",
      "0f 32",
      "0f 30",
      "0f 01 17",
      "0f 00 d0",
      "0f 00 d8",
      "f4",
      "fa",
      "fb",
      "0f 01 3f",
      "0f 09",
      "0f 23 f8",
    ])
      expect(faultAtUser(guest, program)).toBe(Vector.generalProtection);
    // clac is undefined there
    expect(faultAtUser(guest, "0f 01 ca")).toBe(Vector.invalidOpcode);
    // sgdt [rdi]; smsw eax; sldt eax; str eax: with UMIP only
    guest.set("rdi", DATA);
    for (const program of ["0f 01 07", "0f 01 e0", "0f 00 c0", "0f 00 c8"]) {
      guest.set("cr4", Cr4.PAE | Cr4.UMIP);
      expect(faultAtUser(guest, program)).toBe(Vector.generalProtection);
      guest.set("cr4", Cr4.PAE);
      expect(faultAtUser(guest, program)).toBeUndefined();
    }
  });

  it("keeps MSRs of the vCPU's state, with their rules", () => {
    // wrmsr; rdmsr; hlt
    const guest = at("0f 30 0f 32 f4");
    const write = (msr: number, value: bigint): void => {
      guest.set("rip", CODE);
      guest.set("rsp", STACK);
      guest.set("rcx", msr);
      guest.set("rax", value & 0xffff_ffffn);
      guest.set("rdx", value >> 32n);
    };
    for (const [msr, value] of [
      [0xc000_0100, 0xffff_8000_0000_0000n],
      [0xc000_0102, 0x7fff_ffff_ffffn],
      [0xc000_0103, 0xffff_ffffn],
      [0xc000_0081, 0x1234_5678_9abc_def0n],
      [0x277, 0x0007_0106_0007_0406n],
      [0xc000_0080, BigInt(Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE)],
    ] as const) {
      write(msr, value);
      run(guest);
      expect((guest.get("rdx") << 32n) | guest.get("rax")).toBe(value);
    }
    for (const [msr, value] of [
      [0xc000_0100, 0x8000_0000_0000n],
      [0xc000_0082, 1n << 63n],
      [0xc000_0103, 1n << 32n],
      [0xc000_0084, 1n << 32n],
      [0x277, 0x0007_0206_0007_0406n],
      [0x277, 0x0007_0806_0007_0406n],
      [0xc000_0080, BigInt(Efer.NXE)],
      [0xc000_0080, BigInt(Efer.LME | Efer.LMA) | (1n << 20n)],
    ] as const) {
      write(msr, value);
      expect(vectorOf(guest)).toBe(Vector.generalProtection);
    }
    const other = at("0f 32", { rcx: 0x1b });
    expect([other.engine.run(10), other.engine.exitOperand(0), other.get("rip")]).toEqual([
      ExitCode.readMsr,
      BigInt(CODE + 2),
      BigInt(CODE),
    ]);
  });

  it("keeps the system from data and code of users with SMAP and SMEP, but with AC", () => {
    // stac; push [rdi]; clac; push [rdi]
    const guest = at("0f 01 cb ff 37 0f 01 ca ff 37", { rdi: DATA });
    for (const page of [CODE, STACK - 0x1000, 0x3_7000, HANDLERS])
      guest.map(page & ~0xfff, page & ~0xfff, PageEntry.P | PageEntry.RW);
    guest.set("cr4", Cr4.PAE | Cr4.SMAP | Cr4.SMEP);
    expect(vectorOf(guest)).toBe(Vector.pageFault);
    const frame = frameOf(guest, true);
    expect([frame["error"], frame["rip"], guest.get("cr2")]).toEqual([1n, BigInt(CODE + 8), BigInt(DATA)]);
    const fetching = at("90");
    for (const page of [0x3_7000, HANDLERS]) fetching.map(page, page, PageEntry.P | PageEntry.RW);
    fetching.set("cr4", Cr4.PAE | Cr4.SMEP);
    expect(vectorOf(fetching)).toBe(Vector.pageFault);
    expect(frameOf(fetching, true)["error"]).toBe(0x11n);
  });

  it("calls another segment and returns, with 64 bits", () => {
    // rex.w call [rdi]; hlt; there: rex.w retf
    const guest = at("48 ff 1f f4", { rdi: DATA });
    guest.place(CODE + 0x100, [0x48, 0xcb]);
    guest.setWord64(DATA, BigInt(CODE + 0x100));
    guest.setWord64(DATA + 8, BigInt(Selector.conformingCode));
    guest.engine.run(1);
    expect([guest.get("rip"), guest.get("rsp"), guest.word64(STACK - 16), guest.word64(STACK - 8)]).toEqual([
      BigInt(CODE + 0x100),
      BigInt(STACK - 16),
      BigInt(CODE + 3),
      BigInt(Selector.code),
    ]);
    run(guest);
    expect([guest.get("rip"), guest.get("rsp")]).toEqual([BigInt(CODE + 4), BigInt(STACK)]);
  });

  it("loads TR and LDTR from descriptors of 16 bytes", () => {
    // ltr ax; str ebx; lldt cx; sldt rdx; hlt
    const guest = at("0f 00 d8 0f 00 cb 0f 00 d1 48 0f 00 c2 f4", { rax: 0x60, rcx: 0x70, gdtLimit: 0xff });
    addDescriptor(guest, 0x60, P | 9, 0x67, 0x1234_5678);
    guest.setWord64(guest.gdtBase + 0x68, 0xffff_8000n);
    addDescriptor(guest, 0x70, P | 2, 0xff, 0x4000);
    guest.setWord64(guest.gdtBase + 0x78, 0n);
    run(guest);
    expect([guest.get("segmentBase7"), guest.get("segmentLimit7"), guest.get("rbx"), guest.get("rdx")]).toEqual([
      0xffff_8000_1234_5678n,
      0x67n,
      0x60n,
      0x70n,
    ]);
    expect([(guest.word64(guest.gdtBase + 0x60) >> 40n) & 0xffn, guest.get("segmentBase6")]).toEqual([0x8bn, 0x4000n]);
    // Busy now: once more is refused.
    guest.set("rip", CODE);
    expect(vectorOf(guest)).toBe(Vector.generalProtection);
    expect(frameOf(guest, true)["error"]).toBe(0x60n);
  });

  it("reads and writes the bases of FS and GS where CR4 lets it", () => {
    // rdfsbase rax; wrgsbase rbx; hlt
    const program = "f3 48 0f ae c0 f3 48 0f ae db f4";
    const guest = run(at(program, { cr4: Cr4.PAE | Cr4.FSGSBASE, segmentBase4: 0x1234, rbx: 0x5678 }));
    expect([guest.get("rax"), guest.get("segmentBase5")]).toEqual([0x1234n, 0x5678n]);
    expect(vectorOf(at(program))).toBe(Vector.invalidOpcode);
  });

  it("follows each instruction with a debug exception while TF is set, but not a load of SS", () => {
    // popfq; nop; mov ss,eax; nop; nop; hlt
    const guest = at("9d 90 8e d0 90 90 f4", { rax: Selector.data, rsp: STACK - 8, dr6: 0xffff_0ff0 });
    guest.setWord64(STACK - 8, BigInt(Flag.TF | 2));
    // iretq
    guest.place(HANDLERS + 16 * Vector.debug, [0x48, 0xcf]);
    const stops: bigint[] = [];
    for (let unit = 0; unit < 40 && guest.get("rip") !== BigInt(CODE + 7); unit++) {
      const before = guest.get("exceptionPending");
      guest.engine.run(1);
      if (before !== 0n) stops.push(frameOf(guest, false)["rip"] ?? 0n);
    }
    expect(stops.map((rip) => Number(rip) - CODE)).toEqual([2, 5, 6]);
    expect(guest.get("dr6")).toBe(0xffff_4ff0n);
  });

  it("stops in front of an instruction with a breakpoint, and behind an access to watched data", () => {
    // mov dr7,rax; nop; push [rdi]; nop; hlt
    const program = "0f 23 f8 90 ff 37 90 f4";
    const guest = at(program, { rax: 0x401n, dr7: 0x400, dr6: 0xffff_0ff0, rdi: DATA, debugAddress0: CODE + 3 });
    expect(vectorOf(guest)).toBe(Vector.debug);
    expect([frameOf(guest, false)["rip"], guest.get("dr6")]).toEqual([BigInt(CODE + 3), 0xffff_0ff1n]);
    // Four bytes, reads and writes.
    const watched = at(program, { rax: 0xf_0401n, dr7: 0x400, dr6: 0xffff_0ff0, rdi: DATA, debugAddress0: DATA + 4 });
    expect(vectorOf(watched)).toBe(Vector.debug);
    expect([frameOf(watched, false)["rip"], watched.get("dr6")]).toEqual([BigInt(CODE + 6), 0xffff_0ff1n]);
    // With RF the instruction runs.
    const resumed = at("90 f4", { dr7: 0x401, debugAddress0: CODE, rflags: Flag.RF | 2 });
    run(resumed);
    expect(flags(resumed) & Flag.RF).toBe(0);
  });

  it("takes a non-maskable interrupt whatever IF says, and none more until IRET", () => {
    const guest = at("90 90 f4", { nmiPending: 1 });
    guest.place(HANDLERS + 16 * Vector.nmi, [0x90, 0x48, 0xcf]);
    guest.engine.run(1);
    guest.set("nmiPending", 1);
    guest.engine.run(1);
    expect([guest.get("rip"), guest.get("nmiBlocked")]).toEqual([BigInt(HANDLERS + 16 * Vector.nmi + 1), 1n]);
    guest.engine.run(2);
    expect([guest.get("rip"), guest.get("nmiPending")]).toEqual([BigInt(HANDLERS + 16 * Vector.nmi), 0n]);
    run(guest);
    expect([guest.get("rip"), guest.get("nmiBlocked")]).toEqual([BigInt(CODE + 3), 0n]);
  });

  it("leaves for an interrupt that is only requested, where it would be taken", () => {
    const guest = at("fb 90 90 f4", { interruptPending: 2 });
    expect([guest.engine.run(10), guest.get("rip")]).toEqual([ExitCode.interruptWindow, BigInt(CODE + 2)]);
    guest.set("interruptVector", 0x41);
    guest.set("interruptPending", 1);
    expect(vectorOf(guest)).toBe(0x41);
  });

  it("delivers INT3 and INT n at CPL 3 with the stack of the system, and no error code", () => {
    const guest = atUser("cc");
    setGate(guest, Vector.breakpoint, HANDLERS + 16 * Vector.breakpoint, 0, 0xee);
    expect(vectorOf(guest)).toBe(Vector.breakpoint);
    expect([guest.get("rsp"), frameOf(guest, false)["rip"]]).toEqual([BigInt(LEVEL0_STACK - 40), BigInt(CODE + 1)]);
    // Vector 14 by instruction is no page fault.
    const asked = at("cd 0e");
    expect(vectorOf(asked)).toBe(14);
    expect(frameOf(asked, false)["rip"]).toBe(BigInt(CODE + 2));
    const refused = atUser("cd 21");
    expect(vectorOf(refused)).toBe(Vector.generalProtection);
    expect([frameOf(refused, true)["error"], frameOf(refused, true)["rip"]]).toEqual([0x10an, BigInt(CODE)]);
  });

  it("loads FS and GS, and a null selector clears their bases", () => {
    // mov fs,eax; mov gs,ebx; hlt
    const guest = run(at("8e e0 8e eb f4", { rax: Selector.data, rbx: 0, segmentBase4: 0x1234, segmentBase5: 0x5678 }));
    expect(["segmentSelector4", "segmentBase4", "segmentSelector5", "segmentBase5"].map(guest.get)).toEqual(
      [Selector.data, 0, 0, 0].map(BigInt),
    );
    const inner = atUser("8e e0", { rax: Selector.data });
    expect(vectorOf(inner)).toBe(Vector.generalProtection);
    expect(frameOf(inner, true)["error"]).toBe(BigInt(Selector.data));
    expect(vectorOf(at("8e c8"))).toBe(Vector.invalidOpcode);
  });

  it("checks the alignment of what users access with AC and CR0.AM set", () => {
    // push qword ptr [rdi]
    const program = "ff 37";
    const guest = atUser(program, {
      rdi: DATA + 1,
      cr0: CR0_PG | BigInt(Cr0.PE | Cr0.ET | Cr0.WP | Cr0.AM),
      rflags: Flag.AC | 2,
    });
    expect(vectorOf(guest)).toBe(Vector.alignmentCheck);
    expect([frameOf(guest, true)["error"], frameOf(guest, true)["rip"]]).toEqual([0n, BigInt(CODE)]);
    guest.set("cpl", 0);
    guest.set("rip", CODE);
    guest.engine.run(1);
    expect(guest.get("rip")).toBe(BigInt(CODE + 2));
  });

  it("starts a shadow with STI that the next instruction ends", () => {
    const guest = at("fb 90 90 f4", { interruptPending: 1, interruptVector: 0x41 });
    guest.engine.run(1);
    expect(guest.get("interruptShadow")).toBe(BigInt(InterruptShadow.sti));
    expect(vectorOf(guest)).toBe(0x41);
    expect(frameOf(guest, false)["rip"]).toBe(BigInt(CODE + 2));
  });
});
