/** LD1 to LD4 and ST1 to ST4: vectors of elements that lie in memory as structures. Arm ARM C3.2.10, C4.1 "Advanced SIMD load/store". */
import { type AccessHandle, defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { registerName, registerNameOrSp } from "../assembly-text.js";
import { sourceX, vector, xOrSp } from "../operands.js";
import { everySecond, type Vector } from "../vector-lanes.js";
import {
  elementShift,
  elementWord,
  lane,
  type LaneBits,
  laneBits,
  laneCount,
  readPlacedElement,
  readVector,
  splatElement,
  withLane,
  writePlacedElement,
  writeVector,
} from "../vector-registers.js";
import { arrangement, vectorList } from "../vector-text.js";

/** How the base is written back: not; by the bytes transferred (Rm is 31); by a register. */
type Indexing = "no offset" | "immediate post-index" | "register post-index";

const INDEXINGS: readonly Indexing[] = ["no offset", "immediate post-index", "register post-index"];

/** Bits 23 and 20 to 16. */
function indexingBits(indexing: Indexing): { readonly post: string; readonly rm: string } {
  if (indexing === "no offset") return { post: "0", rm: "00000" };
  return { post: "1", rm: indexing === "immediate post-index" ? "11111" : "Rm:5" };
}

function where(indexing: Indexing, fields: Readonly<Record<string, number>>): boolean {
  return indexing !== "register post-index" || fields["Rm"] !== 31;
}

function addressPart(indexing: Indexing, fields: Readonly<Record<string, number>>, bytes: number): string {
  const base = `[${registerNameOrSp(1, fields["Rn"] ?? 0)}]`;
  if (indexing === "no offset") return base;
  return indexing === "immediate post-index" ? `${base}, #${bytes}` : `${base}, ${registerName(1, fields["Rm"] ?? 0)}`;
}

/** A register operand that is there in one of the indexings only; elsewhere it is 0 and not used. */
function indexRegister(indexing: Indexing): { readonly u16: (fields: Readonly<Record<string, number>>) => number } {
  return { u16: (fields) => (indexing === "register post-index" ? sourceX("Rm").u16({ Rm: fields["Rm"] ?? 31 }) : 0) };
}

function writeBack(
  stage: Stage,
  indexing: Indexing,
  rn: Value<32>,
  base: Value<64>,
  rm: Value<32>,
  bytes: number,
): void {
  if (indexing === "no offset") return;
  stage.writeAt(
    rn,
    stage.add(base, indexing === "immediate post-index" ? stage.constant64(bytes) : stage.readAt(64, rm)),
  );
}

interface Multiple {
  /** Vectors, and elements of one structure: LD1 has one however many vectors it loads. */
  readonly vectors: number;
  readonly elements: number;
}

const multiples: ReadonlyMap<number, Multiple> = new Map([
  [0b0000, { vectors: 4, elements: 4 }],
  [0b0010, { vectors: 4, elements: 1 }],
  [0b0100, { vectors: 3, elements: 3 }],
  [0b0110, { vectors: 3, elements: 1 }],
  [0b0111, { vectors: 1, elements: 1 }],
  [0b1000, { vectors: 2, elements: 2 }],
  [0b1010, { vectors: 2, elements: 1 }],
]);

function multipleOf(opcode: number): Multiple {
  const multiple = multiples.get(opcode);
  if (multiple === undefined) throw new RangeError(`no structure load has opcode ${opcode}`);
  return multiple;
}

function loadPiece(stage: Stage, q: number, handle: AccessHandle, index: number): Vector {
  return q === 1
    ? stage.load(128, handle, 16 * index, 128)
    : stage.splat("i64x2", stage.load(64, handle, 8 * index, 64));
}

/** The vectors of structures of two or four elements, from pieces in the order of memory: halves are parted until each holds one. */
function deinterleave(stage: Stage, bits: LaneBits, q: number, pieces: readonly Vector[]): readonly Vector[] {
  const pairs = (from: 0 | 1, list: readonly Vector[]): Vector[] =>
    list.flatMap((piece, index) =>
      index % 2 === 0 ? [everySecond(stage, bits, q, from, piece, list[index + 1] ?? piece)] : [],
    );
  const even = pairs(0, pieces);
  const odd = pairs(1, pieces);
  if (pieces.length === 2) return [...even, ...odd];
  return [...pairs(0, even), ...pairs(0, odd), ...pairs(1, even), ...pairs(1, odd)];
}

/** Elements of two vectors in turn: the first and the second vector of the result. */
function interleavePair(
  stage: Stage,
  bits: LaneBits,
  q: number,
  left: Vector,
  right: Vector,
): readonly [Vector, Vector] {
  const bytes = bits / 8;
  const half = (4 << q) / bytes;
  const indices = (part: number): number[] =>
    Array.from({ length: 16 }, (_unused, byte) => {
      const position = Math.floor(byte / bytes);
      const element = (part * half + (position >> 1)) % (2 * half);
      return (position & 1) * 16 + element * bytes + (byte % bytes);
    });
  return [stage.shuffle(left, right, indices(0)), stage.shuffle(left, right, indices(1))];
}

function interleave(stage: Stage, bits: LaneBits, q: number, vectors: readonly Vector[]): readonly Vector[] {
  const [first, second, third, fourth] = vectors;
  if (first === undefined || second === undefined) return vectors;
  if (third === undefined || fourth === undefined) return interleavePair(stage, bits, q, first, second);
  const even = interleavePair(stage, bits, q, first, third);
  const odd = interleavePair(stage, bits, q, second, fourth);
  return [...interleavePair(stage, bits, q, even[0], odd[0]), ...interleavePair(stage, bits, q, even[1], odd[1])];
}

function loadElement(stage: Stage, bits: LaneBits, handle: AccessHandle, offset: number): Value<32> | Value<64> {
  return bits === 64 ? stage.load(64, handle, offset, 64) : stage.load(32, handle, offset, bits);
}

/** Structures of three, element by element. */
function loadTriples(stage: Stage, bits: LaneBits, q: number, handle: AccessHandle): readonly Vector[] {
  return [0, 1, 2].map((register) => {
    let value = stage.constant128(0n, 0n);
    for (let index = 0; index < laneCount(bits, q); index++) {
      value = withLane(
        stage,
        bits,
        index,
        value,
        loadElement(stage, bits, handle, ((3 * index + register) * bits) / 8),
      );
    }
    return value;
  });
}

function storeTriples(stage: Stage, bits: LaneBits, q: number, handle: AccessHandle, vectors: readonly Vector[]): void {
  vectors.forEach((value, register) => {
    for (let index = 0; index < laneCount(bits, q); index++) {
      stage.store(handle, ((3 * index + register) * bits) / 8, bits, lane(stage, bits, index, value));
    }
  });
}

function loadMultiple(
  stage: Stage,
  form: { readonly Q: number; readonly size: number },
  multiple: Multiple,
  handle: AccessHandle,
): readonly Vector[] {
  const bits = laneBits(form.size);
  if (multiple.elements === 3) return loadTriples(stage, bits, form.Q, handle);
  const pieces = Array.from({ length: multiple.vectors }, (_unused, index) => loadPiece(stage, form.Q, handle, index));
  return multiple.elements === 1 ? pieces : deinterleave(stage, bits, form.Q, pieces);
}

function storeMultiple(
  stage: Stage,
  form: { readonly Q: number; readonly size: number },
  multiple: Multiple,
  handle: AccessHandle,
  vectors: readonly Vector[],
): void {
  const bits = laneBits(form.size);
  if (multiple.elements === 3) return storeTriples(stage, bits, form.Q, handle, vectors);
  const pieces = multiple.elements === 1 ? vectors : interleave(stage, bits, form.Q, vectors);
  pieces.forEach((piece, index) => {
    if (form.Q === 1) stage.store(handle, 16 * index, 128, piece);
    else stage.store(handle, 8 * index, 64, stage.extractLane("i64x2", 0, piece));
  });
}

function multipleStructures(indexing: Indexing): Instruction {
  const { post, rm: rmBits } = indexingBits(indexing);
  return defineInstruction({
    mnemonic: `LD1 to LD4, ST1 to ST4 (multiple structures, ${indexing})`,
    reference: "C4.1 Advanced SIMD load/store multiple structures",
    pattern: `0 Q:1 001100 ${post} L:1 0 ${rmBits} opcode:4 size:2 Rn:5 Rt:5`,
    formFields: ["Q", "L", "opcode", "size"],
    where: (fields) => {
      const multiple = multiples.get(fields.opcode);
      // There is no 1D arrangement of structures.
      return (
        multiple !== undefined &&
        where(indexing, fields) &&
        (fields.size !== 3 || fields.Q === 1 || multiple.elements === 1)
      );
    },
    operands: {
      rn: xOrSp("Rn"),
      rm: indexRegister(indexing),
      vt0: vector("Rt"),
      vt1: vector("Rt", 1),
      vt2: vector("Rt", 2),
      vt3: vector("Rt", 3),
    },
    text: (fields) => {
      const { vectors, elements } = multipleOf(fields.opcode);
      const list = vectorList(fields.Rt, vectors, arrangement(fields.size, fields.Q));
      return `${fields.L === 1 ? "ld" : "st"}${elements} ${list}, ${addressPart(indexing, fields, vectors * (8 << fields.Q))}`;
    },
    execute(form, { rn, rm, vt0, vt1, vt2, vt3 }, stage) {
      const multiple = multipleOf(form.opcode);
      const registers = [vt0, vt1, vt2, vt3].slice(0, multiple.vectors);
      const bytes = multiple.vectors * (8 << form.Q);
      const base = stage.readAt(64, rn);
      const handle = stage.access(base, bytes, form.L === 1 ? "read" : "write");
      if (form.L === 1) {
        const loaded = loadMultiple(stage, form, multiple, handle);
        loaded.forEach((value, index) => {
          writeVector(stage, form.Q, registers[index] ?? vt0, value);
        });
      } else {
        storeMultiple(
          stage,
          form,
          multiple,
          handle,
          registers.map((register) => readVector(stage, form.Q, register)),
        );
      }
      writeBack(stage, indexing, rn, base, rm, bytes);
    },
  });
}

/** One element of each register. The index is in Q, S and the bits of `size` that the element's width leaves. */
interface SingleElement {
  readonly bits: LaneBits;
  /** Bits 15 to 10 but for `o` (13), which with R counts the registers. */
  readonly pattern: string;
  readonly index: (fields: Readonly<Record<string, number>>) => number;
}

const bit = (fields: Readonly<Record<string, number>>, name: string): number => fields[name] ?? 0;

const singleElements: readonly SingleElement[] = [
  {
    bits: 8,
    pattern: "00 o:1 S:1 low:2",
    index: (fields) => (bit(fields, "Q") << 3) | (bit(fields, "S") << 2) | bit(fields, "low"),
  },
  {
    bits: 16,
    pattern: "01 o:1 S:1 low:1 0",
    index: (fields) => (bit(fields, "Q") << 2) | (bit(fields, "S") << 1) | bit(fields, "low"),
  },
  { bits: 32, pattern: "10 o:1 S:1 00", index: (fields) => (bit(fields, "Q") << 1) | bit(fields, "S") },
  { bits: 64, pattern: "10 o:1 0 01", index: (fields) => bit(fields, "Q") },
];

/** Registers that `o` and R ask for. */
function registerCount(o: number, R: number): number {
  return 2 * o + R + 1;
}

function singleStructure(indexing: Indexing, element: SingleElement): Instruction {
  const { post, rm: rmBits } = indexingBits(indexing);
  const { bits, index } = element;
  const word = (plus: number): { readonly u16: (fields: Readonly<Record<string, number>>) => number } => ({
    u16: (fields) => elementWord((fields["Rt"] ?? 0) + plus, bits, index(fields)),
  });
  return defineInstruction({
    mnemonic: `LD1 to LD4, ST1 to ST4 (single structure, ${bits}-bit, ${indexing})`,
    reference: "C4.1 Advanced SIMD load/store single structure",
    pattern: `0 Q:1 001101 ${post} L:1 R:1 ${rmBits} ${element.pattern} Rn:5 Rt:5` as `0 Q:1 L:1 R:1 o:1 Rn:5 Rt:5`,
    formFields: ["L", "R", "o"],
    where: (fields) => where(indexing, fields),
    operands: {
      rn: xOrSp("Rn"),
      rm: indexRegister(indexing),
      shift: { u16: (fields) => elementShift(bits, index(fields)) },
      word0: word(0),
      word1: word(1),
      word2: word(2),
      word3: word(3),
    },
    text: (fields) => {
      const count = registerCount(fields.o, fields.R);
      const list = vectorList(fields.Rt, count, arrangement(Math.log2(bits / 8), 1).replace(/\d+/, ""));
      return `${fields.L === 1 ? "ld" : "st"}${count} ${list}[${index(fields)}], ${addressPart(indexing, fields, (count * bits) / 8)}`;
    },
    execute({ L, R, o }, { rn, rm, shift, word0, word1, word2, word3 }, stage) {
      const words = [word0, word1, word2, word3].slice(0, registerCount(o, R));
      const bytes = (words.length * bits) / 8;
      const base = stage.readAt(64, rn);
      const handle = stage.access(base, bytes, L === 1 ? "read" : "write");
      if (L === 1) {
        const loaded = words.map((_unused, position) => loadElement(stage, bits, handle, (position * bits) / 8));
        loaded.forEach((value, position) => {
          writePlacedElement(stage, bits, words[position] ?? word0, shift, value);
        });
      } else {
        words.forEach((place, position) => {
          stage.store(handle, (position * bits) / 8, bits, readPlacedElement(stage, bits, place, shift));
        });
      }
      writeBack(stage, indexing, rn, base, rm, bytes);
    },
  });
}

function replicate(indexing: Indexing): Instruction {
  const { post, rm: rmBits } = indexingBits(indexing);
  return defineInstruction({
    mnemonic: `LD1R to LD4R (${indexing})`,
    reference: "C4.1 Advanced SIMD load/store single structure",
    pattern: `0 Q:1 001101 ${post} 1 R:1 ${rmBits} 11 o:1 0 size:2 Rn:5 Rt:5`,
    formFields: ["Q", "R", "o", "size"],
    where: (fields) => where(indexing, fields),
    operands: {
      rn: xOrSp("Rn"),
      rm: indexRegister(indexing),
      vt0: vector("Rt"),
      vt1: vector("Rt", 1),
      vt2: vector("Rt", 2),
      vt3: vector("Rt", 3),
    },
    text: (fields) => {
      const count = registerCount(fields.o, fields.R);
      const list = vectorList(fields.Rt, count, arrangement(fields.size, fields.Q));
      return `ld${count}r ${list}, ${addressPart(indexing, fields, count << fields.size)}`;
    },
    execute({ Q, R, o, size }, { rn, rm, vt0, vt1, vt2, vt3 }, stage) {
      const registers = [vt0, vt1, vt2, vt3].slice(0, registerCount(o, R));
      const bits = laneBits(size);
      const bytes = (registers.length * bits) / 8;
      const base = stage.readAt(64, rn);
      const handle = stage.access(base, bytes, "read");
      const loaded = registers.map((_unused, position) =>
        splatElement(stage, bits, loadElement(stage, bits, handle, (position * bits) / 8)),
      );
      loaded.forEach((value, position) => {
        writeVector(stage, Q, registers[position] ?? vt0, value);
      });
      writeBack(stage, indexing, rn, base, rm, bytes);
    },
  });
}

export const simdStructureLoadsAndStores: readonly Instruction[] = INDEXINGS.flatMap((indexing) => [
  multipleStructures(indexing),
  ...singleElements.map((element) => singleStructure(indexing, element)),
  replicate(indexing),
]);
