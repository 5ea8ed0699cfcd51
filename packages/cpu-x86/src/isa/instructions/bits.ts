/** BT, BTS, BTR, BTC, BSF, BSR, LZCNT, POPCNT, CRC32. References: sections of Intel SDM volume 2. */
import type { AccessMode, Instruction, Routine, Stage, Value } from "@hvjournal/engine";
import { assembly, immediateText, modrmText, registerName } from "../assembly-text.js";
import { cutAddress, effectiveAddress, type MemoryOperands } from "../effective-address.js";
import { defineEncoded } from "../encoding.js";
import type { DecodedFields } from "../fields.js";
import { setCarryFlag, setFlags, setZeroFlag } from "../flags.js";
import {
  bitsOf,
  bytesOf,
  constant,
  loadOperand,
  low32,
  type OperandSize,
  type OperandWidth,
  readRegister,
  signExtended,
  sizeOf,
  storeOperand,
  widen,
  writeRegister,
} from "../general-registers.js";
import { immediate, memoryOperand, register, registerOffset } from "../operands.js";
import { modrmPlace, type Place, registerPlace } from "../places.js";
import { Flag, STATUS_FLAGS } from "../registers.js";
import { accessSegment } from "../segment-access.js";

type Operand = Value<OperandWidth>;

/** All but CF and ZF, which BT leaves alone too. */
const UNDEFINED_BY_TEST = Flag.OF | Flag.SF | Flag.AF | Flag.PF;

interface BitGroup {
  readonly name: string;
  /** Of the form with a register; that with an immediate is 0F BA with this digit. */
  readonly opcode: string;
  readonly digit: number;
  /** Gives the operand's new value from a mask of the bit; undefined: it is not written. */
  readonly change: ((stage: Stage, value: Operand, mask: Operand) => Operand) | undefined;
}

const GROUPS: readonly BitGroup[] = [
  { name: "BT", opcode: "A3", digit: 4, change: undefined },
  { name: "BTS", opcode: "AB", digit: 5, change: (stage, value, mask) => stage.or(value, mask) },
  { name: "BTR", opcode: "B3", digit: 6, change: (stage, value, mask) => stage.and(value, stage.not(mask)) },
  { name: "BTC", opcode: "BB", digit: 7, change: (stage, value, mask) => stage.xor(value, mask) },
];

function modeOf({ change }: BitGroup): AccessMode {
  return change === undefined ? "read" : "readWrite";
}

function lockOf({ change }: BitGroup): string {
  return change === undefined ? "" : "lock ";
}

/** `bit` is below the operand's bits. */
function testBit(stage: Stage, size: OperandSize, { change }: BitGroup, place: Place, bit: Operand): void {
  const value = place.read();
  const shifted = stage.binary("shr_u", value, bit);
  const found = low32(stage, size, stage.and(shifted, constant(stage, size, 1)));
  if (change !== undefined) {
    const mask = stage.binary("shl", constant(stage, size, 1), bit);
    place.write(change(stage, value, mask));
  }
  setCarryFlag(stage, found);
}

/** The offset of a bit in a register is one in memory of any size: its sign counts, and its upper bits move the address. */
function bitPlace(stage: Stage, size: OperandSize, operands: MemoryOperands, offset: Operand, mode: AccessMode): Place {
  const elements = stage.shiftRightSigned(signExtended(stage, size, offset), Math.log2(bitsOf(size)));
  const moved = stage.add(effectiveAddress(stage, operands), stage.shiftLeft(elements, size));
  const address = cutAddress(stage, moved, stage.zeroExtend64(operands.unused));
  const handle = accessSegment(stage, operands.segment, address, bytesOf(size), mode);
  return {
    read: () => loadOperand(stage, size, handle),
    write: (value) => storeOperand(stage, size, handle, value),
  };
}

