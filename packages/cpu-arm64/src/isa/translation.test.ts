import { describe, expect, it } from "@jest/globals";
import type { EngineOptions } from "@hvjournal/engine";
import { ExitCode } from "./exit-code.js";
import * as a from "./testing/encodings.js";
import {
  Attribute,
  BLOCK,
  CODE,
  DATA,
  enableMmu,
  machine,
  type Machine,
  PAGE,
  PageTables,
  RAM_BASE,
  RAM_BYTES,
  SCTLR_MMU,
  TCR_48,
} from "./testing/machine.js";

const SAME_EL_SPX = 4;
const LOWER_EL = 8;
const tiers: readonly (readonly [string, Partial<EngineOptions>])[] = [
  ["interpreter", {}],
  ["blocks", { tier: "blocks" }],
];

/** An address in the middle of both the table of each level and of its page. */
const LOW = 0x0000_1234_5678_9000n;
const HIGH = 0xffff_8765_4321_0000n;
const DATA_ABORT = { el0: 0x9200_0000n, el1: 0x9600_0000n };
const WRITE = 0x40n;

function runToVector(guest: Machine): number {
  expect(guest.engine.run(1000)).toBe(ExitCode.hypervisorCall);
  return Number(guest.engine.exitOperand(0));
}

/** Loads x1 from [x2] at EL1 with the MMU on; x3 is stored where `storing`. */
function accessing(address: bigint, options: Partial<EngineOptions>, word: number = a.load(1, 2)) {
  const guest = machine([word, a.svc(1)], options);
  guest.set("x2", address);
  guest.set("x3", 0x1122_3344_5566_7788n);
  const tables = enableMmu(guest);
  return { guest, tables };
}

function expectAbort(guest: Machine, syndrome: bigint, address: bigint, vector = SAME_EL_SPX): void {
  expect(runToVector(guest)).toBe(vector);
  expect(guest.get("ESR_EL1").toString(16)).toBe(syndrome.toString(16));
  expect(guest.get("FAR_EL1")).toBe(address);
  expect(guest.get("ELR_EL1")).toBe(BigInt(CODE));
  expect(guest.get("x1")).toBe(0n);
}

function expectLoaded(guest: Machine, value: bigint): void {
  expect(runToVector(guest)).toBe(SAME_EL_SPX);
  expect(guest.get("ESR_EL1").toString(16)).toBe("56000001");
  expect(guest.get("x1")).toBe(value);
}

