/**
 * A CPU for tests of the engine: eight registers, a page table of one level, one interrupt line.
 * Encodings have an opcode in bits 31 to 24, registers in 23-20, 19-16, 15-12, an immediate in 11-0.
 */
import { AccessKind, type CpuDefinition, Rights } from "../cpu-definition.js";
import { engineFields, operationsFor } from "../engine-fields.js";
import { VCPU_STATE_END, VCPU_STATE_START } from "../memory-map.js";
import { defineInstruction, type Instruction } from "../stage/instruction.js";
import type { Routine, Stage, Value } from "../stage/stage.js";
import { StateLayout } from "../stage/state-layout.js";

const layout = new StateLayout(VCPU_STATE_START, VCPU_STATE_END);
export const registers = layout.array("r", 64, 16);
const pc = layout.field("pc", 64);
const privilege = layout.field("privilege", 32);
const contextWord = layout.field("contextWord", 32);
/** 0: identity. Else the physical address of 512 entries: bit 0 valid, bit 1 writable, bits 12 up the page. */
const tableBase = layout.field("tableBase", 64);
const irqLine = layout.field("irqLine", 32);
/** What the last exception was, and where it returns to. */
const cause = layout.field("cause", 32);
const faultAddress = layout.field("lastFault", 64);
const link = layout.field("link", 64);

export const state = { pc, privilege, contextWord, tableBase, irqLine, cause, faultAddress, link };
export const VECTOR = 0x4000_0800n;
export const Cause = { memory: 1, fetch: 2, misaligned: 3, undefined: 4, interrupt: 5, alignment: 6 } as const;
export const TINY_EXIT = 16;

const operations = operationsFor(privilege);
const register = <const Name extends string>(name: Name) => ({
  u16: (fields: Readonly<Record<Name, number>>) => registers.offset + 8 * fields[name],
});
const signed12 = (value: number): number => (value << 20) >> 20;

function exception(name: string, code: number): Routine & { readonly result: undefined } {
  return {
    name,
    parameters: [],
    result: undefined,
    body(stage) {
      stage.write(cause, stage.constant32(code));
      stage.write(faultAddress, stage.read(engineFields.faultAddress));
      stage.write(link, stage.read(pc));
      stage.write(pc, stage.constant64(VECTOR));
      stage.write(irqLine, stage.constant32(0));
    },
  };
}

const translate: Routine & { readonly result: 32 } = {
  name: "translate",
  parameters: [64, 32, 32],
  result: 32,
  body(stage, [virtualValue, kindValue]) {
    const virtual = virtualValue as Value<64>;
    const kind = kindValue as Value<32>;
    const base = stage.read(tableBase);
    stage.if(stage.isZero(base), () => {
      finish(stage, virtual, stage.constant32(Rights.read | Rights.write | Rights.execute));
    });
    const slot = stage.shiftLeft(stage.extractBits(virtual, 12, 9), 3);
    const entry = stage.readPageTableEntry(64, stage.add(base, slot), stage.constant32(1), () => {
      stage.return(stage.constant32(9));
    });
    stage.if(stage.isZero(stage.truncate32(stage.and(entry, stage.constant64(1)))), () => {
      stage.return(stage.constant32(1));
    });
    const writable = stage.truncate32(stage.extractBits(entry, 1, 1));
    stage.if(stage.and(stage.compare("eq", kind, stage.constant32(AccessKind.write)), stage.isZero(writable)), () => {
      stage.return(stage.constant32(2));
    });
    const physical = stage.or(stage.and(entry, stage.constant64(-4096n)), stage.and(virtual, stage.constant64(4095)));
    finish(stage, physical, stage.or(stage.constant32(Rights.read | Rights.execute), stage.shiftLeft(writable, 1)));
  },
};

function finish(stage: Stage, physical: Value<64>, rights: Value<32>): void {
  stage.write(engineFields.translatedPhysical, physical);
  stage.write(engineFields.translatedRights, rights);
  stage.return(stage.constant32(0));
}

