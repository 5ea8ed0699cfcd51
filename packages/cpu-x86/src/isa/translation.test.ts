import { describe, expect, it } from "@jest/globals";
import { AccessKind, EngineExit } from "@hvjournal/engine";
import { Vector } from "./exceptions.js";
import { ExitCode } from "./exit-code.js";
import { CODE, DATA, frameOf, handledVector, machine, type Machine, PageEntry, UNMAPPED } from "./testing/machine.js";
import { tiers } from "./testing/tiers.js";
import { NOT_CANONICAL, PAGE_FAULT } from "./translation.js";

const HLT = 0xf4;
const { P, RW, US, A, D, PS, XD } = PageEntry;
const ALL = P | RW | US;
/** push qword [rdi]; hlt */
const READ = [0xff, 0x37, HLT];
/** inc byte [rdi]; hlt */
const WRITE = [0xfe, 0x07, HLT];
/** push qword [rdi]; inc byte [rdi]; push qword [rdi]; inc byte [rdi]; hlt */
const MIXED = [0xff, 0x37, 0xfe, 0x07, 0xff, 0x37, 0xfe, 0x07, HLT];

describe.each(tiers)("4-level paging with %s", (_name, options) => {
  function at(code: readonly number[], bits: bigint = ALL): Machine {
    const guest = machine(code, options);
    guest.map(UNMAPPED, 0x2_8000, bits);
    // Written already, so that nobody who follows changes of RAM stands between the guest and a fast write.
    guest.place(0x2_8000, [0]);
    guest.set("rdi", UNMAPPED);
    return guest;
  }

  /** The entry without the address. */
  function flagsOf(guest: Machine, virtual: number): bigint {
    return guest.word64(guest.entry(virtual)) & (0xfffn | XD);
  }

  it("sets A with the first read and D with the first write, in entries of every level", () => {
    const guest = at(MIXED);
    const upper = guest.entry(0) - 0x1000;
    guest.engine.run(1);
    expect(flagsOf(guest, UNMAPPED)).toBe(ALL | A);
    expect([flagsOf(guest, CODE), flagsOf(guest, DATA)]).toEqual([ALL | A, ALL]);
    expect(guest.word64(upper) & 0xfffn).toBe(ALL | A);
    guest.engine.run(1);
    expect(flagsOf(guest, UNMAPPED)).toBe(ALL | A | D);
    // D is the last entry's only.
    expect(guest.word64(upper) & 0xfffn).toBe(ALL | A);
  });

  it("sets A and D again once the guest has cleared them, without any flush", () => {
    // push [rdi]; inc [rdi]; xchg [rsi],rax (the entry); push [rdi]; hlt
    const guest = at([0xff, 0x37, 0xfe, 0x07, 0x48, 0x87, 0x06, 0xff, 0x37, HLT]);
    const entry = guest.entry(UNMAPPED);
    guest.map(0x6_0000, entry & ~0xfff);
    guest.set("rsi", 0x6_0000 + (entry & 0xfff));
    guest.set("rax", 0x2_8000n | ALL);
    expect(guest.engine.run(3)).toBe(EngineExit.budget);
    expect(flagsOf(guest, UNMAPPED)).toBe(ALL);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect(flagsOf(guest, UNMAPPED)).toBe(ALL | A);
    expect(guest.engine.unitsLeft).toBe(8);
  });

  it("lets a write see a mapping that was read only before, and one made read only after it was written", () => {
    const guest = at(WRITE, P | US);
    guest.engine.run(100);
    expect([handledVector(guest), frameOf(guest, true)["error"], guest.get("cr2")]).toEqual([
      Vector.pageFault,
      3n,
      BigInt(UNMAPPED),
    ]);
    // A fault leaves the flags alone.
    expect(flagsOf(guest, UNMAPPED)).toBe(P | US);
    guest.map(UNMAPPED, 0x2_8000, ALL);
    guest.set("rip", CODE);
    guest.engine.run(100);
    expect(guest.get("rip")).toBe(BigInt(CODE + 3));
    guest.map(UNMAPPED, 0x2_8000, P | US);
    guest.set("rip", CODE);
    guest.engine.run(100);
    expect(handledVector(guest)).toBe(Vector.pageFault);
  });

  it("lets the system write read-only pages while CR0.WP is clear", () => {
    const guest = at(WRITE, P);
    guest.set("cr0", guest.get("cr0") & ~0x1_0000n);
    expect(guest.engine.run(10)).toBe(ExitCode.halt);
    expect([guest.get("rip"), flagsOf(guest, UNMAPPED)]).toEqual([BigInt(CODE + 3), P | A | D]);
  });

  it("keeps CPL 3 out of pages of the system, and tells so in the error code", () => {
    for (const [bits, code, error] of [
      [P | RW, READ, 5n],
      [P | RW, WRITE, 7n],
      [P | US, WRITE, 7n],
      [0n, READ, 4n],
    ] as const) {
      const guest = at(code, bits);
      guest.set("cpl", 3);
      guest.set("segmentSelector1", 0x2b);
      guest.engine.run(100);
      expect([handledVector(guest), frameOf(guest, true)["error"]]).toEqual([Vector.pageFault, error]);
    }
  });

  it("refuses reserved bits: of addresses, of large pages, of the top table, and XD without NXE", () => {
    const faults = (
      entry: number | undefined,
      bits: bigint,
      change: (guest: Machine) => void = () => undefined,
    ): void => {
      const guest = at(READ);
      guest.setWord64(entry ?? guest.entry(UNMAPPED), guest.word64(entry ?? guest.entry(UNMAPPED)) | bits);
      change(guest);
      const code = guest.engine.translate(BigInt(UNMAPPED), AccessKind.read, 1);
      expect(code).toBe(PAGE_FAULT | 9);
    };
    const tables = machine([]).entry(0) - 0x3000;
    faults(undefined, 1n << 46n);
    faults(undefined, 1n << 51n);
    faults(undefined, XD, (guest) => guest.set("efer", 0x500));
    faults(tables, PS);
    // The directory entry as a page of 2 MiB whose address is not a multiple of it.
    faults(tables + 0x2000, PS);
  });

  it("maps pages of 2 MiB and 1 GiB", () => {
    const guest = at(READ);
    const tables = guest.entry(0) - 0x3000;
    const write = (table: number, index: number, value: bigint): void => guest.setWord64(table + 8 * index, value);
    write(tables + 0x2000, 1, ALL | PS);
    write(tables + 0x1000, 1, ALL | PS);
    guest.setWord64(0x2_8010, 0x1234n);
    for (const virtual of [0x20_0000 + 0x2_8010, 0x4000_0000 + 0x2_8010]) {
      guest.set("rip", CODE);
      guest.set("rdi", virtual);
      expect(guest.engine.run(10)).toBe(ExitCode.halt);
      expect(guest.word64(Number(guest.get("rsp")))).toBe(0x1234n);
    }
    expect(guest.word64(tables + 0x2008) & 0xfffn).toBe(ALL | PS | A);
    expect(guest.word64(tables + 0x1008) & 0xfffn).toBe(ALL | PS | A);
  });

  it("raises #GP for an address that is not canonical, and #SS where it is the stack's", () => {
    const data = at(READ);
    data.set("rdi", 1n << 47n);
    data.engine.run(100);
    expect([handledVector(data), frameOf(data, true)["error"]]).toEqual([Vector.generalProtection, 0n]);
    // push [rbp]
    const stack = machine([0xff, 0x75, 0x00], options);
    stack.set("rbp", 1n << 47n);
    stack.engine.run(100);
    expect([handledVector(stack), frameOf(stack, true)["error"]]).toEqual([Vector.stackFault, 0n]);
    // Across the end of the lower half.
    const across = machine(READ, options);
    across.set("rdi", (1n << 47n) - 4n);
    across.engine.run(100);
    expect(handledVector(across)).toBe(Vector.pageFault);
    expect(across.engine.translate(1n << 47n, AccessKind.read, 1)).toBe(NOT_CANONICAL);
  });

  it("sets no flag when an observer translates", () => {
    const guest = at(READ);
    expect(guest.engine.translate(BigInt(UNMAPPED), AccessKind.write, 1)).toBe(0);
    expect([guest.engine.translatedPhysical, flagsOf(guest, UNMAPPED)]).toEqual([0x2_8000, ALL]);
  });

  it("tells those who follow changes of RAM that a walk has set a flag", () => {
    const guest = at(READ);
    guest.engine.memory.takeDirtyPages("digest");
    guest.engine.run(10);
    expect(guest.engine.memory.takeDirtyPages("digest")).toContain(guest.entry(UNMAPPED) >>> 12);
  });
});