describe.each(tiers)("translation in the %s tier", (_name, options) => {
  it("maps 4 KiB pages through four levels in both halves", () => {
    for (const virtual of [LOW, HIGH]) {
      const { guest, tables } = accessing(virtual + 0x128n, options);
      tables.map(virtual, DATA);
      guest.setWord64(DATA + 0x128, 0xabcd_ef01_2345n);
      expectLoaded(guest, 0xabcd_ef01_2345n);
    }
  });

  it.each([
    [1, 0x3fff_ffffn],
    [2, 0x1f_ffffn],
  ])("maps blocks of level %i", (level, offsetMask) => {
    const physical = BigInt(DATA) & ~offsetMask;
    const { guest, tables } = accessing((LOW & ~offsetMask) | (BigInt(DATA) & offsetMask), options);
    tables.map(LOW, Number(physical), BLOCK, level);
    guest.setWord64(DATA, 0x55n);
    expectLoaded(guest, 0x55n);
  });

  it.each([0, 1, 2, 3])("raises a translation fault of level %i where the entry is invalid", (level) => {
    const { guest, tables } = accessing(LOW, options);
    guest.setWord64(tables.entry(LOW, level), 0n);
    expectAbort(guest, DATA_ABORT.el1 | 4n | BigInt(level), LOW);
  });

  it.each([0, 3])("raises a translation fault for a block descriptor at level %i", (level) => {
    const { guest, tables } = accessing(LOW, options);
    tables.map(LOW, level === 3 ? DATA : 0, BLOCK, level);
    expectAbort(guest, DATA_ABORT.el1 | 4n | BigInt(level), LOW);
  });

  it.each([1, 2, 3])("raises an access flag fault of level %i and does not set the flag", (level) => {
    const { guest, tables } = accessing(LOW, options);
    const attributes = (level === 3 ? PAGE : BLOCK) & ~Attribute.accessed;
    tables.map(LOW, RAM_BASE, attributes, level);
    expectAbort(guest, DATA_ABORT.el1 | 8n | BigInt(level), LOW);
    expect(guest.word64(tables.entry(LOW, level)) & Attribute.accessed).toBe(0n);
  });

  it.each([1, 2, 3])("raises a permission fault of level %i for a write to what is read-only", (level) => {
    const { guest, tables } = accessing(LOW, options, a.store(3, 2));
    tables.map(LOW, RAM_BASE, (level === 3 ? PAGE : BLOCK) | Attribute.readOnly, level);
    expectAbort(guest, DATA_ABORT.el1 | WRITE | 0xcn | BigInt(level), LOW);
  });

  it.each([0, 1, 2])("raises an external abort when the table of level %i lies where there is no RAM", (level) => {
    const { guest, tables } = accessing(LOW, options);
    guest.setWord64(tables.entry(LOW, level), BigInt(RAM_BASE + RAM_BYTES) | 3n);
    expectAbort(guest, DATA_ABORT.el1 | (0x15n + BigInt(level)), LOW);
  });

  it.each([0, 1, 2, 3])("raises an address size fault of level %i for an output beyond 40 bits", (level) => {
    const { guest, tables } = accessing(LOW, options);
    const beyond = 1n << 40n;
    if (level === 0) guest.set("TTBR0_EL1", BigInt(tables.root) | beyond);
    else {
      tables.map(LOW, 0, PAGE);
      guest.setWord64(tables.entry(LOW, level), beyond | PAGE);
      if (level === 3) guest.setWord64(tables.entry(LOW, 3), beyond | PAGE);
    }
    // A table base outside the output size stops every fetch too.
    if (level === 0) {
      expect(guest.engine.translate(LOW, 0, 1)).toBe(0x40);
      return;
    }
    expectAbort(guest, DATA_ABORT.el1 | BigInt(level), LOW);
  });

  it("takes the output size from TCR_EL1.IPS", () => {
    const { guest, tables } = accessing(LOW, options);
    guest.set("TCR_EL1", TCR_48 & ~(7n << 32n));
    tables.map(LOW, 0x1_0000_0000, PAGE);
    expectAbort(guest, DATA_ABORT.el1 | 3n, LOW);
  });

  it("raises a translation fault of level 0 outside the input range of a half, and where EPD is set", () => {
    const outside = accessing(0x0001_0000_0000_0000n, options);
    expectAbort(outside.guest, DATA_ABORT.el1 | 4n, 0x0001_0000_0000_0000n);
    const disabled = accessing(HIGH, options);
    disabled.tables.map(HIGH, DATA);
    disabled.guest.set("TCR_EL1", TCR_48 | (1n << 23n));
    expectAbort(disabled.guest, DATA_ABORT.el1 | 4n, HIGH);
  });

  it.each([16, 17, 20, 24, 25, 28, 33, 34, 36, 39])("starts at the level that T1SZ = %i asks for", (size) => {
    const { guest } = accessing(0n, options);
    const root = DATA + 0x10_0000;
    const bits = 64 - size;
    const virtual = (0xffff_ffff_ffff_ffffn << BigInt(bits)) & 0xffff_ffff_ffff_ffffn;
    const address = virtual + (1n << BigInt(bits - 1)) + 0x3000n;
    guest.set("x2", address);
    guest.set("TCR_EL1", (TCR_48 & ~(0x3fn << 16n)) | (BigInt(size) << 16n));
    const start = bits > 39 ? 0 : bits > 30 ? 1 : 2;
    let table = root;
    for (let level = start; level <= 3; level++) {
      const shift = BigInt(39 - 9 * level);
      const mask = level === start ? (1n << BigInt(bits)) - 1n : (1n << (shift + 9n)) - 1n;
      const place = table + Number((address & mask) >> shift) * 8;
      table = root + (level - start + 1) * 0x1000;
      guest.setWord64(place, level === 3 ? BigInt(DATA) | PAGE : BigInt(table) | 3n);
    }
    guest.set("TTBR1_EL1", BigInt(root));
    guest.setWord64(DATA, 0x77n);
    expectLoaded(guest, 0x77n);
    const below = accessing(virtual - 1n - 0xfffn, options);
    below.guest.set("TCR_EL1", guest.get("TCR_EL1"));
    below.guest.set("TTBR1_EL1", BigInt(root));
    expectAbort(below.guest, DATA_ABORT.el1 | 4n, virtual - 0x1000n);
  });

  it("ignores the top byte of data addresses where TBI is set, and faults where it is clear", () => {
    const tagged = LOW | (0xa5n << 56n);
    const ignored = accessing(tagged, options);
    ignored.tables.map(LOW, DATA);
    ignored.guest.setWord64(DATA, 9n);
    ignored.guest.set("TCR_EL1", TCR_48 | (1n << 37n));
    expectLoaded(ignored.guest, 9n);
    const faulting = accessing(tagged, options);
    faulting.tables.map(LOW, DATA);
    expectAbort(faulting.guest, DATA_ABORT.el1 | 4n, tagged);
  });

  it("takes the tag off pc when a branch goes to a tagged address", () => {
    const guest = machine([a.branchRegister(2)], options);
    enableMmu(guest);
    guest.place(CODE + 0x40, [a.svc(3)]);
    guest.set("TCR_EL1", TCR_48 | (1n << 37n));
    guest.set("x2", BigInt(CODE + 0x40) | (0x5an << 56n));
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ELR_EL1")).toBe(BigInt(CODE + 0x44));
  });

  it("gives the lowest byte that fails as FAR when an access crosses into a page that is not mapped", () => {
    const { guest, tables } = accessing(LOW + 0xffcn, options, a.store(3, 2));
    tables.map(LOW, DATA);
    guest.setWord64(DATA + 0xff8, 0x99n);
    expectAbort(guest, DATA_ABORT.el1 | WRITE | 7n, LOW + 0x1000n);
    expect(guest.word64(DATA + 0xff8)).toBe(0x99n);
  });

  it("is flat with the MMU off, and has an address size fault beyond 40 bits", () => {
    const flat = machine([a.load(1, 2), a.svc(1)], options);
    flat.set("x2", BigInt(DATA));
    flat.setWord64(DATA, 4n);
    expectLoaded(flat, 4n);
    const beyond = machine([a.load(1, 2)], options);
    beyond.set("x2", 1n << 40n);
    expectAbort(beyond, DATA_ABORT.el1, 1n << 40n);
  });
});

