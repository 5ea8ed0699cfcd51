/** One vCPU in 64-bit mode with RAM, page tables, GDT, IDT and TSS, for tests. */
import {
  elementOf,
  Engine,
  everyForm,
  type EngineOptions,
  type Instruction,
  type ProfileEntry,
  type StateField,
} from "@hvjournal/engine";
import { refreshDerived } from "../context.js";
import { longModeValues, x86Cpu } from "../cpu.js";
import { parseEncoding } from "../encoding.js";
import { materializeFlags } from "../flags.js";
import { vectorInstructions } from "../instructions/vector/all.js";
import { SegmentAttribute } from "../segment-attributes.js";
import { gpr, layout, rip, Segment, segmentBase, segmentLimit, segmentSelector, xmm } from "../state.js";

export const RAM_BYTES = 0x40_0000;
/** Where `machine` puts the program, and RIP. */
export const CODE = 0x1_0000;
/** Free for data; and for more of it, unmapped until a test maps it. */
export const DATA = 0x2_0000;
export const UNMAPPED = 0x5_0000;
/** RSP. */
export const STACK = 0x3_0000;
/** The stack of page and double faults (IST 1), and of what comes from CPL 3 (RSP0). */
export const FAULT_STACK = 0x3_8000;
export const LEVEL0_STACK = 0x3_c000;
/** Handlers of all vectors: HLT, 16 bytes apart. */
export const HANDLERS = 0x1_8000;
/** Guest-physical address of a device. */
export const DEVICE = 0x1000_0000;

const GDT = 0x2000;
const IDT = 0x3000;
const TSS = 0x5000;
const TABLES = 0x10_0000;
const IST_VECTORS = [8, 14];

const { P, S, code, writable, conforming, L, DB, G } = SegmentAttribute;
const USER = 3 << 5;

/** Selectors of the GDT's segments. */
export const Selector = {
  code: 0x08,
  data: 0x10,
  compatibilityCode: 0x18,
  userData: 0x23,
  userCode: 0x2b,
  smallData: 0x30,
  absentData: 0x38,
  conformingCode: 0x40,
  smallCompatibilityCode: 0x48,
  tss: 0x50,
} as const;

/** Attributes and limit in pages of each, from selector 0x08 on. */
const SEGMENTS: readonly (readonly [attributes: number, pages: number])[] = [
  [P | S | code | writable | L | G, 0xfffff],
  [P | S | writable | DB | G, 0xfffff],
  [P | S | code | writable | DB | G, 0xfffff],
  [P | S | writable | DB | G | USER, 0xfffff],
  [P | S | code | writable | L | G | USER, 0xfffff],
  [P | S | writable | DB | G, 0x0000f],
  [S | writable | DB | G, 0xfffff],
  [P | S | code | conforming | writable | L | G, 0xfffff],
  [P | S | code | writable | DB | G, 0x0000f],
];

export const PageEntry = { P: 1n, RW: 2n, US: 4n, A: 32n, D: 64n, PS: 128n, XD: 1n << 63n } as const;
/** What `machine` maps with: to be read, written and executed at every CPL. */
const ALL = PageEntry.P | PageEntry.RW | PageEntry.US;

export interface Machine {
  readonly engine: Engine;
  /** A general register ("rax", "r9"), "xmm3", a field of the state, or an element of an array ("segmentBase4"). */
  readonly get: (name: string) => bigint;
  readonly set: (name: string, value: bigint | number) => void;
  readonly place: (address: number, bytes: readonly number[]) => void;
  readonly word64: (physical: number) => bigint;
  readonly setWord64: (physical: number, value: bigint) => void;
  /** The entry that maps a virtual page: its physical address. */
  readonly entry: (virtual: number) => number;
  /** Maps a page; without `physical` it is not present. */
  readonly map: (virtual: number, physical?: number, bits?: bigint) => void;
  readonly gdtBase: number;
}