function testByRegister(group: BitGroup): Instruction {
  const { name, opcode } = group;
  return defineEncoded({
    mnemonic: `${name} (r/m, r)`,
    reference: `3.3 ${name}`,
    pattern: `${lockOf(group)}0F ${opcode} /r`,
    undefinedFlags: UNDEFINED_BY_TEST,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), offset: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, name.toLowerCase(), modrmText(fields), registerName(fields.reg, fields.size)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const offset = readRegister(stage, size, operands.offset);
      const bit = stage.and(offset, constant(stage, size, bitsOf(size) - 1));
      const place =
        form.memory === 0
          ? registerPlace(stage, size, operands.rm)
          : bitPlace(stage, size, operands, offset, modeOf(group));
      testBit(stage, size, group, place, bit);
    },
  });
}

function testByImmediate(group: BitGroup): Instruction {
  const { name, digit } = group;
  return defineEncoded({
    mnemonic: `${name} (r/m, imm8)`,
    reference: `3.3 ${name}`,
    pattern: `${lockOf(group)}0F BA /${digit} ib`,
    undefinedFlags: UNDEFINED_BY_TEST,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), immediate },
    text: (fields, pc) =>
      assembly(fields, pc, name.toLowerCase(), modrmText(fields), immediateText({ ...fields, size: 0 })),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const bit = stage.and(operands.immediate, stage.constant32(bitsOf(size) - 1));
      testBit(stage, size, group, modrmPlace(stage, form, size, operands, modeOf(group)), widen(stage, size, bit));
    },
  });
}

interface Scan {
  readonly name: string;
  readonly reference: string;
  readonly pattern: string;
  readonly undefinedFlags: number;
  readonly execute: (stage: Stage, size: OperandSize, source: Operand, destination: Place) => void;
}

function scan({ name, reference, pattern, undefinedFlags, execute }: Scan): Instruction {
  return defineEncoded({
    mnemonic: name,
    reference,
    pattern,
    undefinedFlags,
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), destination: register("reg") },
    text: (fields, pc) =>
      assembly(fields, pc, name.toLowerCase(), registerName(fields.reg, fields.size), modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const source = modrmPlace(stage, form, size, operands, "read").read();
      execute(stage, size, source, registerPlace(stage, size, operands.destination));
    },
  });
}

/** Zero bits in front of the first set one, of the size's bits. */
function leadingZeros(stage: Stage, size: OperandSize, value: Operand): Operand {
  const zeros = stage.unary("clz", value);
  return size >= 2 ? zeros : stage.sub(zeros, constant(stage, size, 32 - bitsOf(size)));
}

function trailingZeros(stage: Stage, size: OperandSize, value: Operand): Operand {
  // A bit behind the last one ends the count.
  return stage.unary("ctz", size >= 2 ? value : stage.or(value, constant(stage, size, 1 << bitsOf(size))));
}

/** Of 0 the destination stays, all 64 bits of it; so do the other flags. */
function bitScan(index: (stage: Stage, size: OperandSize, value: Operand) => Operand): Scan["execute"] {
  return (stage, size, source, destination) => {
    const isZero = stage.isZero(source);
    setZeroFlag(stage, isZero);
    stage.if(stage.isZero(isZero), () => destination.write(index(stage, size, source)));
  };
}

/** CF: the source is 0; ZF: the count is. */
function countZeros(count: (stage: Stage, size: OperandSize, value: Operand) => Operand): Scan["execute"] {
  return (stage, size, source, destination) => {
    const zeros = count(stage, size, source);
    const [isEmpty, isZero] = [stage.isZero(source), stage.isZero(zeros)];
    destination.write(zeros);
    setClearFlags(stage, STATUS_FLAGS & ~(Flag.CF | Flag.OF | Flag.ZF));
    setCarryFlag(stage, isEmpty);
    setZeroFlag(stage, isZero);
  };
}

/** Clears flags, for others to be set behind. */
function setClearFlags(stage: Stage, written: number): void {
  const one = constant(stage, 2, 1);
  setFlags(stage, { kind: "logic", size: 2, left: one, right: one, result: one, written });
}

const popcnt: Scan["execute"] = (stage, size, source, destination) => {
  destination.write(stage.unary("popcnt", source));
  const isZero = stage.isZero(source);
  setClearFlags(stage, STATUS_FLAGS & ~Flag.ZF);
  setZeroFlag(stage, isZero);
};