describe.each(tiers)("permissions in the %s tier", (_name, options) => {
  /** EL0 runs `word` at CODE, mapped for it, then SVC. */
  function atEl0(word: number, attributes: bigint, table = 0n): Machine {
    const guest = machine([word, a.svc(1)], options);
    const tables = enableMmu(guest);
    const executable = (PAGE | Attribute.user | Attribute.readOnly) & ~Attribute.uxn;
    tables.map(BigInt(CODE), CODE, executable);
    tables.map(LOW, DATA, attributes);
    const parent = tables.entry(LOW, 2);
    guest.setWord64(parent, guest.word64(parent) | table);
    guest.set("x2", LOW);
    guest.set("exceptionLevel", 0n);
    guest.set("stackSelect", 0n);
    guest.set("pc", BigInt(CODE));
    guest.engine.stateWritten();
    return guest;
  }

  it.each([
    ["reads user memory", a.load(1, 2), PAGE | Attribute.user, 0n, undefined],
    ["writes user memory", a.store(3, 2), PAGE | Attribute.user, 0n, undefined],
    ["may not read kernel memory", a.load(1, 2), PAGE, 0n, DATA_ABORT.el0 | 0xfn],
    [
      "may not write read-only memory",
      a.store(3, 2),
      PAGE | Attribute.user | Attribute.readOnly,
      0n,
      DATA_ABORT.el0 | WRITE | 0xfn,
    ],
    ["is kept out by APTable[0]", a.load(1, 2), PAGE | Attribute.user, 1n << 61n, DATA_ABORT.el0 | 0xfn],
    ["may not write below APTable[1]", a.store(3, 2), PAGE | Attribute.user, 1n << 62n, DATA_ABORT.el0 | WRITE | 0xfn],
  ])("EL0 %s", (_what, word, attributes, table, syndrome) => {
    const guest = atEl0(word, attributes, table);
    if (syndrome === undefined) {
      expect(runToVector(guest)).toBe(LOWER_EL);
      expect(guest.get("ESR_EL1").toString(16)).toBe("56000001");
    } else expectAbort(guest, syndrome, LOW, LOWER_EL);
  });

  it("lets LDTR and STTR at EL1 do what EL0 may, with the exception class of EL1", () => {
    for (const [word, syndrome] of [
      [a.loadUnprivileged(1, 2), DATA_ABORT.el1 | 0xfn],
      [a.storeUnprivileged(3, 2), DATA_ABORT.el1 | WRITE | 0xfn],
    ] as const) {
      const { guest, tables } = accessing(LOW, options, word);
      tables.map(LOW, DATA);
      expectAbort(guest, syndrome, LOW);
    }
    const allowed = accessing(LOW, options, a.loadUnprivileged(1, 2));
    allowed.tables.map(LOW, DATA, PAGE | Attribute.user);
    allowed.guest.setWord64(DATA, 6n);
    expectLoaded(allowed.guest, 6n);
  });

  const executable = Attribute.valid | Attribute.table | Attribute.accessed;
  const WXN = 1n << 19n;
  it.each([
    ["EL1 executes what neither EL0 can write nor PXN forbids", 1, executable, 0n, 0n, undefined],
    ["EL1 may not execute with PXN", 1, executable | Attribute.pxn, 0n, 0n, 0x8600_000fn],
    ["EL1 may not execute below PXNTable", 1, executable, 1n << 59n, 0n, 0x8600_000fn],
    ["EL1 may not execute what EL0 can write", 1, executable | Attribute.user, 0n, 0n, 0x8600_000fn],
    ["EL1 may execute what EL0 can only read", 1, executable | Attribute.user | Attribute.readOnly, 0n, 0n, undefined],
    ["EL1 may not execute what it can write under WXN", 1, executable, 0n, WXN, 0x8600_000fn],
    ["EL1 may execute what is read-only under WXN", 1, executable | Attribute.readOnly, 0n, WXN, undefined],
    ["EL0 executes even what it can't read", 0, executable, 0n, 0n, undefined],
    ["EL0 may not execute with UXN", 0, executable | Attribute.uxn | Attribute.user, 0n, 0n, 0x8200_000fn],
    ["EL0 may not execute below UXNTable", 0, executable, 1n << 60n, 0n, 0x8200_000fn],
    ["EL0 may not execute what it can write under WXN", 0, executable | Attribute.user, 0n, WXN, 0x8200_000fn],
  ])("%s", (_what, level, attributes, table, control, syndrome) => {
    const guest = machine([], options);
    const tables = enableMmu(guest);
    // Vectors are read-only, so that WXN leaves them executable.
    for (let page = 0; page < 4; page++)
      tables.map(BigInt(RAM_BASE + page * 0x1000), RAM_BASE + page * 0x1000, executable | Attribute.readOnly);
    tables.map(LOW, DATA, attributes);
    const parent = tables.entry(LOW, 2);
    guest.setWord64(parent, guest.word64(parent) | table);
    guest.place(DATA, [a.svc(9)]);
    guest.set("SCTLR_EL1", SCTLR_MMU | control);
    guest.set("pc", LOW);
    guest.set("exceptionLevel", BigInt(level));
    guest.set("stackSelect", BigInt(level));
    expect(runToVector(guest)).toBe(level === 0 ? LOWER_EL : SAME_EL_SPX);
    expect(guest.get("ESR_EL1").toString(16)).toBe((syndrome ?? 0x5600_0009n).toString(16));
    expect(guest.get("ELR_EL1")).toBe(syndrome === undefined ? LOW + 4n : LOW);
    if (syndrome !== undefined) expect(guest.get("FAR_EL1")).toBe(LOW);
  });

  it("raises an instruction abort of the level where a fetch finds no mapping", () => {
    const guest = machine([a.branchRegister(2)], options);
    enableMmu(guest);
    guest.set("x2", HIGH);
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ESR_EL1").toString(16)).toBe("86000004");
    expect(guest.get("ELR_EL1")).toBe(HIGH);
  });

  it("raises an external abort for a fetch from where there is no RAM", () => {
    const guest = machine([a.branchRegister(2)], options);
    guest.set("x2", BigInt(RAM_BASE + RAM_BYTES));
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ESR_EL1").toString(16)).toBe("86000010");
  });
});