/** A vCPU with `bytes` at RIP, and RAM mapped to itself from 0x10000 to 0x40000. */
export function machine(bytes: readonly number[], options: Partial<EngineOptions> = {}): Machine {
  const engine = new Engine(x86Cpu, { ramBase: 0, ramBytes: RAM_BYTES, vcpuCount: 1, ...options });
  for (const [field, value] of longModeValues) engine.writeField(field, value);
  engine.callRoutine(refreshDerived);
  const made = memoryOf(engine);
  const guest: Machine = { engine, ...made, ...stateOf(engine), gdtBase: GDT };
  buildTables(guest);
  buildDescriptors(guest);
  for (let vector = 0; vector < 256; vector++) guest.place(HANDLERS + 16 * vector, [0xf4]);
  guest.place(CODE, bytes);
  guest.set("rip", CODE);
  guest.set("rsp", STACK);
  return guest;
}

function stateOf(engine: Engine): Pick<Machine, "get" | "set"> {
  return {
    get(name) {
      if (name === "rflags") engine.callRoutine(materializeFlags);
      return engine.readField(fieldOf(name));
    },
    set(name, value) {
      engine.callRoutine(materializeFlags);
      engine.writeField(fieldOf(name), BigInt(value));
      engine.callRoutine(refreshDerived);
    },
  };
}

const GENERAL = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];

function fieldOf(name: string): StateField {
  if (name === "rip") return rip;
  const general = /^r(\d+)$/.exec(name)?.[1];
  const number = general === undefined ? GENERAL.indexOf(name) : Number(general);
  if (number >= 0) return elementOf(gpr, number);
  const vector = /^xmm(\d+)$/.exec(name)?.[1];
  if (vector !== undefined) return elementOf(xmm, Number(vector));
  const field = [...layout.fields, ...layout.cacheFields].find((candidate) => candidate.name === name);
  if (field !== undefined) return field;
  const [, arrayName, index] = /^(.*?)(\d+)$/.exec(name) ?? [];
  const array = layout.arrays.find((candidate) => candidate.name === arrayName);
  if (array === undefined) throw new RangeError(`no field ${name}`);
  return elementOf(array, Number(index));
}

function memoryOf(engine: Engine): Omit<Machine, "engine" | "get" | "set" | "gdtBase"> {
  const word64 = (physical: number): bigint => {
    const { buffer, byteOffset } = engine.memory.read(physical, 8);
    return new DataView(buffer, byteOffset).getBigUint64(0, true);
  };
  const setWord64 = (physical: number, value: bigint): void => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    engine.memory.write(physical, bytes);
  };
  const entry = (virtual: number): number => TABLES + 0x3000 + (virtual >>> 12) * 8;
  return {
    place: (address, bytes) => engine.memory.write(address, Uint8Array.from(bytes)),
    word64,
    setWord64,
    entry,
    map: (virtual, physical, bits = ALL) =>
      setWord64(entry(virtual), physical === undefined ? 0n : BigInt(physical) | bits),
  };
}

/** One table of each level: for the first 2 MiB. */
function buildTables(guest: Machine): void {
  for (let level = 0; level < 3; level++)
    guest.setWord64(TABLES + level * 0x1000, BigInt(TABLES + (level + 1) * 0x1000) | ALL);
  for (let page = 0x1_0000; page < 0x4_0000; page += 0x1000) guest.map(page, page);
  // Descriptor tables, for the system only.
  for (let page = 0x2000; page < 0x6000; page += 0x1000) guest.map(page, page, PageEntry.P | PageEntry.RW);
  guest.set("cr3", TABLES);
}