const alignmentFault: Routine & { readonly result: undefined } = {
  name: "alignmentFault",
  parameters: [64, 32],
  result: undefined,
  body(stage, [address]) {
    stage.write(cause, stage.constant32(Cause.alignment));
    stage.write(faultAddress, address as Value<64>);
    stage.write(link, stage.read(pc));
    stage.write(pc, stage.constant64(VECTOR));
  },
};

const undefinedInstruction: Routine & { readonly result: undefined } = {
  name: "undefinedInstruction",
  parameters: [32],
  result: undefined,
  body(stage) {
    stage.write(cause, stage.constant32(Cause.undefined));
    stage.write(link, stage.read(pc));
    stage.write(pc, stage.constant64(VECTOR));
  },
};

function entryMayBeLive(low: number): boolean {
  return (low & 1) !== 0;
}

const P = "a:4 b:4 c:4 imm:12";

/** Encodes an instruction. */
export function encode(opcode: number, a = 0, b = 0, c = 0, imm = 0): number {
  return ((opcode << 24) | (a << 20) | (b << 16) | (c << 12) | (imm & 0xfff)) >>> 0;
}

export const Op = {
  addi: 1,
  add: 2,
  load: 3,
  store: 4,
  jump: 5,
  branchIfZero: 6,
  exit: 7,
  setTable: 8,
  loadPair: 9,
  endBlock: 10,
  jumpRegister: 11,
  storeByte: 12,
  loadAligned: 13,
  loadTwo: 14,
  storeTwo: 15,
} as const;

const bits = (opcode: number): string => opcode.toString(2).padStart(8, "0");