describe.each(tiers)("the invisible TLB in the %s tier", (_name, options) => {
  it("shows the other mapping as soon as TTBR0_EL1 is written", () => {
    const guest = machine([a.load(1, 2), a.msr("TTBR0_EL1", 4), a.load(5, 2), a.svc(1)], options);
    const tables = enableMmu(guest);
    const other = new PageTables(guest, RAM_BASE + 0x40_0000);
    for (let page = 0; page < 4; page++) {
      const address = RAM_BASE + page * 0x1000;
      other.map(BigInt(address), address, Attribute.valid | Attribute.table | Attribute.accessed);
    }
    tables.map(LOW, DATA);
    other.map(LOW, DATA + 0x1000);
    guest.setWord64(DATA, 1n);
    guest.setWord64(DATA + 0x1000, 2n);
    guest.set("x2", LOW);
    guest.set("x4", BigInt(other.root));
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect([guest.get("x1"), guest.get("x5")]).toEqual([1n, 2n]);
  });

  it("shows a changed entry to the next access, without TLBI", () => {
    const guest = machine([a.load(1, 2), a.store(4, 3), a.load(5, 2), a.svc(1)], options);
    const tables = enableMmu(guest);
    tables.map(LOW, DATA);
    const table = Number(BigInt(tables.entry(LOW, 3)) & ~0xfffn);
    tables.map(HIGH, table);
    guest.setWord64(DATA, 1n);
    guest.setWord64(DATA + 0x1000, 2n);
    guest.set("x2", LOW);
    guest.set("x3", HIGH + (BigInt(tables.entry(LOW, 3)) & 0xfffn));
    guest.set("x4", BigInt(DATA + 0x1000) | PAGE);
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect([guest.get("x1"), guest.get("x5")]).toEqual([1n, 2n]);
  });

  it("turns translation on at the instruction behind the write to SCTLR_EL1", () => {
    const guest = machine([a.msr("SCTLR_EL1", 4), a.load(1, 2), a.svc(1)], options);
    const tables = enableMmu(guest);
    tables.map(BigInt(DATA), DATA + 0x1000);
    guest.setWord64(DATA + 0x1000, 0x66n);
    guest.set("SCTLR_EL1", 0x30d0_0980n);
    guest.set("x2", BigInt(DATA));
    guest.set("x4", SCTLR_MMU);
    expectLoaded(guest, 0x66n);
  });
});

