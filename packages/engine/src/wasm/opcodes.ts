/** Opcodes of WebAssembly by their name in the specification (core specification 5.4, and its SIMD chapter). */

export const ValueType = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export const EMPTY_BLOCK = 0x40;

const PREFIX_SATURATE = 0xfc;
const PREFIX_SIMD = 0xfd;

const integerOps = ["eqz", "eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"];
const floatCompareOps = ["eq", "ne", "lt", "gt", "le", "ge"];
const integerArithmetic = [
  "clz",
  "ctz",
  "popcnt",
  "add",
  "sub",
  "mul",
  "div_s",
  "div_u",
  "rem_s",
  "rem_u",
  "and",
  "or",
  "xor",
  "shl",
  "shr_s",
  "shr_u",
  "rotl",
  "rotr",
];
const floatArithmetic = [
  "abs",
  "neg",
  "ceil",
  "floor",
  "trunc",
  "nearest",
  "sqrt",
  "add",
  "sub",
  "mul",
  "div",
  "min",
  "max",
  "copysign",
];

const numeric = new Map<string, readonly number[]>();

function run(prefix: string, first: number, names: readonly string[]): void {
  names.forEach((name, index) => numeric.set(`${prefix}.${name}`, [first + index]));
}

run("i32", 0x45, integerOps);
run("i64", 0x50, integerOps);
run("f32", 0x5b, floatCompareOps);
run("f64", 0x61, floatCompareOps);
run("i32", 0x67, integerArithmetic);
run("i64", 0x79, integerArithmetic);
run("f32", 0x8b, floatArithmetic);
run("f64", 0x99, floatArithmetic);
[
  "i32.wrap_i64",
  "i32.trunc_f32_s",
  "i32.trunc_f32_u",
  "i32.trunc_f64_s",
  "i32.trunc_f64_u",
  "i64.extend_i32_s",
  "i64.extend_i32_u",
  "i64.trunc_f32_s",
  "i64.trunc_f32_u",
  "i64.trunc_f64_s",
  "i64.trunc_f64_u",
  "f32.convert_i32_s",
  "f32.convert_i32_u",
  "f32.convert_i64_s",
  "f32.convert_i64_u",
  "f32.demote_f64",
  "f64.convert_i32_s",
  "f64.convert_i32_u",
  "f64.convert_i64_s",
  "f64.convert_i64_u",
  "f64.promote_f32",
  "i32.reinterpret_f32",
  "i64.reinterpret_f64",
  "f32.reinterpret_i32",
  "f64.reinterpret_i64",
  "i32.extend8_s",
  "i32.extend16_s",
  "i64.extend8_s",
  "i64.extend16_s",
  "i64.extend32_s",
].forEach((name, index) => numeric.set(name, [0xa7 + index]));
[
  "i32.trunc_sat_f32_s",
  "i32.trunc_sat_f32_u",
  "i32.trunc_sat_f64_s",
  "i32.trunc_sat_f64_u",
  "i64.trunc_sat_f32_s",
  "i64.trunc_sat_f32_u",
  "i64.trunc_sat_f64_s",
  "i64.trunc_sat_f64_u",
].forEach((name, index) => numeric.set(name, [PREFIX_SATURATE, index]));

