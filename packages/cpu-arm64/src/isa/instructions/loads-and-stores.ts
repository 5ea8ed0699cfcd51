/**
 * Loads and stores of general registers. References as in `data-processing-immediate.ts`.
 *
 * Where the manual leaves a choice (CONSTRAINED UNPREDICTABLE, K1.1), these encodings are UNDEFINED:
 *  - a load or store with writeback whose base register is also transferred (and is not SP);
 *  - a load of a pair into one register twice.
 */
import { defineInstruction, type AccessOptions, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { addressText, assembly, extendName, registerName, registerNameOrSp } from "../assembly-text.js";
import { extendedRegister } from "../extended-register.js";
import { INTEGER_TRANSFERS, type IntegerTransfer, loadedRegister, storeRegister } from "../integer-transfer.js";
import { destinationX, sourceX, xOrSp } from "../operands.js";
import { scaledImmediate } from "../signed-immediate.js";

type Registers<Names extends string> = Readonly<Record<Names, number>>;

/** `[x1, #8]`; `suffix` is the `!` of a pre-index. */
function addressOperand(Rn: number, offset: bigint | number, suffix = ""): string {
  const rn = registerNameOrSp(1, Rn);
  const isPlain = BigInt(offset) === 0n && suffix === "";
  return isPlain ? `[${rn}]` : `[${rn}, #${offset}]${suffix}`;
}

/** Names are unique over widths, so those that exist for W and X say which. */
function uniqueName({ mnemonic, sf }: IntegerTransfer, form: string): string {
  const isAmbiguous = mnemonic === "STR" || mnemonic === "LDR" || mnemonic === "LDRSB" || mnemonic === "LDRSH";
  return isAmbiguous ? `${mnemonic} (${form}, ${sf === 1 ? "X" : "W"})` : `${mnemonic} (${form})`;
}

/** `LDR` as `LDUR`, `LDTR`: the name of another addressing form. */
function variantName(mnemonic: string, letter: "U" | "T"): string {
  return `${mnemonic.slice(0, 2)}${letter}${mnemonic.slice(2)}`;
}

function registerOperand({ isLoad }: IntegerTransfer): { readonly u16: (fields: Registers<"Rt">) => number } {
  return isLoad ? destinationX("Rt") : sourceX("Rt");
}

/** Moves the data; the address register is written behind it, if at all. */
function transferRegister(
  stage: Stage,
  transfer: IntegerTransfer,
  address: Value<64>,
  rt: Value<32>,
  writeBack: () => void = () => undefined,
  options: AccessOptions = {},
): void {
  const handle = stage.access(address, transfer.bytes, transfer.isLoad ? "read" : "write", options);
  if (transfer.isLoad) stage.writeAt(rt, loadedRegister(stage, transfer, handle));
  else storeRegister(stage, transfer, handle, rt);
  writeBack();
}

function unsignedOffset(transfer: IntegerTransfer): Instruction {
  const { size, opcode, bytes, sf, mnemonic } = transfer;
  return defineInstruction({
    mnemonic: uniqueName(transfer, "unsigned offset"),
    reference: "C4.1 Load/store register (unsigned immediate)",
    pattern: `${size} 111 0 01 ${opcode} imm12:12 Rn:5 Rt:5`,
    formFields: [],
    operands: {
      rn: xOrSp("Rn"),
      rt: registerOperand(transfer),
      offset: { i64: ({ imm12 }) => BigInt(imm12 * bytes) },
    },
    text: ({ imm12, Rn, Rt }) =>
      assembly(mnemonic.toLowerCase(), registerName(sf, Rt), addressOperand(Rn, imm12 * bytes)),
    execute(_form, { rn, rt, offset }, stage) {
      transferRegister(stage, transfer, stage.add(stage.readAt(64, rn), offset), rt);
    },
  });
}

function offsetOf9({ imm9 }: Registers<"imm9">): bigint {
  return scaledImmediate(imm9, 9, 1);
}

function unscaledOffset(transfer: IntegerTransfer): Instruction {
  const { size, opcode, sf, mnemonic } = transfer;
  return defineInstruction({
    mnemonic: uniqueName(transfer, "unscaled offset"),
    reference: "C4.1 Load/store register (unscaled immediate)",
    pattern: `${size} 111 0 00 ${opcode} 0 imm9:9 00 Rn:5 Rt:5`,
    formFields: [],
    operands: { rn: xOrSp("Rn"), rt: registerOperand(transfer), offset: { i64: offsetOf9 } },
    text: (fields) =>
      assembly(
        variantName(mnemonic, "U").toLowerCase(),
        registerName(sf, fields.Rt),
        addressOperand(fields.Rn, offsetOf9(fields)),
      ),
    execute(_form, { rn, rt, offset }, stage) {
      transferRegister(stage, transfer, stage.add(stage.readAt(64, rn), offset), rt);
    },
  });
}

/** LDTR, STTR: at EL1 with the rights of EL0. */
function unprivileged(transfer: IntegerTransfer): Instruction {
  const { size, opcode, sf, mnemonic } = transfer;
  return defineInstruction({
    mnemonic: uniqueName(transfer, "unprivileged"),
    reference: "C4.1 Load/store register (unprivileged)",
    pattern: `${size} 111 0 00 ${opcode} 0 imm9:9 10 Rn:5 Rt:5`,
    formFields: [],
    operands: { rn: xOrSp("Rn"), rt: registerOperand(transfer), offset: { i64: offsetOf9 } },
    text: (fields) =>
      assembly(
        variantName(mnemonic, "T").toLowerCase(),
        registerName(sf, fields.Rt),
        addressOperand(fields.Rn, offsetOf9(fields)),
      ),
    execute(_form, { rn, rt, offset }, stage) {
      const address = stage.add(stage.readAt(64, rn), offset);
      transferRegister(stage, transfer, address, rt, undefined, { unprivileged: true });
    },
  });
}

/** The base register of a writeback is not the register that is transferred; SP never is. */
function basesApart({ Rn, Rt }: Registers<"Rn" | "Rt">): boolean {
  return Rn === 31 || Rn !== Rt;
}

function postIndexed(transfer: IntegerTransfer): Instruction {
  const { size, opcode, sf, mnemonic } = transfer;
  return defineInstruction({
    mnemonic: uniqueName(transfer, "post-index"),
    reference: "C4.1 Load/store register (immediate post-indexed)",
    pattern: `${size} 111 0 00 ${opcode} 0 imm9:9 01 Rn:5 Rt:5`,
    formFields: [],
    where: basesApart,
    operands: { rn: xOrSp("Rn"), rt: registerOperand(transfer), offset: { i64: offsetOf9 } },
    text: (fields) =>
      assembly(
        mnemonic.toLowerCase(),
        registerName(sf, fields.Rt),
        addressOperand(fields.Rn, 0),
        `#${offsetOf9(fields)}`,
      ),
    execute(_form, { rn, rt, offset }, stage) {
      const address = stage.readAt(64, rn);
      transferRegister(stage, transfer, address, rt, () => stage.writeAt(rn, stage.add(address, offset)));
    },
  });
}

function preIndexed(transfer: IntegerTransfer): Instruction {
  const { size, opcode, sf, mnemonic } = transfer;
  return defineInstruction({
    mnemonic: uniqueName(transfer, "pre-index"),
    reference: "C4.1 Load/store register (immediate pre-indexed)",
    pattern: `${size} 111 0 00 ${opcode} 0 imm9:9 11 Rn:5 Rt:5`,
    formFields: [],
    where: basesApart,
    operands: { rn: xOrSp("Rn"), rt: registerOperand(transfer), offset: { i64: offsetOf9 } },
    text: (fields) =>
      assembly(mnemonic.toLowerCase(), registerName(sf, fields.Rt), addressOperand(fields.Rn, offsetOf9(fields), "!")),
    execute(_form, { rn, rt, offset }, stage) {
      const address = stage.add(stage.readAt(64, rn), offset);
      transferRegister(stage, transfer, address, rt, () => stage.writeAt(rn, address));
    },
  });
}

/** Extensions of an index register smaller than a word are reserved. */
function isIndexExtension({ option }: Registers<"option">): boolean {
  return (option & 2) !== 0;
}

/** Rn plus the extended Rm, scaled by the data's size where `S` says so. */
function indexedAddress(
  stage: Stage,
  { option, S }: Registers<"option" | "S">,
  log2Bytes: number,
  rn: Value<32>,
  rm: Value<32>,
): Value<64> {
  const index = extendedRegister(stage, 64, option, rm) as Value<64>;
  return stage.add(stage.readAt(64, rn), stage.shiftLeft(index, S === 1 ? log2Bytes : 0));
}

const LSL_OPTION = 3;

function indexedText({ Rn, Rm, option, S }: Registers<"Rn" | "Rm" | "option" | "S">, log2Bytes: number): string {
  const rm = registerName(option & 1, Rm);
  const amount = S === 1 ? ` #${log2Bytes}` : "";
  if (option === LSL_OPTION && S === 0) return `[${registerNameOrSp(1, Rn)}, ${rm}]`;
  return `[${registerNameOrSp(1, Rn)}, ${rm}, ${option === LSL_OPTION ? "lsl" : extendName(option)}${amount}]`;
}

function registerOffset(transfer: IntegerTransfer): Instruction {
  const { size, opcode, bytes, sf, mnemonic } = transfer;
  const log2Bytes = Math.log2(bytes);
  return defineInstruction({
    mnemonic: uniqueName(transfer, "register"),
    reference: "C4.1 Load/store register (register offset)",
    pattern: `${size} 111 0 00 ${opcode} 1 Rm:5 option:3 S:1 10 Rn:5 Rt:5`,
    formFields: ["option", "S"],
    where: isIndexExtension,
    operands: { rn: xOrSp("Rn"), rm: sourceX("Rm"), rt: registerOperand(transfer) },
    text: (fields) => assembly(mnemonic.toLowerCase(), registerName(sf, fields.Rt), indexedText(fields, log2Bytes)),
    execute(form, { rn, rm, rt }, stage) {
      transferRegister(stage, transfer, indexedAddress(stage, form, log2Bytes, rn, rm), rt);
    },
  });
}

function displacementOf19({ imm19 }: Registers<"imm19">): bigint {
  return scaledImmediate(imm19, 19, 4);
}

function literal(mnemonic: "LDR" | "LDRSW", opc: "00" | "01" | "10", sf: 0 | 1, bytes: 4 | 8): Instruction {
  const transfer = { bytes, isSigned: mnemonic === "LDRSW", sf };
  return defineInstruction({
    mnemonic: mnemonic === "LDR" ? `LDR (literal, ${sf === 1 ? "X" : "W"})` : "LDRSW (literal)",
    reference: "C4.1 Load register (literal)",
    pattern: `${opc} 011 0 00 imm19:19 Rt:5`,
    formFields: [],
    operands: { rt: destinationX("Rt"), displacement: { i64: displacementOf19 } },
    text: (fields, pc) =>
      assembly(mnemonic.toLowerCase(), registerName(sf, fields.Rt), addressText(pc, displacementOf19(fields))),
    execute(_form, { rt, displacement }, stage) {
      const handle = stage.access(stage.add(stage.pc(), displacement), bytes, "read");
      stage.writeAt(rt, loadedRegister(stage, transfer, handle));
    },
  });
}

// Prefetches: hints that do nothing here; they never fault.

const PREFETCH_TYPES = ["pld", "pli", "pst"] as const;
const PREFETCH_TARGETS = ["l1", "l2", "l3"] as const;

function prefetchName(operation: number): string {
  const type = PREFETCH_TYPES[operation >> 3];
  const target = PREFETCH_TARGETS[(operation >> 1) & 3];
  if (type === undefined || target === undefined) return `#0x${operation.toString(16).padStart(2, "0")}`;
  return `${type}${target}${(operation & 1) === 1 ? "strm" : "keep"}`;
}

const PREFETCHES: readonly Instruction[] = [
  defineInstruction({
    mnemonic: "PRFM (immediate)",
    reference: "C4.1 Load/store register (unsigned immediate)",
    pattern: "11 111 0 01 10 imm12:12 Rn:5 Rt:5",
    formFields: [],
    operands: {},
    text: ({ imm12, Rn, Rt }) => assembly("prfm", prefetchName(Rt), addressOperand(Rn, imm12 * 8)),
    execute: () => undefined,
  }),
  defineInstruction({
    mnemonic: "PRFUM",
    reference: "C4.1 Load/store register (unscaled immediate)",
    pattern: "11 111 0 00 10 0 imm9:9 00 Rn:5 Rt:5",
    formFields: [],
    operands: {},
    text: (fields) => assembly("prfum", prefetchName(fields.Rt), addressOperand(fields.Rn, offsetOf9(fields))),
    execute: () => undefined,
  }),
  defineInstruction({
    mnemonic: "PRFM (register)",
    reference: "C4.1 Load/store register (register offset)",
    pattern: "11 111 0 00 10 1 Rm:5 option:3 S:1 10 Rn:5 Rt:5",
    formFields: [],
    where: isIndexExtension,
    operands: {},
    text: (fields) => assembly("prfm", prefetchName(fields.Rt), indexedText(fields, 3)),
    execute: () => undefined,
  }),
  defineInstruction({
    mnemonic: "PRFM (literal)",
    reference: "C4.1 Load register (literal)",
    pattern: "11 011 0 00 imm19:19 Rt:5",
    formFields: [],
    operands: {},
    text: (fields, pc) => assembly("prfm", prefetchName(fields.Rt), addressText(pc, displacementOf19(fields))),
    execute: () => undefined,
  }),
];

// Pairs

interface PairTransfer {
  readonly mnemonic: "STP" | "LDP" | "LDPSW" | "STNP" | "LDNP";
  readonly opc: "00" | "01" | "10";
  readonly load: "0" | "1";
  readonly bytes: 4 | 8;
  readonly isSigned: boolean;
  readonly sf: 0 | 1;
}

const PAIRS: readonly PairTransfer[] = [
  { mnemonic: "STP", opc: "00", load: "0", bytes: 4, isSigned: false, sf: 0 },
  { mnemonic: "LDP", opc: "00", load: "1", bytes: 4, isSigned: false, sf: 0 },
  { mnemonic: "LDPSW", opc: "01", load: "1", bytes: 4, isSigned: true, sf: 1 },
  { mnemonic: "STP", opc: "10", load: "0", bytes: 8, isSigned: false, sf: 1 },
  { mnemonic: "LDP", opc: "10", load: "1", bytes: 8, isSigned: false, sf: 1 },
];

const NON_TEMPORAL_PAIRS: readonly PairTransfer[] = [
  { mnemonic: "STNP", opc: "00", load: "0", bytes: 4, isSigned: false, sf: 0 },
  { mnemonic: "LDNP", opc: "00", load: "1", bytes: 4, isSigned: false, sf: 0 },
  { mnemonic: "STNP", opc: "10", load: "0", bytes: 8, isSigned: false, sf: 1 },
  { mnemonic: "LDNP", opc: "10", load: "1", bytes: 8, isSigned: false, sf: 1 },
];

interface PairMode {
  readonly name: "no allocation" | "post-index" | "signed offset" | "pre-index";
  /** Bits 24 and 23. */
  readonly bits: "00" | "01" | "10" | "11";
  readonly writesBack: boolean;
}

const NO_ALLOCATION: PairMode = { name: "no allocation", bits: "00", writesBack: false };
const PAIR_MODES: readonly PairMode[] = [
  { name: "signed offset", bits: "10", writesBack: false },
  { name: "post-index", bits: "01", writesBack: true },
  { name: "pre-index", bits: "11", writesBack: true },
];

type PairRegisters = Registers<"Rn" | "Rt" | "Rt2">;

function isPair({ load }: PairTransfer, { writesBack }: PairMode, { Rn, Rt, Rt2 }: PairRegisters): boolean {
  if (load === "1" && Rt === Rt2) return false;
  return !writesBack || Rn === 31 || (Rn !== Rt && Rn !== Rt2);
}

function transferPair(stage: Stage, transfer: PairTransfer, address: Value<64>, rt: Value<32>, rt2: Value<32>): void {
  const { bytes, load } = transfer;
  const handle = stage.access(address, 2 * bytes, load === "1" ? "read" : "write");
  if (load === "1") {
    stage.writeAt(rt, loadedRegister(stage, transfer, handle));
    stage.writeAt(rt2, loadedRegister(stage, transfer, handle, bytes));
  } else {
    storeRegister(stage, transfer, handle, rt);
    storeRegister(stage, transfer, handle, rt2, bytes);
  }
}

function pair(transfer: PairTransfer, mode: PairMode): Instruction {
  const { mnemonic, opc, load, bytes, sf } = transfer;
  const register = load === "1" ? destinationX : sourceX;
  const offsetOf = ({ imm7 }: Registers<"imm7">): bigint => scaledImmediate(imm7, 7, bytes);
  return defineInstruction({
    mnemonic: `${mnemonic} (${mode.name}, ${sf === 1 ? "X" : "W"})`,
    reference: `C4.1 Load/store register pair (${mode.name})`,
    pattern: `${opc} 101 0 0 ${mode.bits} ${load} imm7:7 Rt2:5 Rn:5 Rt:5`,
    formFields: [],
    where: (fields) => isPair(transfer, mode, fields),
    operands: { rn: xOrSp("Rn"), rt: register("Rt"), rt2: register("Rt2"), offset: { i64: offsetOf } },
    text(fields) {
      const registers = [registerName(sf, fields.Rt), registerName(sf, fields.Rt2)];
      const offset = offsetOf(fields);
      if (mode.name === "post-index") {
        return assembly(mnemonic.toLowerCase(), ...registers, addressOperand(fields.Rn, 0), `#${offset}`);
      }
      const suffix = mode.name === "pre-index" ? "!" : "";
      return assembly(mnemonic.toLowerCase(), ...registers, addressOperand(fields.Rn, offset, suffix));
    },
    execute(_form, { rn, rt, rt2, offset }, stage) {
      const base = stage.readAt(64, rn);
      const moved = stage.add(base, offset);
      transferPair(stage, transfer, mode.name === "post-index" ? base : moved, rt, rt2);
      if (mode.writesBack) stage.writeAt(rn, moved);
    },
  });
}

export const loadsAndStores: readonly Instruction[] = [
  ...INTEGER_TRANSFERS.map(unsignedOffset),
  ...INTEGER_TRANSFERS.map(registerOffset),
  ...INTEGER_TRANSFERS.map(unscaledOffset),
  ...INTEGER_TRANSFERS.map(postIndexed),
  ...INTEGER_TRANSFERS.map(preIndexed),
  ...INTEGER_TRANSFERS.map(unprivileged),
  literal("LDR", "00", 0, 4),
  literal("LDR", "01", 1, 8),
  literal("LDRSW", "10", 1, 4),
  ...PREFETCHES,
  ...PAIR_MODES.flatMap((mode) => PAIRS.map((transfer) => pair(transfer, mode))),
  ...NON_TEMPORAL_PAIRS.map((transfer) => pair(transfer, NO_ALLOCATION)),
];
