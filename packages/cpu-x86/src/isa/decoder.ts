/**
 * Decoding: prefixes, REX, opcode, ModRM, SIB, displacement, immediate. Intel SDM volume 2, chapter 2.
 *
 * The definitions are all that CPUID offers: what none of them has is undefined, and raises #UD.
 */
import type { DecodedBytes, Instruction, TailNumber, VariableLength, VariableLengthDecoder } from "@hvjournal/engine";
import { codeMode, Context, segmentationIn, stackSizeIn } from "./context.js";
import { type Encoding, type ImmediateKind, type MandatoryPrefix, parseEncoding } from "./encoding.js";
import { EMPTY_FIELDS, type FieldName, Mode, RepeatPrefix } from "./fields.js";
import { type Address, readAddress, registersOf } from "./modrm.js";
import { segmented, type Segmentation } from "./segment-access.js";
import { overlong } from "./instructions/undecodable.js";
import { Segment } from "./state.js";

/** Bytes of the longest instruction: a longer one raises #GP(0). */
export const INSTRUCTION_BYTES_MAX = 15;

type Fields = { -readonly [Name in FieldName]: number };

interface Candidate {
  readonly instruction: Instruction;
  readonly encoding: Encoding;
}

interface Prefixes {
  operandSize: boolean;
  addressSize: boolean;
  lock: boolean;
  rep: number;
  segment: number | undefined;
  rex: number;
}

const SEGMENT_PREFIXES: Readonly<Record<number, number>> = {
  0x26: Segment.es,
  0x2e: Segment.cs,
  0x36: Segment.ss,
  0x3e: Segment.ds,
  0x64: Segment.fs,
  0x65: Segment.gs,
};

/** Bytes from the first on; reading behind the last gives 0 and is remembered. */
export class ByteCursor {
  readonly #bytes: Uint8Array;
  position = 0;
  /** What `signed` has read: where, and how many bytes. */
  readonly numbers: { readonly at: number; readonly bytes: number }[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get exhausted(): boolean {
    return this.position > this.#bytes.length;
  }

  peek(): number {
    return this.#bytes[this.position] ?? 0;
  }

  next(): number {
    const byte = this.peek();
    this.position += 1;
    return byte;
  }

  /** A little-endian number with its sign. */
  signed(bytes: number): number {
    if (bytes > 0) this.numbers.push({ at: this.position, bytes });
    let value = 0;
    for (let index = 0; index < bytes; index++) value |= this.next() << (8 * index);
    return bytes === 4 ? value : (value << (32 - 8 * bytes)) >> (32 - 8 * bytes);
  }
}

class Decoder implements VariableLengthDecoder {
  readonly #mode: Mode;
  readonly #stackSize: number;
  readonly #segmentation: Segmentation;
  readonly #candidates = new Map<number, Candidate[]>();

  constructor(instructions: readonly Instruction[], context: number) {
    this.#mode = codeMode(context);
    this.#stackSize = stackSizeIn(context);
    this.#segmentation = segmentationIn(context);
    for (const instruction of instructions) {
      const encoding = parseEncoding(instruction.pattern);
      for (let register = 0; register < (encoding.registerInOpcode ? 8 : 1); register++)
        this.#add(encoding.opcode + register, { instruction, encoding });
    }
  }

  decode(bytes: Uint8Array): DecodedBytes | undefined {
    const cursor = new ByteCursor(bytes);
    const decoded = this.#decode(cursor);
    if (!cursor.exhausted) return decoded;
    if (bytes.length < INSTRUCTION_BYTES_MAX) return undefined;
    return { instruction: overlong, fields: EMPTY_FIELDS, length: INSTRUCTION_BYTES_MAX };
  }

  #add(opcode: number, candidate: Candidate): void {
    const known = this.#candidates.get(opcode) ?? [];
    if (known.some(({ encoding }) => encoding.hasModrm !== candidate.encoding.hasModrm))
      throw new RangeError(`${candidate.instruction.mnemonic}: another definition of its opcode disagrees about ModRM`);
    this.#candidates.set(opcode, [...known, candidate]);
  }