function buildDescriptors(guest: Machine): void {
  SEGMENTS.forEach(([attributes, pages], index) => {
    guest.setWord64(GDT + 8 * (index + 1), descriptor(attributes, pages));
  });
  for (let vector = 0; vector < 256; vector++) {
    const target = HANDLERS + 16 * vector;
    setGate(guest, vector, target, IST_VECTORS.includes(vector) ? 1 : 0);
  }
  guest.setWord64(TSS + 4, BigInt(LEVEL0_STACK));
  guest.setWord64(TSS + 0x24, BigInt(FAULT_STACK));
  for (const [name, value] of [
    ["gdtBase", GDT],
    ["gdtLimit", 0x57],
    ["idtBase", IDT],
    ["idtLimit", 0xfff],
  ] as const)
    guest.set(name, value);
  guest.engine.writeField(elementOf(segmentBase, Segment.tr), BigInt(TSS));
  guest.engine.writeField(elementOf(segmentLimit, Segment.tr), 0x67n);
  guest.engine.writeField(elementOf(segmentSelector, Segment.tr), BigInt(Selector.tss));
  guest.engine.writeField(elementOf(segmentSelector, Segment.cs), BigInt(Selector.code));
  guest.engine.writeField(elementOf(segmentSelector, Segment.ss), BigInt(Selector.data));
}

export function descriptor(attributes: number, pages: number): bigint {
  return (BigInt(attributes) << 40n) | BigInt(pages & 0xffff) | (BigInt(pages >> 16) << 48n);
}

/** An interrupt gate of the kernel's code segment. */
export function setGate(guest: Machine, vector: number, target: number | bigint, stackTable = 0, type = 0x8e): void {
  const offset = BigInt(target);
  const low =
    (offset & 0xffffn) |
    (BigInt(Selector.code) << 16n) |
    (BigInt(stackTable) << 32n) |
    (BigInt(type) << 40n) |
    (((offset >> 16n) & 0xffffn) << 48n);
  guest.setWord64(IDT + 16 * vector, low);
  guest.setWord64(IDT + 16 * vector + 8, BigInt.asUintN(64, offset) >> 32n);
}

/** The vector whose handler has just executed its HLT. */
export function handledVector(guest: Machine): number {
  return (Number(guest.get("rip")) - 1 - HANDLERS) / 16;
}

/** The words that a delivery pushed, from RSP on: error code (where there is one), RIP, CS, RFLAGS, RSP, SS. */
export function frameOf(guest: Machine, hasError: boolean): Readonly<Record<string, bigint>> {
  const pointer = Number(guest.get("rsp"));
  const names = [...(hasError ? ["error"] : []), "rip", "cs", "rflags", "rsp", "ss"];
  return Object.fromEntries(names.map((name, index) => [name, guest.word64(pointer + 8 * index)]));
}

const tableDriven: ReadonlySet<Instruction> = new Set(vectorInstructions);

/** Variants in line cost every test their compilation, so no more than these are. */
const INLINE_MAX = 300;

/**
 * Variants that an encoding in 64-bit mode can have, a part of them, spread evenly; without the instructions of vectors:
 * hundreds that differ in a word of a table.
 */
export function wholeProfile(): readonly ProfileEntry[] {
  const profile: ProfileEntry[] = [];
  for (const { instruction, form } of everyForm(x86Cpu.instructionsFor(0))) {
    if (tableDriven.has(instruction)) continue;
    const { operandSize } = parseEncoding(instruction.pattern);
    const { size, mode = 0, stackSize = 3, addressSize = 3, rep = 0 } = form;
    const sizeFits = size === undefined || (operandSize === "byte") === (size === 0);
    if (sizeFits && mode === 0 && stackSize === 3 && addressSize >= 2 && rep !== 1)
      profile.push({ mnemonic: instruction.mnemonic, form });
  }
  const step = Math.ceil(profile.length / INLINE_MAX);
  return profile.filter((_entry, index) => index % step === 0);
}

/** All state that is saved, as one text: equal where the guest can't tell a difference. */
export function savedState({ engine }: Machine): string {
  engine.callRoutine(materializeFlags);
  const fields = layout.fields.map((field) => `${field.name}=${engine.readField(field).toString(16)}`);
  const arrays = layout.arrays.map((array) => {
    const values = Array.from({ length: array.count }, (_, index) =>
      engine.readField(elementOf(array, index)).toString(16),
    );
    return `${array.name}=${values.join()}`;
  });
  return [...fields, ...arrays].join("\n");
}