const UNDEFINED_BY_SCAN = STATUS_FLAGS & ~Flag.ZF;
const UNDEFINED_BY_COUNT = Flag.OF | Flag.SF | Flag.PF | Flag.AF;

/** CRC-32C: polynomial 11EDC6F41, bits reversed. */
const CASTAGNOLI = 0x82f6_3b78;

/** (CRC, data, bits of data): the next CRC, a bit at a time. */
const crc32c: Routine & { readonly result: 32 } = {
  name: "crc32c",
  parameters: [32, 64, 32],
  result: 32,
  body(stage, [crcValue, dataValue, bitsValue]) {
    const crc = stage.variable(crcValue as Value<32>);
    const data = stage.variable(dataValue as Value<64>);
    const left = stage.variable(bitsValue as Value<32>);
    stage.repeatWhile(() => {
      const bit = stage.and(stage.xor(stage.get(crc), stage.truncate32(stage.get(data))), stage.constant32(1));
      const divisor = stage.and(stage.sub(stage.constant32(0), bit), stage.constant32(CASTAGNOLI | 0));
      stage.set(crc, stage.xor(stage.shiftRight(stage.get(crc), 1), divisor));
      stage.set(data, stage.shiftRight(stage.get(data), 1));
      stage.set(left, stage.sub(stage.get(left), stage.constant32(1)));
      return stage.get(left);
    });
    stage.return(stage.get(crc));
  },
};

/** The destination has 32 bits, or 64 with REX.W; the source its own size. */
function crc32(byte: boolean): Instruction {
  const destinationOf = ({ reg }: Pick<DecodedFields, "reg">): number => registerOffset({ size: 2, rex: 1 }, reg);
  return defineEncoded({
    mnemonic: `CRC32 (r, ${byte ? "r/m8" : "r/m"})`,
    reference: "3.3 CRC32",
    pattern: byte ? "F2 0F 38 F0 /r byte" : "F2 0F 38 F1 /r",
    formFields: ["size", "memory"],
    operands: { ...memoryOperand, rm: register("rm"), destination: { u16: destinationOf } },
    text: (fields, pc) =>
      assembly(fields, pc, "crc32", registerName(fields.reg, fields.size === 3 ? 3 : 2), modrmText(fields)),
    execute(form, operands, stage) {
      const size = sizeOf(form);
      const source = modrmPlace(stage, form, size, operands, "read").read();
      const data = size === 3 ? (source as Value<64>) : stage.zeroExtend64(source as Value<32>);
      const before = stage.readAt(32, operands.destination);
      const after = stage.call(crc32c, before, data, stage.constant32(bitsOf(size)));
      writeRegister(stage, 2, operands.destination, after);
    },
  });
}

export const bitInstructions: readonly Instruction[] = [
  ...GROUPS.flatMap((group) => [testByRegister(group), testByImmediate(group)]),
  scan({
    name: "LZCNT",
    reference: "3.3 LZCNT",
    pattern: "F3 0F BD /r",
    undefinedFlags: UNDEFINED_BY_COUNT,
    execute: countZeros(leadingZeros),
  }),
  scan({ name: "POPCNT", reference: "4.3 POPCNT", pattern: "F3 0F B8 /r", undefinedFlags: 0, execute: popcnt }),
  // With F3 too: TZCNT belongs to BMI1, which is not offered.
  scan({
    name: "BSF",
    reference: "3.3 BSF",
    pattern: "0F BC /r",
    undefinedFlags: UNDEFINED_BY_SCAN,
    execute: bitScan(trailingZeros),
  }),
  scan({
    name: "BSR",
    reference: "3.3 BSR",
    pattern: "0F BD /r",
    undefinedFlags: UNDEFINED_BY_SCAN,
    execute: bitScan((stage, size, value) =>
      stage.sub(constant(stage, size, bitsOf(size) - 1), leadingZeros(stage, size, value)),
    ),
  }),
  // In front of MOVBE, which has the same opcodes without F2.
  crc32(true),
  crc32(false),
];