  #decode(cursor: ByteCursor): DecodedBytes {
    const prefixes = this.#readPrefixes(cursor);
    const opcode = readOpcode(cursor);
    const undefinedHere = { instruction: undefined, fields: {}, length: cursor.position };
    const candidates = this.#candidates.get(opcode);
    if (candidates === undefined) return undefinedHere;
    const addressSize = this.#addressSize(prefixes);
    const modrm = this.#readModrm(cursor, candidates[0]?.encoding, addressSize, prefixes.rex);
    const displacements = cursor.numbers.length;
    let dependsOnNumbers = false;
    for (const { encoding, instruction } of candidates) {
      if (!matches(encoding, prefixes, modrm)) continue;
      const fields = this.#fields(encoding, prefixes, addressSize, opcode, modrm);
      const behind = cursor.position;
      encoding.immediates.forEach((kind, index) => readImmediate(cursor, kind, fields, index === 0));
      if (instruction.where !== undefined && cursor.numbers.length > 0) dependsOnNumbers = true;
      if (instruction.where !== undefined && !instruction.where(fields as never)) {
        cursor.position = behind;
        continue;
      }
      const decoded = this.#finish(cursor, instruction, encoding, fields, prefixes);
      return dependsOnNumbers ? decoded : { ...decoded, tail: tailOf(cursor, displacements) };
    }
    return undefinedHere;
  }

  #readModrm(
    cursor: ByteCursor,
    encoding: Encoding | undefined,
    addressSize: 1 | 2 | 3,
    rex: number,
  ): Address | undefined {
    if (encoding?.hasModrm !== true) return undefined;
    return encoding.ignoresMod ? registersOf(cursor.next(), rex) : readAddress(cursor, addressSize, rex, this.#mode);
  }

  /** Refuses prefixes that can't be. */
  #finish(
    cursor: ByteCursor,
    instruction: Instruction,
    encoding: Encoding,
    fields: Fields,
    prefixes: Prefixes,
  ): DecodedBytes {
    if (prefixes.lock && !(encoding.lockable && fields.memory === 1))
      return { instruction: undefined, fields: {}, length: cursor.position };
    fields.length = cursor.position;
    const { length } = fields;
    if (fields.segmented === 0) return { instruction, fields, length };
    const segmentation = this.#segmentation === "limits" ? "limits" : "rights";
    return { instruction: segmented(instruction, segmentation), fields, length };
  }

  #readPrefixes(cursor: ByteCursor): Prefixes {
    const prefixes: Prefixes = {
      operandSize: false,
      addressSize: false,
      lock: false,
      rep: RepeatPrefix.none,
      segment: undefined,
      rex: 0,
    };
    while (!cursor.exhausted && readLegacyPrefix(cursor.peek(), prefixes)) cursor.next();
    // REX counts only in front of the opcode; one that other prefixes follow is ignored.
    while (this.#mode === Mode.long && !cursor.exhausted && (cursor.peek() & 0xf0) === 0x40) {
      prefixes.rex = cursor.next();
      if (cursor.exhausted || !readLegacyPrefix(cursor.peek(), prefixes)) continue;
      prefixes.rex = 0;
      while (!cursor.exhausted && readLegacyPrefix(cursor.peek(), prefixes)) cursor.next();
    }
    return prefixes;
  }

  #addressSize({ addressSize }: Prefixes): 1 | 2 | 3 {
    if (this.#mode === Mode.long) return addressSize ? 2 : 3;
    return (this.#mode === Mode.code16) === addressSize ? 2 : 1;
  }

  #operandSize({ operandSize }: Encoding, prefixes: Prefixes): number {
    if (operandSize === "byte") return 0;
    if (this.#mode !== Mode.long) return (this.#mode === Mode.code16) === prefixes.operandSize ? 2 : 1;
    if (operandSize === "forced64" || (prefixes.rex & REX_W) !== 0) return 3;
    if (prefixes.operandSize) return 1;
    return operandSize === "default64" ? 3 : 2;
  }

  /** A prefix that names a segment without the flat base and limit of the others. */
  #leavesFlat({ segment }: Prefixes): boolean {
    if (this.#mode === Mode.long) return false;
    return segment === Segment.cs || segment === Segment.fs || segment === Segment.gs;
  }

  #fields(
    encoding: Encoding,
    prefixes: Prefixes,
    addressSize: number,
    opcode: number,
    modrm: Address | undefined,
  ): Fields {
    // Written out: it is made for each instruction, and all are to have one shape.
    const {
      memory,
      modrm: byte,
      reg,
      rm,
      base,
      index,
      scale,
      displacement,
      relative,
      segment: own,
    } = modrm ?? EMPTY_FIELDS;
    const fields: Fields = {
      mode: this.#mode,
      stackSize: this.#stackSize,
      segmented: this.#segmentation !== "flat" || this.#leavesFlat(prefixes) ? 1 : 0,
      size: this.#operandSize(encoding, prefixes),
      addressSize,
      memory,
      rep: prefixes.rep,
      lock: prefixes.lock ? 1 : 0,
      rex: prefixes.rex === 0 ? 0 : 1,
      modrm: byte,
      reg,
      rm,
      base,
      index,
      scale,
      displacement,
      relative,
      segment: own,
      immediate: 0,
      immediateHigh: 0,
      length: 0,
    };
    if (encoding.registerInOpcode) fields.rm = (opcode & 7) | ((prefixes.rex & REX_B) << 3);
    const { segment } = prefixes;
    // In 64-bit mode only FS and GS have bases.
    if (segment !== undefined && (this.#mode !== Mode.long || segment === Segment.fs || segment === Segment.gs))
      fields.segment = segment;
    return fields;
  }
}

/** A displacement, if there is one, then immediates. */
function tailOf({ numbers }: ByteCursor, displacements: number): readonly TailNumber[] {
  const names: readonly FieldName[] = [
    ...(displacements === 0 ? [] : (["displacement"] as const)),
    ...(["immediate", "immediateHigh"] as const),
  ];
  return numbers.map((number, index) => ({ ...number, field: names[index] ?? "immediateHigh" }));
}

const REX_W = 8;
const REX_B = 1;

function readLegacyPrefix(byte: number, prefixes: Prefixes): boolean {
  const segment = SEGMENT_PREFIXES[byte];
  if (segment !== undefined) prefixes.segment = segment;
  else if (byte === 0x66) prefixes.operandSize = true;
  else if (byte === 0x67) prefixes.addressSize = true;
  else if (byte === 0xf0) prefixes.lock = true;
  else if (byte === 0xf2) prefixes.rep = RepeatPrefix.repne;
  else if (byte === 0xf3) prefixes.rep = RepeatPrefix.rep;
  else return false;
  return true;
}

function readOpcode(cursor: ByteCursor): number {
  const first = cursor.next();
  if (first !== 0x0f) return first;
  const second = cursor.next();
  if (second === 0x38) return 0x200 + cursor.next();
  if (second === 0x3a) return 0x300 + cursor.next();
  return 0x100 + second;
}

function matches(encoding: Encoding, prefixes: Prefixes, modrm: Address | undefined): boolean {
  const { digit, operand, rexW, prefix } = encoding;
  if (modrm !== undefined) {
    if (digit !== undefined && digit !== (modrm.reg & 7)) return false;
    if (operand !== "any" && (operand === "memory") !== (modrm.memory === 1)) return false;
  }
  if (rexW !== undefined && rexW !== ((prefixes.rex & REX_W) === 0 ? 0 : 1)) return false;
  return prefix === "any" || prefix === mandatoryPrefix(prefixes);
}

/** Which prefix belongs to the opcode, where one does: Intel SDM volume 2, 2.1.2, 2.2.1.2. */
function mandatoryPrefix({ operandSize, rep }: Prefixes): MandatoryPrefix {
  if (rep !== RepeatPrefix.none) return rep === RepeatPrefix.rep ? "F3" : "F2";
  return operandSize ? "66" : "none";
}

/** The first one is `immediate`, and of 64 bits `immediateHigh` too; a second one is `immediateHigh`. */
function readImmediate(cursor: ByteCursor, kind: ImmediateKind, fields: Fields, isFirst: boolean): void {
  const size = kind === "offset" ? fields.addressSize : fields.size;
  if (kind === "whole" || kind === "offset") {
    fields.immediate = cursor.signed(size === 0 ? 1 : size === 1 ? 2 : 4);
    if (size === 3) fields.immediateHigh = cursor.signed(4);
    return;
  }
  const value = cursor.signed(kind === "byte" ? 1 : kind === "word" || size === 1 ? 2 : 4);
  if (isFirst) fields.immediate = value;
  else fields.immediateHigh = value;
}

/** See `CpuDefinition.variableLength`. */
export const variableLength: VariableLength = {
  lengthMax: INSTRUCTION_BYTES_MAX,
  decoderFor: (instructions, context) => new Decoder(instructions, context),
};

/** Whether a definition exists in a context. */
export function existsIn(instruction: Instruction, context: number): boolean {
  const { modes, protectedOnly } = parseEncoding(instruction.pattern);
  if (protectedOnly && (context & Context.real) !== 0) return false;
  return modes === "both" || (modes === "long") === (codeMode(context) === Mode.long);
}
