/** Corners of exceptions, page-fault error codes, fast system calls and single step, by guests in 64-bit mode. */
import { describe, expect, it } from "@jest/globals";
import { Vector } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import { Cr4, Efer, Flag } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import {
  CODE,
  DATA,
  FAULT_STACK,
  frameOf,
  handledVector,
  HANDLERS,
  LEVEL0_STACK,
  machine,
  type Machine,
  PageEntry,
  Selector,
  setGate,
  STACK,
  UNMAPPED,
} from "./testing/machine.js";
import { bytes, flags, toUserMode } from "./testing/modes.js";

const { P, S, code, writable, accessed, L, G } = SegmentAttribute;
const { P: PRESENT, RW, US, XD } = PageEntry;
const IDT = 0x3000;

function at(program: string, values: Readonly<Record<string, number | bigint>> = {}): Machine {
  const guest = machine(bytes(program));
  for (const [name, value] of Object.entries(values)) guest.set(name, value);
  return guest;
}

function atUser(program: string, values: Readonly<Record<string, number | bigint>> = {}): Machine {
  const guest = at(program, values);
  toUserMode(guest, Selector.userCode, Selector.userData, P | S | code | writable | accessed | L | G);
  return guest;
}

function vectorOf(guest: Machine): number {
  expect(guest.engine.run(20)).toBe(ExitCode.halt);
  return handledVector(guest);
}

/** Makes the gate of a vector absent: its delivery raises #NP. */
function dropGate(guest: Machine, vector: number): void {
  guest.setWord64(IDT + 16 * vector, guest.word64(IDT + 16 * vector) & ~(1n << 47n));
}

describe("an exception while another is delivered", () => {
  it("is delivered instead of a benign one", () => {
    // ud2
    const guest = at("0f 0b");
    dropGate(guest, Vector.invalidOpcode);
    expect(vectorOf(guest)).toBe(Vector.segmentNotPresent);
    // The vector, in the IDT, while an event was delivered.
    expect(frameOf(guest, true)["error"]).toBe(BigInt(Vector.invalidOpcode * 8 + 3));
  });

  it("is a double fault where both are contributory, and a page fault is not behind such a one", () => {
    // hlt, at CPL 3: #GP
    const guest = atUser("f4");
    dropGate(guest, Vector.generalProtection);
    expect(vectorOf(guest)).toBe(Vector.doubleFault);
    expect(frameOf(guest, true)["error"]).toBe(0n);
    // Its stack is not there: #PF, on its own stack.
    const absent = atUser("f4");
    absent.map(LEVEL0_STACK - 0x1000);
    expect(vectorOf(absent)).toBe(Vector.pageFault);
    expect([absent.get("cr2") >> 12n, frameOf(absent, true)["error"]]).toEqual([
      BigInt((LEVEL0_STACK - 0x1000) >> 12),
      2n,
    ]);
  });

  it("shuts down behind a double fault", () => {
    const guest = atUser("f4");
    dropGate(guest, Vector.generalProtection);
    dropGate(guest, Vector.doubleFault);
    expect(guest.engine.run(20)).toBe(ExitCode.shutdown);
  });

  it("takes the stack that the gate names in the TSS, from any level", () => {
    for (const guest of [at("cd 30"), atUser("cd 30")]) {
      setGate(guest, 0x30, HANDLERS + 16 * 0x30, 1, 0xee);
      expect(vectorOf(guest)).toBe(0x30);
      expect(guest.get("rsp")).toBe(BigInt(FAULT_STACK - 40));
    }
    // RSP0 that is not canonical
    const guest = atUser("f4");
    guest.setWord64(0x5000 + 4, 1n << 60n);
    expect(vectorOf(guest)).toBe(Vector.doubleFault);
  });
});