describe.each(tiers)("maintenance in the %s tier", (_name, options) => {
  it("zeroes the aligned 64 bytes around the address by DC ZVA", () => {
    const guest = machine([a.sys("dc zva", 2), a.svc(1)], options);
    for (let offset = -8; offset <= 64; offset += 8) guest.setWord64(DATA + 64 + offset, 0xffn);
    guest.set("x2", BigInt(DATA + 64 + 37));
    runToVector(guest);
    const words = Array.from({ length: 10 }, (_, index) => guest.word64(DATA + 56 + 8 * index));
    expect(words).toEqual([0xffn, 0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n, 0xffn]);
  });

  it("raises an abort of a write by DC ZVA, with the address as given", () => {
    const { guest, tables } = accessing(LOW + 0x48n, options, a.sys("dc zva", 2));
    tables.map(LOW, DATA, PAGE | Attribute.readOnly);
    expectAbort(guest, DATA_ABORT.el1 | WRITE | 0xfn, LOW + 0x48n);
  });

  it("raises an abort with CM and WnR by cache maintenance of an address that is not mapped", () => {
    for (const word of [a.sys("dc cvac", 2), a.sys("dc ivac", 2), a.sys("ic ivau", 2)]) {
      const { guest } = accessing(LOW, options, word);
      expectAbort(guest, DATA_ABORT.el1 | 0x140n | 4n, LOW);
    }
  });

  it("does nothing but retire where the address is mapped, even to no RAM", () => {
    const { guest, tables } = accessing(LOW, options, a.sys("dc cvac", 2));
    tables.map(LOW, 0x900_0000);
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    expect(guest.get("ESR_EL1").toString(16)).toBe("56000001");
    expect(guest.engine.unitsLeft).toBe(1000 - 3);
  });

  it("needs the right to write for DC IVAC", () => {
    const { guest, tables } = accessing(LOW, options, a.sys("dc ivac", 2));
    tables.map(LOW, DATA, PAGE | Attribute.readOnly);
    expectAbort(guest, DATA_ABORT.el1 | 0x14fn, LOW);
  });

  const normal = 0xffn;
  it.each([
    ["S1E1R of a page", "at s1e1r", PAGE, (normal << 56n) | (3n << 7n) | 0x800n],
    ["S1E1W of a read-only page", "at s1e1w", PAGE | Attribute.readOnly, 0x801n | (0xfn << 1n)],
    ["S1E0R of a kernel page", "at s1e0r", PAGE, 0x801n | (0xfn << 1n)],
    ["S1E0W of a user page", "at s1e0w", PAGE | Attribute.user, (normal << 56n) | (3n << 7n) | 0x800n],
    ["S1E1R without the access flag", "at s1e1r", PAGE & ~Attribute.accessed, 0x801n | (0xbn << 1n)],
    ["S1E1R of device memory", "at s1e1r", PAGE | (1n << 2n), (4n << 56n) | (2n << 7n) | 0x800n],
  ] as const)("writes PAR_EL1 by AT %s", (_what, operation, attributes, expected) => {
    const { guest, tables } = accessing(LOW + 0x123n, options, a.sys(operation, 2));
    guest.set("MAIR_EL1", 0x04ffn);
    tables.map(LOW, DATA, attributes | (3n << 8n));
    expect(runToVector(guest)).toBe(SAME_EL_SPX);
    const address = (expected & 1n) === 0n ? BigInt(DATA) : 0n;
    expect(guest.get("PAR_EL1").toString(16)).toBe((expected | address).toString(16));
  });

  it("raises an abort by AT when the walk meets no memory", () => {
    const { guest, tables } = accessing(LOW, options, a.sys("at s1e0r", 2));
    guest.setWord64(tables.entry(LOW, 1), BigInt(RAM_BASE + RAM_BYTES) | 3n);
    expectAbort(guest, DATA_ABORT.el1 | 0x140n | 0x16n, LOW);
  });
});
