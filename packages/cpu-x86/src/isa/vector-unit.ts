/**
 * What MMX and SSE instructions share: availability, registers and memory as operands. Intel SDM volume 1, chapters 9 and
 * 10; volume 3, 13.1; exceptions volume 2, 2.5 (tables of exception conditions).
 */
import type { AccessHandle, AccessMode, Instruction, Stage, Value } from "@hvjournal/engine";
import { addressText, assembly } from "./assembly-text.js";
import { accessMemory, type MemoryOperands } from "./effective-address.js";
import { defineEncoded } from "./encoding.js";
import { raiseException, Vector as ExceptionVector } from "./exceptions.js";
import type { DecodedFields } from "./fields.js";
import { raisePendingFloatError, TOP_MASK } from "./float-unit.js";
import { memoryOperand } from "./operands.js";
import { Cr0, Cr4 } from "./registers.js";
import { cr0, cr4, fpr, fpuTags, fsw, xmm } from "./state.js";

export type Vector = Value<128>;
export type LaneBits = 8 | 16 | 32 | 64;
/** XMM registers of SSE, or the significands of the x87's registers. */
export type Bank = "xmm" | "mm";

const shapes = { 8: "i8x16", 16: "i16x8", 32: "i32x4", 64: "i64x2" } as const;

export function shapeOf<Bits extends LaneBits>(bits: Bits): (typeof shapes)[Bits] {
  return shapes[bits];
}

/** An operation of the SIMD instruction set for elements of a width. */
export function lanes(stage: Stage, bits: LaneBits, op: string, ...operands: readonly Value<32 | 128>[]): Vector {
  return stage.vector(`${shapes[bits]}.${op}`, ...operands);
}

/** Every element has this bit pattern. */
export function constantLanes(stage: Stage, bits: LaneBits, pattern: bigint): Vector {
  let half = BigInt.asUintN(bits, pattern);
  for (let width: number = bits; width < 64; width *= 2) half |= half << BigInt(width);
  return stage.constant128(half, half);
}

/** Sixteen bytes, from the lowest on. */
export function constantBytes(stage: Stage, bytes: readonly number[]): Vector {
  const half = (from: number): bigint =>
    bytes.slice(from, from + 8).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte & 0xff), 0n);
  return stage.constant128(half(0), half(8));
}

/** Bits of `whenSet` where the mask is set, else of `whenClear`. */
export function bitselect(stage: Stage, mask: Vector, whenSet: Vector, whenClear: Vector): Vector {
  return stage.vector("v128.bitselect", whenSet, whenClear, mask);
}

// Availability

/** #UD while CR0.EM is set or CR4.OSFXSR is clear, else #NM while CR0.TS is set. */
export function requireSse(stage: Stage): void {
  const control = stage.truncate32(stage.read(cr0));
  const missing = stage.xor(
    stage.and(stage.truncate32(stage.read(cr4)), stage.constant32(Cr4.OSFXSR)),
    stage.constant32(Cr4.OSFXSR),
  );
  const unavailable = stage.or(stage.and(control, stage.constant32(Cr0.EM | Cr0.TS)), missing);
  stage.if(unavailable, () => {
    const undefinedHere = stage.or(stage.and(control, stage.constant32(Cr0.EM)), missing);
    stage.if(
      undefinedHere,
      () => raiseException(stage, ExceptionVector.invalidOpcode),
      () => raiseException(stage, ExceptionVector.deviceNotAvailable),
    );
  });
}

/** #UD while CR0.EM is set, #NM while CR0.TS is set, then #MF for an unmasked exception of the x87. */
export function requireMmx(stage: Stage): void {
  const control = stage.truncate32(stage.read(cr0));
  stage.if(stage.and(control, stage.constant32(Cr0.EM)), () => raiseException(stage, ExceptionVector.invalidOpcode));
  stage.if(stage.and(control, stage.constant32(Cr0.TS)), () =>
    raiseException(stage, ExceptionVector.deviceNotAvailable),
  );
  raisePendingFloatError(stage);
}

export function requireBank(stage: Stage, bank: Bank): void {
  if (bank === "xmm") requireSse(stage);
  else requireMmx(stage);
}

/** Every MMX instruction makes all registers full and sets TOP to 0. */
export function enterMmx(stage: Stage): void {
  stage.write(fsw, stage.and(stage.read(fsw), stage.constant32(~TOP_MASK)));
  stage.write(fpuTags, stage.constant32(0xff));
}

// Registers

type RegisterField = "reg" | "rm";

export function vectorOffset(bank: Bank, number: number): number {
  return bank === "xmm" ? xmm.offset + 16 * number : fpr.offset + 16 * (number & 7);
}

export function vectorRegister<const Field extends RegisterField>(
  bank: Bank,
  field: Field,
): { readonly u16: (fields: DecodedFields) => number } {
  return { u16: (fields) => vectorOffset(bank, fields[field]) };
}

export function vectorName(bank: Bank, number: number): string {
  return bank === "xmm" ? `xmm${number}` : `mm${number & 7}`;
}

/** A whole register; an MMX register stands in both halves of the value. */
export function readBank(stage: Stage, bank: Bank, register: Value<32>): Vector {
  return bank === "xmm" ? stage.readAt(128, register) : stage.splat("i64x2", stage.readAt(64, register));
}

