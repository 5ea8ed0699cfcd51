/** Advanced SIMD conversions between float formats: FCVTN, FCVTL, FCVTXN. Arm ARM C4.1 "Advanced SIMD two-register miscellaneous". */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { elementRoutine, type FloatValue } from "../float-fast-path.js";
import { floatConvert, floatNarrow } from "../float-conversions.js";
import { vector } from "../operands.js";
import { readElement, withLane, writeElementAlone, writeHalf } from "../vector-registers.js";
import { scalarName, vectorName } from "../vector-text.js";

/** Bits of the wider format of each `sz`. */
const WIDE_BITS = [32, 64] as const;

interface Formats {
  readonly wide: 32 | 64;
  readonly narrow: 16 | 32;
}

function formatsOf(sz: number): Formats {
  const wide = WIDE_BITS[sz] ?? 64;
  return { wide, narrow: wide === 64 ? 32 : 16 };
}

type Narrowing = (stage: Stage, formats: Formats, value: FloatValue) => FloatValue;

const toNearest: Narrowing = (stage, { wide, narrow }, value) => floatConvert(stage, wide, narrow, value);
const toOdd: Narrowing = (stage, _formats, value) => floatNarrow(stage, value as Value<64>, true);

/** Every element of a whole vector, narrowed, side by side in 64 bits. */
function narrowedElements(
  stage: Stage,
  name: string,
  formats: Formats,
  operation: Narrowing,
  source: Value<32>,
): Value<64> {
  const { wide, narrow } = formats;
  const convert = elementRoutine(`${name}${wide}`, [wide], 32, (inner, value) =>
    operation(inner, formats, value as FloatValue),
  );
  let result = stage.constant128(0n, 0n);
  for (let index = 0; index < 128 / wide; index++) {
    const element = convert(stage, stage.readAt(wide, source, (index * wide) / 8));
    result = withLane(stage, narrow, index, result, element as Value<32>);
  }
  return stage.extractLane("i64x2", 0, result);
}

function narrowing(
  name: string,
  u: 0 | 1,
  where: (fields: { readonly sz: number }) => boolean,
  operation: Narrowing,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2`,
    reference: "C4.1 Advanced SIMD two-register miscellaneous",
    pattern: `0 Q:1 ${String(u)} 01110 0 sz:1 10000 10110 10 Rn:5 Rd:5`,
    formFields: ["Q", "sz"],
    where,
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Q, sz, Rn, Rd }) =>
      `${name}${Q === 1 ? "2" : ""} ${vectorName(Rd, sz + 1, Q)}, ${vectorName(Rn, sz + 2, 1)}`,
    execute({ Q, sz }, { rd, rn }, stage) {
      writeHalf(stage, Q, rd, narrowedElements(stage, name, formatsOf(sz), operation, rn));
    },
  });
}

const lengthening = defineInstruction({
  mnemonic: "FCVTL, FCVTL2",
  reference: "C4.1 Advanced SIMD two-register miscellaneous",
  pattern: "0 Q:1 0 01110 0 sz:1 10000 10111 10 Rn:5 Rd:5",
  formFields: ["Q", "sz"],
  operands: { rd: vector("Rd"), rn: vector("Rn") },
  text: ({ Q, sz, Rn, Rd }) => `fcvtl${Q === 1 ? "2" : ""} ${vectorName(Rd, sz + 2, 1)}, ${vectorName(Rn, sz + 1, Q)}`,
  execute({ Q, sz }, { rd, rn }, stage) {
    const { wide, narrow } = formatsOf(sz);
    const convert = elementRoutine(`fcvtl${wide}`, [32], wide, (inner, value) =>
      floatConvert(inner, narrow, wide, value as FloatValue),
    );
    let result = stage.constant128(0n, 0n);
    for (let index = 0; index < 128 / wide; index++) {
      const element = readElement(stage, narrow, rn, 8 * Q + (index * narrow) / 8);
      result = withLane(stage, wide, index, result, convert(stage, element) as Value<32> | Value<64>);
    }
    stage.writeAt(rd, result);
  },
});

const narrowingToOddScalar = defineInstruction({
  mnemonic: "FCVTXN (scalar)",
  reference: "C4.1 Advanced SIMD scalar two-register miscellaneous",
  pattern: "01 1 11110 01 10000 10110 10 Rn:5 Rd:5",
  formFields: [],
  operands: { rd: vector("Rd"), rn: vector("Rn") },
  text: ({ Rn, Rd }) => `fcvtxn ${scalarName(2, Rd)}, ${scalarName(3, Rn)}`,
  execute(_form, { rd, rn }, stage) {
    writeElementAlone(stage, 32, rd, floatNarrow(stage, stage.readAt(64, rn), true) as Value<32>);
  },
});

export const simdFloatConversions: readonly Instruction[] = [
  narrowing("fcvtn", 0, () => true, toNearest),
  narrowing("fcvtxn", 1, ({ sz }) => sz === 1, toOdd),
  lengthening,
  narrowingToOddScalar,
];
