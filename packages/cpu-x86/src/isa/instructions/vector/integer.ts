/** Integer arithmetic, logic and comparison of MMX and SSE registers. References: Intel SDM volume 2. */
import type { Instruction, Stage } from "@hvjournal/engine";
import {
  bitselect,
  constantBytes,
  constantLanes,
  fromSource,
  inBothBanks,
  type LaneBits,
  lanes,
  type Vector,
  type VectorOperation,
} from "../../vector-unit.js";

/** An instruction of WebAssembly does it. */
function direct(op: string): VectorOperation {
  return (stage, destination, source) => stage.vector(op, destination, source);
}

/** Both operands' elements, half as many, twice as wide. */
function multiplyHigh(signed: boolean): VectorOperation {
  const suffix = signed ? "s" : "u";
  return (stage, destination, source) => {
    const half = (which: "low" | "high"): Vector =>
      stage.vector(`i32x4.extmul_${which}_i16x8_${suffix}`, destination, source);
    return stage.shuffle(half("low"), half("high"), [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31]);
  };
}

/** Words multiplied, and the products of neighbours added. */
const multiplyAdd: VectorOperation = (stage, destination, source) =>
  stage.vector("i32x4.dot_i16x8_s", destination, source);

function evenDoublewords(stage: Stage, value: Vector): Vector {
  return stage.shuffle(value, value, [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);
}

function multiplyEven(signed: boolean): VectorOperation {
  return (stage, destination, source) =>
    stage.vector(
      `i64x2.extmul_low_i32x4_${signed ? "s" : "u"}`,
      evenDoublewords(stage, destination),
      evenDoublewords(stage, source),
    );
}

function absoluteDifferences(stage: Stage, left: Vector, right: Vector): Vector {
  return stage.vector("v128.or", lanes(stage, 8, "sub_sat_u", left, right), lanes(stage, 8, "sub_sat_u", right, left));
}

/** PSADBW: a sum for each eight bytes. */
const sumOfDifferences: VectorOperation = (stage, destination, source) => {
  const words = stage.vector("i16x8.extadd_pairwise_i8x16_u", absoluteDifferences(stage, destination, source));
  const doublewords = stage.vector("i32x4.extadd_pairwise_i16x8_u", words);
  const upper = lanes(stage, 64, "shr_u", doublewords, stage.constant32(32));
  const lower = stage.vector("v128.and", doublewords, constantLanes(stage, 64, 0xffff_ffffn));
  return lanes(stage, 64, "add", lower, upper);
};

/** PANDN: the destination is inverted. */
const andNot: VectorOperation = (stage, destination, source) => stage.vector("v128.andnot", source, destination);

const SIMPLE: readonly (readonly [name: string, opcode: string, operation: VectorOperation])[] = [
  ["paddb", "0F FC", direct("i8x16.add")],
  ["paddw", "0F FD", direct("i16x8.add")],
  ["paddd", "0F FE", direct("i32x4.add")],
  ["paddq", "0F D4", direct("i64x2.add")],
  ["paddsb", "0F EC", direct("i8x16.add_sat_s")],
  ["paddsw", "0F ED", direct("i16x8.add_sat_s")],
  ["paddusb", "0F DC", direct("i8x16.add_sat_u")],
  ["paddusw", "0F DD", direct("i16x8.add_sat_u")],
  ["psubb", "0F F8", direct("i8x16.sub")],
  ["psubw", "0F F9", direct("i16x8.sub")],
  ["psubd", "0F FA", direct("i32x4.sub")],
  ["psubq", "0F FB", direct("i64x2.sub")],
  ["psubsb", "0F E8", direct("i8x16.sub_sat_s")],
  ["psubsw", "0F E9", direct("i16x8.sub_sat_s")],
  ["psubusb", "0F D8", direct("i8x16.sub_sat_u")],
  ["psubusw", "0F D9", direct("i16x8.sub_sat_u")],
  ["pcmpeqb", "0F 74", direct("i8x16.eq")],
  ["pcmpeqw", "0F 75", direct("i16x8.eq")],
  ["pcmpeqd", "0F 76", direct("i32x4.eq")],
  ["pcmpgtb", "0F 64", direct("i8x16.gt_s")],
  ["pcmpgtw", "0F 65", direct("i16x8.gt_s")],
  ["pcmpgtd", "0F 66", direct("i32x4.gt_s")],
  ["pand", "0F DB", direct("v128.and")],
  ["pandn", "0F DF", andNot],
  ["por", "0F EB", direct("v128.or")],
  ["pxor", "0F EF", direct("v128.xor")],
  ["pmullw", "0F D5", direct("i16x8.mul")],
  ["pmulhw", "0F E5", multiplyHigh(true)],
  ["pmulhuw", "0F E4", multiplyHigh(false)],
  ["pmaddwd", "0F F5", multiplyAdd],
  ["pmuludq", "0F F4", multiplyEven(false)],
  ["pminub", "0F DA", direct("i8x16.min_u")],
  ["pmaxub", "0F DE", direct("i8x16.max_u")],
  ["pminsw", "0F EA", direct("i16x8.min_s")],
  ["pmaxsw", "0F EE", direct("i16x8.max_s")],
  ["pavgb", "0F E0", direct("i8x16.avgr_u")],
  ["pavgw", "0F E3", direct("i16x8.avgr_u")],
  ["psadbw", "0F F6", sumOfDifferences],
];

// SSSE3

/** Every second element of destination and source behind each other, from element `from` on. */
function everySecond(bits: 16 | 32, from: 0 | 1): VectorOperation {
  const bytes = bits / 8;
  return (stage, destination, source, bank) => {
    const perVector = (bank === "xmm" ? 16 : 8) / bytes;
    const indices = Array.from({ length: 16 }, (_, byte) => {
      const position = 2 * (Math.floor(byte / bytes) % perVector) + from;
      const vector = Math.floor(position / perVector);
      return vector * 16 + (position % perVector) * bytes + (byte % bytes);
    });
    return stage.shuffle(destination, source, indices);
  };
}

function horizontal(bits: 16 | 32, op: "add" | "sub" | "add_sat_s" | "sub_sat_s"): VectorOperation {
  return (stage, destination, source, bank) =>
    lanes(
      stage,
      bits,
      op,
      everySecond(bits, 0)(stage, destination, source, bank),
      everySecond(bits, 1)(stage, destination, source, bank),
    );
}

/** PSIGN: negated, kept or cleared by the sign of the source's element. */
function withSignOf(bits: 8 | 16 | 32): VectorOperation {
  return (stage, destination, source) => {
    const negative = lanes(stage, bits, "shr_s", source, stage.constant32(bits - 1));
    const negated = lanes(stage, bits, "sub", stage.vector("v128.xor", destination, negative), negative);
    const zero = lanes(stage, bits, "eq", source, stage.constant128(0n, 0n));
    return stage.vector("v128.andnot", negated, zero);
  };
}

function absolute(bits: 8 | 16 | 32): VectorOperation {
  return (stage, _destination, source) => lanes(stage, bits, "abs", source);
}

/** PSHUFB: bit 7 of an index gives 0; the other bits that name no byte are ignored. */
const shuffleBytes: VectorOperation = (stage, destination, source, bank) =>
  lanes(
    stage,
    8,
    "swizzle",
    destination,
    stage.vector("v128.and", source, constantLanes(stage, 8, bank === "xmm" ? 0x8fn : 0x87n)),
  );

/** PMADDUBSW: unsigned bytes of the destination by signed ones of the source. */
const multiplyAddBytes: VectorOperation = (stage, destination, source) => {
  const product = (unsigned: Vector, signed: Vector): Vector => lanes(stage, 16, "mul", unsigned, signed);
  const eight = stage.constant32(8);
  const even = product(
    stage.vector("v128.and", destination, constantLanes(stage, 16, 0xffn)),
    lanes(stage, 16, "shr_s", lanes(stage, 16, "shl", source, eight), eight),
  );
  const odd = product(lanes(stage, 16, "shr_u", destination, eight), lanes(stage, 16, "shr_s", source, eight));
  return lanes(stage, 16, "add_sat_s", even, odd);
};

/** PMULHRSW: does not saturate -1 times -1, which gives -1 again. */
const multiplyHighRounded: VectorOperation = (stage, destination, source) => {
  const lowest = constantLanes(stage, 16, 0x8000n);
  const both = stage.vector(
    "v128.and",
    lanes(stage, 16, "eq", destination, lowest),
    lanes(stage, 16, "eq", source, lowest),
  );
  return stage.vector("v128.xor", stage.vector("i16x8.q15mulr_sat_s", destination, source), both);
};

const SSSE3: readonly (readonly [name: string, opcode: string, operation: VectorOperation])[] = [
  ["pshufb", "0F 38 00", shuffleBytes],
  ["phaddw", "0F 38 01", horizontal(16, "add")],
  ["phaddd", "0F 38 02", horizontal(32, "add")],
  ["phaddsw", "0F 38 03", horizontal(16, "add_sat_s")],
  ["pmaddubsw", "0F 38 04", multiplyAddBytes],
  ["phsubw", "0F 38 05", horizontal(16, "sub")],
  ["phsubd", "0F 38 06", horizontal(32, "sub")],
  ["phsubsw", "0F 38 07", horizontal(16, "sub_sat_s")],
  ["psignb", "0F 38 08", withSignOf(8)],
  ["psignw", "0F 38 09", withSignOf(16)],
  ["psignd", "0F 38 0A", withSignOf(32)],
  ["pmulhrsw", "0F 38 0B", multiplyHighRounded],
  ["pabsb", "0F 38 1C", absolute(8)],
  ["pabsw", "0F 38 1D", absolute(16)],
  ["pabsd", "0F 38 1E", absolute(32)],
];

// SSE4.1, SSE4.2: XMM registers only

/** PBLENDVB and its like: the destination's element, or the source's where bit 7 (31, 63) of XMM0's is set. */
export function blendBy(stage: Stage, bits: LaneBits, mask: Vector, destination: Vector, source: Vector): Vector {
  const whole = lanes(stage, bits, "shr_s", mask, stage.constant32(bits - 1));
  return bitselect(stage, whole, source, destination);
}

/** PHMINPOSUW: the smallest word and its first index. */
const minimumPosition: VectorOperation = (stage, _destination, source) => {
  const word = (lane: number) => stage.extractLane("i16x8", lane, source);
  // The index below the word: the smallest of these is the first of the smallest words.
  const ranked = (lane: number) => stage.or(stage.shiftLeft(word(lane), 3), stage.constant32(lane));
  let best = ranked(0);
  for (let lane = 1; lane < 8; lane++) {
    const other = ranked(lane);
    best = stage.select(stage.compare("lt_u", other, best), other, best);
  }
  const packed = stage.or(stage.shiftRight(best, 3), stage.shiftLeft(stage.and(best, stage.constant32(7)), 16));
  return stage.replaceLane("i32x4", 0, stage.constant128(0n, 0n), packed);
};

/** PMOVSX, PMOVZX: the low elements, twice, four or eight times as wide. */
function extend(from: 8 | 16 | 32, to: 16 | 32 | 64, signed: boolean): VectorOperation {
  const steps = { 8: "i16x8.extend_low_i8x16", 16: "i32x4.extend_low_i16x8", 32: "i64x2.extend_low_i32x4" } as const;
  return (stage, _destination, source) => {
    let value = source;
    for (let bits: number = from; bits < to; bits *= 2)
      value = stage.vector(`${steps[bits as 8 | 16 | 32]}_${signed ? "s" : "u"}`, value);
    return value;
  };
}

const EXTENSIONS: readonly (readonly [suffix: string, opcode: number, from: 8 | 16 | 32, to: 16 | 32 | 64])[] = [
  ["bw", 0, 8, 16],
  ["bd", 1, 8, 32],
  ["bq", 2, 8, 64],
  ["wd", 3, 16, 32],
  ["wq", 4, 16, 64],
  ["dq", 5, 32, 64],
];

function extensions(signed: boolean): readonly Instruction[] {
  return EXTENSIONS.map(([suffix, number, from, to]) =>
    fromSource(
      {
        name: `pmov${signed ? "s" : "z"}x${suffix}`,
        opcode: `0F 38 ${signed ? 2 : 3}${number}`,
        prefix: "66",
        bytes: ((16 * from) / to) as 2 | 4 | 8,
        reference: signed ? "4.3 PMOVSX" : "4.3 PMOVZX",
      },
      extend(from, to, signed),
    ),
  );
}

const SSE4: readonly (readonly [name: string, opcode: string, operation: VectorOperation])[] = [
  ["pmuldq", "0F 38 28", multiplyEven(true)],
  ["pcmpeqq", "0F 38 29", direct("i64x2.eq")],
  ["packusdw", "0F 38 2B", direct("i16x8.narrow_i32x4_u")],
  ["pcmpgtq", "0F 38 37", direct("i64x2.gt_s")],
  ["pminsb", "0F 38 38", direct("i8x16.min_s")],
  ["pminsd", "0F 38 39", direct("i32x4.min_s")],
  ["pminuw", "0F 38 3A", direct("i16x8.min_u")],
  ["pminud", "0F 38 3B", direct("i32x4.min_u")],
  ["pmaxsb", "0F 38 3C", direct("i8x16.max_s")],
  ["pmaxsd", "0F 38 3D", direct("i32x4.max_s")],
  ["pmaxuw", "0F 38 3E", direct("i16x8.max_u")],
  ["pmaxud", "0F 38 3F", direct("i32x4.max_u")],
  ["pmulld", "0F 38 40", direct("i32x4.mul")],
  ["phminposuw", "0F 38 41", minimumPosition],
];

// Interleaving and packing

/** PUNPCKL, PUNPCKH: elements of destination and source in turn, from their low or high halves. */
function interleave(bits: LaneBits, half: "low" | "high"): VectorOperation {
  const bytes = bits / 8;
  return (stage, destination, source, bank) => {
    const width = bank === "xmm" ? 16 : 8;
    const first = half === "low" ? 0 : width / 2;
    const indices = Array.from({ length: 16 }, (_, byte) => {
      const element = Math.floor((byte % width) / bytes);
      return (element & 1) * 16 + first + (element >> 1) * bytes + (byte % bytes);
    });
    return stage.shuffle(destination, source, indices);
  };
}

/** PACKSS, PACKUS: the source's elements follow the destination's. */
function pack(op: string): VectorOperation {
  return (stage, destination, source, bank) => {
    if (bank === "xmm") return stage.vector(op, destination, source);
    const both = stage.shuffle(destination, source, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
    return stage.vector(op, both, both);
  };
}

const INTERLEAVING: readonly (readonly [name: string, opcode: string, operation: VectorOperation])[] = [
  ["punpcklbw", "0F 60", interleave(8, "low")],
  ["punpcklwd", "0F 61", interleave(16, "low")],
  ["punpckldq", "0F 62", interleave(32, "low")],
  ["packsswb", "0F 63", pack("i8x16.narrow_i16x8_s")],
  ["packuswb", "0F 67", pack("i8x16.narrow_i16x8_u")],
  ["punpckhbw", "0F 68", interleave(8, "high")],
  ["punpckhwd", "0F 69", interleave(16, "high")],
  ["punpckhdq", "0F 6A", interleave(32, "high")],
  ["packssdw", "0F 6B", pack("i16x8.narrow_i32x4_s")],
];

/** Instructions of SSE that interleave: not of MMX. */
const interleaved: readonly Instruction[] = [
  fromSource({ name: "punpcklqdq", opcode: "0F 6C", prefix: "66" }, interleave(64, "low")),
  fromSource({ name: "punpckhqdq", opcode: "0F 6D", prefix: "66" }, interleave(64, "high")),
  fromSource({ name: "unpcklps", opcode: "0F 14", prefix: "np" }, interleave(32, "low")),
  fromSource({ name: "unpcklpd", opcode: "0F 14", prefix: "66" }, interleave(64, "low")),
  fromSource({ name: "unpckhps", opcode: "0F 15", prefix: "np" }, interleave(32, "high")),
  fromSource({ name: "unpckhpd", opcode: "0F 15", prefix: "66" }, interleave(64, "high")),
];

/** Bitwise logic under the names of floats. */
const logic: readonly Instruction[] = (
  [
    ["and", "0F 54", direct("v128.and")],
    ["andn", "0F 55", andNot],
    ["or", "0F 56", direct("v128.or")],
    ["xor", "0F 57", direct("v128.xor")],
  ] as const
).flatMap(([name, opcode, operation]) => [
  fromSource({ name: `${name}ps`, opcode, prefix: "np" }, operation),
  fromSource({ name: `${name}pd`, opcode, prefix: "66" }, operation),
]);

/** Bytes 0 to 15: the index of each byte. */
export function byteIndices(stage: Stage): Vector {
  return constantBytes(
    stage,
    Array.from({ length: 16 }, (_, index) => index),
  );
}

export { absoluteDifferences };

export const vectorIntegerInstructions: readonly Instruction[] = [
  ...[...SIMPLE, ...SSSE3, ...INTERLEAVING].flatMap(([name, opcode, operation]) =>
    inBothBanks(name, opcode, operation, name.startsWith("punpckl") ? 4 : 8),
  ),
  ...SSE4.map(([name, opcode, operation]) => fromSource({ name, opcode, prefix: "66" }, operation)),
  ...extensions(true),
  ...extensions(false),
  ...interleaved,
  ...logic,
];