/** Writes a whole register: of an MMX register the low half of the value, and ones into sign and exponent. */
export function writeBank(stage: Stage, bank: Bank, register: Value<32>, value: Vector): void {
  if (bank === "xmm") stage.writeAt(register, value);
  else writeMmx(stage, register, stage.extractLane("i64x2", 0, value));
}

export function writeMmx(stage: Stage, register: Value<32>, value: Value<64>): void {
  stage.writeAt(register, value);
  stage.writeAt(register, stage.constant64(0xffff), 8);
}

// Memory

export type OperandBytes = 1 | 2 | 4 | 8 | 16;

const POINTERS: Readonly<Record<OperandBytes, string>> = {
  1: "BYTE PTR ",
  2: "WORD PTR ",
  4: "DWORD PTR ",
  8: "QWORD PTR ",
  16: "XMMWORD PTR ",
};

export function memoryText(fields: DecodedFields, bytes: OperandBytes): string {
  return `${POINTERS[bytes]}${addressText(fields)}`;
}

export function vectorText(fields: DecodedFields, bank: Bank, bytes: OperandBytes): string {
  return fields.memory === 1 ? memoryText(fields, bytes) : vectorName(bank, fields.rm);
}

/** Checks a memory operand; one of 16 bytes must be aligned (#GP), unless the instruction says otherwise. */
export function accessVector(
  stage: Stage,
  operands: MemoryOperands,
  bytes: OperandBytes,
  mode: AccessMode,
  aligned = true,
): AccessHandle {
  return accessMemory(stage, operands, bytes, mode, aligned && bytes === 16 ? 16 : 1);
}

/** Reads checked memory into the low part of a vector; the rest is 0, but 8 bytes of MMX stand in both halves. */
export function loadVector(stage: Stage, bank: Bank, handle: AccessHandle, bytes: OperandBytes): Vector {
  if (bytes === 16) return stage.load(128, handle, 0, 128);
  const low = stage.load(64, handle, 0, (8 * bytes) as 8 | 16 | 32 | 64);
  return bank === "mm" ? stage.splat("i64x2", low) : low64(stage, low);
}

/** A vector with this low half; the rest is 0. */
export function low64(stage: Stage, value: Value<64>): Vector {
  return stage.replaceLane("i64x2", 0, stage.constant128(0n, 0n), value);
}

// Definitions

export const sourceOperands = <const B extends Bank>(bank: B) =>
  ({ ...memoryOperand, rm: vectorRegister(bank, "rm"), reg: vectorRegister(bank, "reg") }) as const;

/** What ModRM names, as a vector: a register, or memory of `bytes`. */
export function readSource(
  stage: Stage,
  form: { readonly memory: number },
  bank: Bank,
  operands: MemoryOperands & { readonly rm: Value<32> },
  bytes: OperandBytes,
  aligned = true,
): Vector {
  if (form.memory === 0) return readBank(stage, bank, operands.rm);
  return loadVector(stage, bank, accessVector(stage, operands, bytes, "read", aligned), bytes);
}

/** `destination` is what the register of ModRM.reg held before. */
export type VectorOperation = (stage: Stage, destination: Vector, source: Vector, bank: Bank) => Vector;

export interface VectorEncoding {
  /** In lower case, as in assembly text. */
  readonly name: string;
  /** See `encoding.ts`, without prefix. */
  readonly opcode: string;
  readonly prefix: "np" | "66" | "F2" | "F3";
  readonly bank?: Bank;
  readonly reference?: string;
  /** Bytes of a memory operand; default: of the register. */
  readonly bytes?: OperandBytes;
  readonly aligned?: boolean;
}

/** Where volume 2 of the manual has an instruction. */
export function referenceOf(name: string): string {
  const first = name.charAt(0).toUpperCase();
  return `${first <= "L" ? "3.3" : first <= "U" ? "4.3" : "5.3"} ${name.toUpperCase()}`;
}

export function bankBytes(bank: Bank): 8 | 16 {
  return bank === "xmm" ? 16 : 8;
}

/** "xmm1, xmm2/m128" or "mm1, mm2/m64": the operation's result goes into the register of ModRM.reg. */
export function fromSource(encoding: VectorEncoding, operation: VectorOperation): Instruction {
  const { name, opcode, prefix, bank = "xmm", aligned = true } = encoding;
  const { bytes = bankBytes(bank), reference = referenceOf(name) } = encoding;
  return defineEncoded({
    mnemonic: `${name.toUpperCase()} (${bank})`,
    reference,
    pattern: `${prefix} ${opcode} /r`,
    formFields: ["memory"],
    operands: sourceOperands(bank),
    text: (fields, pc) => assembly(fields, pc, name, vectorName(bank, fields.reg), vectorText(fields, bank, bytes)),
    execute(form, operands, stage) {
      requireBank(stage, bank);
      const source = readSource(stage, form, bank, operands, bytes, aligned);
      const result = operation(stage, readBank(stage, bank, operands.reg), source, bank);
      if (bank === "mm") enterMmx(stage);
      writeBank(stage, bank, operands.reg, result);
    },
  });
}

/** The MMX instruction and its SSE2 counterpart with prefix 66. `mmxBytes`: of a memory operand of the former. */
export function inBothBanks(
  name: string,
  opcode: string,
  operation: VectorOperation,
  mmxBytes: 4 | 8 = 8,
): readonly Instruction[] {
  return [
    fromSource({ name, opcode, prefix: "np", bank: "mm", bytes: mmxBytes }, operation),
    fromSource({ name, opcode, prefix: "66" }, operation),
  ];
}