describe("error codes of page faults", () => {
  const SYSTEM_PAGES = [CODE, STACK - 0x1000, 0x3_7000, HANDLERS];

  it.each<readonly [string, "user" | "system", string, bigint, number, bigint]>([
    // push [rdi]; mov [rdi],al; call rdi
    ["user read of a page of the system", "user", "ff 37", PRESENT | RW, 0, 5n],
    ["user write of a read-only page", "user", "88 07", PRESENT | US, 0, 7n],
    ["user fetch with XD", "user", "ff d7", PRESENT | RW | US | XD, 0, 0x15n],
    ["user fetch of a page of the system", "user", "ff d7", PRESENT | RW, 0, 0x15n],
    ["system write of a read-only page", "system", "88 07", PRESENT, 0, 3n],
    ["system fetch with XD", "system", "ff d7", PRESENT | RW | XD, 0, 0x11n],
    ["system read of a user's page with SMAP", "system", "ff 37", PRESENT | RW | US, Cr4.SMAP, 1n],
    ["system write of a user's page with SMAP", "system", "88 07", PRESENT | RW | US, Cr4.SMAP, 3n],
    ["system fetch of a user's page with SMEP", "system", "ff d7", PRESENT | RW | US, Cr4.SMEP, 0x11n],
    ["reserved bits", "system", "ff 37", PRESENT | (1n << 50n), 0, 9n],
    ["user write with reserved bits", "user", "88 07", PRESENT | US | (1n << 50n), 0, 0xfn],
    ["absent", "user", "88 07", 0n, 0, 6n],
  ])("tell of a %s", (_what, level, program, entry, controls, error) => {
    const guest = (level === "user" ? atUser : at)(program, { rdi: UNMAPPED });
    if (level === "system") for (const page of SYSTEM_PAGES) guest.map(page & ~0xfff, page & ~0xfff, PRESENT | RW);
    guest.setWord64(guest.entry(UNMAPPED), BigInt(DATA) | entry);
    guest.set("cr4", Cr4.PAE | controls);
    expect(vectorOf(guest)).toBe(Vector.pageFault);
    expect([frameOf(guest, true)["error"], guest.get("cr2")]).toEqual([error, BigInt(UNMAPPED)]);
  });
});

describe("SYSENTER and SYSEXIT in 64-bit mode", () => {
  it("use whole registers, and REX.W chooses where SYSEXIT goes", () => {
    const guest = atUser("0f 34", {
      sysenterCs: Selector.code,
      sysenterEsp: LEVEL0_STACK,
      sysenterEip: CODE + 0x100,
      rflags: Flag.IF | Flag.CF | 2,
    });
    guest.engine.run(1);
    expect(["cpl", "rip", "rsp", "segmentSelector1", "segmentSelector2"].map(guest.get)).toEqual(
      [0, CODE + 0x100, LEVEL0_STACK, 0x08, 0x10].map(BigInt),
    );
    expect(flags(guest)).toBe(Flag.CF);
    // sysexitq
    guest.place(CODE + 0x100, bytes("48 0f 35"));
    guest.set("rdx", CODE + 0x200);
    guest.set("rcx", STACK);
    guest.engine.run(1);
    expect(["cpl", "rip", "rsp", "segmentSelector1", "segmentSelector2", "contextWord"].map(guest.get)).toEqual(
      [3, CODE + 0x200, STACK, 0x2b, 0x33, 0].map(BigInt),
    );
    const narrow = at("0f 35", { sysenterCs: Selector.code, rdx: 0xffff_0000_0000_0000n | BigInt(CODE), rcx: STACK });
    narrow.engine.run(1);
    expect(["cpl", "rip", "segmentSelector1", "segmentSelector2"].map(narrow.get)).toEqual(
      [3, CODE, 0x1b, 0x23].map(BigInt),
    );
    expect(narrow.get("contextWord")).toBe(1n);
  });

  it("refuse a null selector, addresses that are not canonical, and CPL 3", () => {
    expect(vectorOf(at("0f 34", { sysenterCs: 3 }))).toBe(Vector.generalProtection);
    const far = { sysenterCs: Selector.code, rdx: 1n << 60n, rcx: STACK };
    expect(vectorOf(at("48 0f 35", far))).toBe(Vector.generalProtection);
    expect(vectorOf(at("48 0f 35", { ...far, rdx: CODE, rcx: 1n << 60n }))).toBe(Vector.generalProtection);
    expect(vectorOf(atUser("48 0f 35", { ...far, rdx: CODE }))).toBe(Vector.generalProtection);
  });
});