/** SIMD opcodes without an immediate; the numbers have gaps, so each run names its first. */
const simdRuns: readonly (readonly [number, readonly string[]])[] = [
  [0x0e, ["i8x16.swizzle", "i8x16.splat", "i16x8.splat", "i32x4.splat", "i64x2.splat", "f32x4.splat", "f64x2.splat"]],
  [
    0x23,
    ["i8x16", "i16x8", "i32x4"].flatMap((shape) =>
      ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"].map((op) => `${shape}.${op}`),
    ),
  ],
  [0x41, ["f32x4", "f64x2"].flatMap((shape) => floatCompareOps.map((op) => `${shape}.${op}`))],
  [0x4d, ["v128.not", "v128.and", "v128.andnot", "v128.or", "v128.xor", "v128.bitselect", "v128.any_true"]],
  [0x5e, ["f32x4.demote_f64x2_zero", "f64x2.promote_low_f32x4"]],
  [
    0x60,
    [
      "i8x16.abs",
      "i8x16.neg",
      "i8x16.popcnt",
      "i8x16.all_true",
      "i8x16.bitmask",
      "i8x16.narrow_i16x8_s",
      "i8x16.narrow_i16x8_u",
      "f32x4.ceil",
      "f32x4.floor",
      "f32x4.trunc",
      "f32x4.nearest",
      "i8x16.shl",
      "i8x16.shr_s",
      "i8x16.shr_u",
      "i8x16.add",
      "i8x16.add_sat_s",
      "i8x16.add_sat_u",
      "i8x16.sub",
      "i8x16.sub_sat_s",
      "i8x16.sub_sat_u",
      "f64x2.ceil",
      "f64x2.floor",
      "i8x16.min_s",
      "i8x16.min_u",
      "i8x16.max_s",
      "i8x16.max_u",
      "f64x2.trunc",
      "i8x16.avgr_u",
      "i16x8.extadd_pairwise_i8x16_s",
      "i16x8.extadd_pairwise_i8x16_u",
      "i32x4.extadd_pairwise_i16x8_s",
      "i32x4.extadd_pairwise_i16x8_u",
    ],
  ],
  [
    0x80,
    [
      "i16x8.abs",
      "i16x8.neg",
      "i16x8.q15mulr_sat_s",
      "i16x8.all_true",
      "i16x8.bitmask",
      "i16x8.narrow_i32x4_s",
      "i16x8.narrow_i32x4_u",
      "i16x8.extend_low_i8x16_s",
      "i16x8.extend_high_i8x16_s",
      "i16x8.extend_low_i8x16_u",
      "i16x8.extend_high_i8x16_u",
      "i16x8.shl",
      "i16x8.shr_s",
      "i16x8.shr_u",
      "i16x8.add",
      "i16x8.add_sat_s",
      "i16x8.add_sat_u",
      "i16x8.sub",
      "i16x8.sub_sat_s",
      "i16x8.sub_sat_u",
      "f64x2.nearest",
      "i16x8.mul",
      "i16x8.min_s",
      "i16x8.min_u",
      "i16x8.max_s",
      "i16x8.max_u",
    ],
  ],
  [
    0x9b,
    [
      "i16x8.avgr_u",
      "i16x8.extmul_low_i8x16_s",
      "i16x8.extmul_high_i8x16_s",
      "i16x8.extmul_low_i8x16_u",
      "i16x8.extmul_high_i8x16_u",
      "i32x4.abs",
      "i32x4.neg",
    ],
  ],
  [0xa3, ["i32x4.all_true", "i32x4.bitmask"]],
  [
    0xa7,
    [
      "i32x4.extend_low_i16x8_s",
      "i32x4.extend_high_i16x8_s",
      "i32x4.extend_low_i16x8_u",
      "i32x4.extend_high_i16x8_u",
      "i32x4.shl",
      "i32x4.shr_s",
      "i32x4.shr_u",
      "i32x4.add",
    ],
  ],
  [0xb1, ["i32x4.sub"]],
  [0xb5, ["i32x4.mul", "i32x4.min_s", "i32x4.min_u", "i32x4.max_s", "i32x4.max_u", "i32x4.dot_i16x8_s"]],
  [
    0xbc,
    [
      "i32x4.extmul_low_i16x8_s",
      "i32x4.extmul_high_i16x8_s",
      "i32x4.extmul_low_i16x8_u",
      "i32x4.extmul_high_i16x8_u",
      "i64x2.abs",
      "i64x2.neg",
    ],
  ],
  [0xc3, ["i64x2.all_true", "i64x2.bitmask"]],
  [
    0xc7,
    [
      "i64x2.extend_low_i32x4_s",
      "i64x2.extend_high_i32x4_s",
      "i64x2.extend_low_i32x4_u",
      "i64x2.extend_high_i32x4_u",
      "i64x2.shl",
      "i64x2.shr_s",
      "i64x2.shr_u",
      "i64x2.add",
    ],
  ],
  [0xd1, ["i64x2.sub"]],
  [
    0xd5,
    [
      "i64x2.mul",
      "i64x2.eq",
      "i64x2.ne",
      "i64x2.lt_s",
      "i64x2.gt_s",
      "i64x2.le_s",
      "i64x2.ge_s",
      "i64x2.extmul_low_i32x4_s",
      "i64x2.extmul_high_i32x4_s",
      "i64x2.extmul_low_i32x4_u",
      "i64x2.extmul_high_i32x4_u",
      "f32x4.abs",
      "f32x4.neg",
    ],
  ],
  [
    0xe3,
    [
      "f32x4.sqrt",
      "f32x4.add",
      "f32x4.sub",
      "f32x4.mul",
      "f32x4.div",
      "f32x4.min",
      "f32x4.max",
      "f32x4.pmin",
      "f32x4.pmax",
      "f64x2.abs",
      "f64x2.neg",
    ],
  ],
  [
    0xef,
    [
      "f64x2.sqrt",
      "f64x2.add",
      "f64x2.sub",
      "f64x2.mul",
      "f64x2.div",
      "f64x2.min",
      "f64x2.max",
      "f64x2.pmin",
      "f64x2.pmax",
      "i32x4.trunc_sat_f32x4_s",
      "i32x4.trunc_sat_f32x4_u",
      "f32x4.convert_i32x4_s",
      "f32x4.convert_i32x4_u",
      "i32x4.trunc_sat_f64x2_s_zero",
      "i32x4.trunc_sat_f64x2_u_zero",
      "f64x2.convert_low_i32x4_s",
      "f64x2.convert_low_i32x4_u",
    ],
  ],
];
function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, value >> 7];
}
for (const [first, names] of simdRuns)
  names.forEach((name, index) => numeric.set(name, [PREFIX_SIMD, ...leb(first + index)]));