const instructions: readonly Instruction[] = [
  defineInstruction({
    mnemonic: "ADDI",
    reference: "",
    pattern: `00000001 ${P}` as "00000001 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), imm: { i64: ({ imm }) => BigInt(signed12(imm)) } },
    text: ({ a, b, imm }) => `addi r${a}, r${b}, ${signed12(imm)}`,
    execute: (_form, { a, b, imm }, stage) => stage.writeAt(a, stage.add(stage.readAt(64, b), imm)),
  }),
  defineInstruction({
    mnemonic: "ADD",
    reference: "",
    pattern: "00000010 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), c: register("c") },
    text: ({ a, b, c }) => `add r${a}, r${b}, r${c}`,
    execute: (_form, { a, b, c }, stage) => stage.writeAt(a, stage.add(stage.readAt(64, b), stage.readAt(64, c))),
  }),
  defineInstruction({
    mnemonic: "LOAD",
    reference: "",
    pattern: "00000011 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), imm: { i64: ({ imm }) => BigInt(signed12(imm)) } },
    text: () => "load",
    execute(_form, { a, b, imm }, stage) {
      const handle = stage.access(stage.add(stage.readAt(64, b), imm), 8, "read");
      stage.writeAt(a, stage.load(64, handle, 0, 64));
    },
  }),
  defineInstruction({
    mnemonic: "STORE",
    reference: "",
    pattern: "00000100 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), imm: { i64: ({ imm }) => BigInt(signed12(imm)) } },
    text: () => "store",
    execute(_form, { a, b, imm }, stage) {
      const handle = stage.access(stage.add(stage.readAt(64, b), imm), 8, "write");
      stage.store(handle, 0, 64, stage.readAt(64, a));
    },
  }),
  defineInstruction({
    mnemonic: "JUMP",
    reference: "",
    pattern: `${bits(Op.jump)} a:4 b:4 c:4 imm:12` as "00000101 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { imm: { i64: ({ imm }) => BigInt(signed12(imm) * 4) } },
    text: () => "jump",
    execute: (_form, { imm }, stage) => stage.jump(stage.add(stage.pc(), imm)),
  }),
  defineInstruction({
    mnemonic: "BZ",
    reference: "",
    pattern: "00000110 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), imm: { i64: ({ imm }) => BigInt(signed12(imm) * 4) } },
    text: () => "bz",
    execute(_form, { a, imm }, stage) {
      stage.if(stage.isZero(stage.readAt(64, a)), () => stage.jump(stage.add(stage.pc(), imm)));
    },
  }),
  defineInstruction({
    mnemonic: "EXIT",
    reference: "",
    pattern: "00000111 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a") },
    text: () => "exit",
    execute: (_form, { a }, stage) => stage.exitAfter(TINY_EXIT, stage.readAt(64, a)),
  }),
  defineInstruction({
    mnemonic: "SETTABLE",
    reference: "",
    pattern: "00001000 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a") },
    text: () => "settable",
    execute(_form, { a }, stage) {
      stage.write(tableBase, stage.readAt(64, a));
      operations.translationChanged(stage);
      stage.endBlock("translation regime");
    },
  }),
  defineInstruction({
    mnemonic: "LOADPAIR",
    reference: "",
    pattern: "00001001 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), c: register("c") },
    text: () => "loadpair",
    execute(_form, { a, b, c }, stage) {
      const handle = stage.access(stage.readAt(64, b), 16, "read");
      const first = stage.load(64, handle, 0, 64);
      const second = stage.load(64, handle, 8, 64);
      stage.writeAt(a, first);
      stage.writeAt(c, second);
    },
  }),
  defineInstruction({
    mnemonic: "JR",
    reference: "",
    pattern: "00001011 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a") },
    text: () => "jr",
    execute: (_form, { a }, stage) => stage.jump(stage.readAt(64, a)),
  }),
  defineInstruction({
    mnemonic: "STOREW",
    reference: "",
    pattern: "00001100 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), imm: { i64: ({ imm }) => BigInt(signed12(imm)) } },
    text: () => "storew",
    execute(_form, { a, b, imm }, stage) {
      const handle = stage.access(stage.add(stage.readAt(64, b), imm), 4, "write", { alignment: 4 });
      stage.store(handle, 0, 32, stage.readAt(64, a));
    },
  }),
  defineInstruction({
    mnemonic: "LOADTWO",
    reference: "",
    pattern: "00001110 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), c: register("c") },
    text: () => "loadtwo",
    execute(_form, { a, b, c }, stage) {
      const first = stage.access(stage.readAt(64, b), 8, "read");
      const second = stage.access(stage.readAt(64, c), 8, "read");
      stage.writeAt(a, stage.add(stage.load(64, first, 0, 64), stage.load(64, second, 0, 64)));
    },
  }),
  defineInstruction({
    mnemonic: "STORETWO",
    reference: "",
    pattern: "00001111 a:4 b:4 c:4 imm:12",
    formFields: [],
    operands: { a: register("a"), b: register("b"), c: register("c") },
    text: () => "storetwo",
    execute(_form, { a, b, c }, stage) {
      const first = stage.access(stage.readAt(64, b), 8, "write");
      const second = stage.access(stage.readAt(64, c), 8, "write");
      stage.store(first, 0, 64, stage.readAt(64, a));
      stage.store(second, 0, 64, stage.readAt(64, a));
    },
  }),
];

export const tinyCpu: CpuDefinition = {
  name: "tiny",
  layout,
  pc,
  granule: 4,
  instructionsFor: () => instructions,
  contextWord,
  privilege,
  workingRegisters: [registers],
  translationFields: [tableBase],
  translate,
  memoryFault: exception("memoryFault", Cause.memory),
  fetchFault: exception("fetchFault", Cause.fetch),
  misalignedPc: exception("misalignedPc", Cause.misaligned),
  alignmentFault,
  undefinedInstruction,
  interruptPending: (stage) => stage.read(irqLine),
  takeInterrupt: exception("takeInterrupt", Cause.interrupt),
  entryMayBeLive,
};