describe("single step and RF", () => {
  /** RIPs, as offsets in the program, that #DB has been raised with. */
  function steps(guest: Machine, units: number): number[] {
    guest.place(HANDLERS + 16 * Vector.debug, [0x48, 0xcf]);
    const stops: number[] = [];
    for (let unit = 0; unit < units; unit++) {
      const pending = guest.get("exceptionPending") !== 0n;
      guest.engine.run(1);
      if (pending && guest.get("rip") === BigInt(HANDLERS + 16 * Vector.debug))
        stops.push(Number(frameOf(guest, false)["rip"] ?? 0n) - CODE);
    }
    return stops;
  }

  it("steps over SYSCALL into the system where FMASK leaves TF, and not into handlers", () => {
    // int 0x30; nop
    const guest = at("cd 30 90 90 90", { rflags: Flag.TF | 2 });
    guest.place(HANDLERS + 16 * 0x30, [0x90, 0x90, 0x48, 0xcf]);
    // No trap behind INT itself: IRET brings TF back, and the next instruction is the first to trap.
    expect(steps(guest, 9)).toEqual([3, 4]);
    const entered = atUser("0f 05", {
      efer: Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE,
      star: 0x08n << 32n,
      lstar: CODE + 0x100,
      rflags: Flag.TF | 2,
    });
    entered.place(CODE + 0x100, [0x90, 0x90]);
    expect(steps(entered, 3)).toEqual([0x100]);
  });

  it("pushes RF with a fault, not with a trap or an interrupt between instructions", () => {
    // ud2; int3
    const fault = at("0f 0b");
    expect(vectorOf(fault)).toBe(Vector.invalidOpcode);
    expect(frameOf(fault, false)["rflags"]).toBe(BigInt(Flag.RF | 2));
    const trap = at("cc");
    expect(vectorOf(trap)).toBe(Vector.breakpoint);
    expect(frameOf(trap, false)["rflags"]).toBe(2n);
    const interrupted = at("90 f4", { rflags: Flag.IF | 2, interruptPending: 1, interruptVector: 0x41 });
    expect(vectorOf(interrupted)).toBe(0x41);
    expect(frameOf(interrupted, false)["rflags"]).toBe(BigInt(Flag.IF | 2));
  });

  it("lets NMIs in with IRET even where that raises an exception, and with no other instruction", () => {
    // iretq, of zeros: #GP; iretq without a stack: #PF; push [rdi]: #PF
    for (const [program, values, vector, blocked] of [
      ["48 cf", { rsp: DATA }, Vector.generalProtection, 0n],
      ["48 cf", { rsp: UNMAPPED }, Vector.pageFault, 0n],
      ["ff 37", { rdi: UNMAPPED }, Vector.pageFault, 1n],
    ] as const) {
      const guest = at(program, { ...values, nmiBlocked: 1 });
      expect([program, vectorOf(guest), guest.get("nmiBlocked")]).toEqual([program, vector, blocked]);
    }
  });

  it("holds NMIs back behind a load of SS, and takes them behind the next instruction", () => {
    // mov ss,eax; nop; hlt
    const guest = at("8e d0 90 f4", { rax: Selector.data });
    guest.engine.run(1);
    guest.set("nmiPending", 1);
    expect(vectorOf(guest)).toBe(Vector.nmi);
    expect(frameOf(guest, false)["rip"]).toBe(BigInt(CODE + 3));
  });
});