/** The encoding of a numeric or vector instruction without immediates. Throws for a name that does not exist. */
export function opcode(name: string): readonly number[] {
  const bytes = numeric.get(name);
  if (bytes === undefined) throw new RangeError(`no WebAssembly instruction is called ${name}`);
  return bytes;
}

/** SIMD instructions with a lane immediate. */
export const laneOpcode: Readonly<Record<string, readonly number[]>> = {
  "i8x16.extract_lane_s": [PREFIX_SIMD, 0x15],
  "i8x16.extract_lane_u": [PREFIX_SIMD, 0x16],
  "i8x16.replace_lane": [PREFIX_SIMD, 0x17],
  "i16x8.extract_lane_s": [PREFIX_SIMD, 0x18],
  "i16x8.extract_lane_u": [PREFIX_SIMD, 0x19],
  "i16x8.replace_lane": [PREFIX_SIMD, 0x1a],
  "i32x4.extract_lane": [PREFIX_SIMD, 0x1b],
  "i32x4.replace_lane": [PREFIX_SIMD, 0x1c],
  "i64x2.extract_lane": [PREFIX_SIMD, 0x1d],
  "i64x2.replace_lane": [PREFIX_SIMD, 0x1e],
};
export const SHUFFLE: readonly number[] = [PREFIX_SIMD, 0x0d];
export const V128_CONST: readonly number[] = [PREFIX_SIMD, 0x0c];

/** Loads and stores: opcode and natural alignment are not needed (alignment hints are 0). */
export const memoryOpcode: Readonly<Record<string, readonly number[]>> = {
  "i32.load": [0x28],
  "i64.load": [0x29],
  "i32.load8_s": [0x2c],
  "i32.load8_u": [0x2d],
  "i32.load16_s": [0x2e],
  "i32.load16_u": [0x2f],
  "i64.load8_s": [0x30],
  "i64.load8_u": [0x31],
  "i64.load16_s": [0x32],
  "i64.load16_u": [0x33],
  "i64.load32_s": [0x34],
  "i64.load32_u": [0x35],
  "i32.store": [0x36],
  "i64.store": [0x37],
  "i32.store8": [0x3a],
  "i32.store16": [0x3b],
  "i64.store8": [0x3c],
  "i64.store16": [0x3d],
  "i64.store32": [0x3e],
  "v128.load": [PREFIX_SIMD, 0x00],
  "v128.store": [PREFIX_SIMD, 0x0b],
};
