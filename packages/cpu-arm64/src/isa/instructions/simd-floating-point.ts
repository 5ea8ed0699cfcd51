/** Advanced SIMD floating point, vector and scalar. Arm ARM C3.5, C4.1 "Data Processing -- Scalar Floating-Point and Advanced SIMD". */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { type FloatBits, type FloatValue } from "../float-fast-path.js";
import {
  type Arithmetic,
  type Estimate,
  type Extremum,
  floatAbsolute,
  floatAbsoluteDifference,
  floatArithmetic,
  floatCompareMask,
  type FloatCondition,
  floatEstimate,
  floatExtremum,
  floatMultiplyAdd,
  floatMultiplyExtended,
  floatNegate,
  floatSquareRoot,
  floatStep,
  unsignedEstimate,
} from "../float-operations.js";
import { floatFromFixed, floatRoundToIntegral, floatToFixed, type IntegralRounding } from "../float-conversions.js";
import { constant } from "../general-registers.js";
import { vector } from "../operands.js";
import { type ElementOperation, forEachElement, vectorArithmetic } from "../vector-float-operations.js";
import {
  indexedDoubleword,
  type IndexedElement,
  indexedOperands,
  indexedText,
  indexedWord,
} from "../vector-families.js";
import { everySecond, type Vector } from "../vector-lanes.js";
import {
  floatBitsOf,
  readFloat,
  readPlacedElement,
  readVector,
  splatElement,
  writeFloat,
  writeVector,
} from "../vector-registers.js";
import { scalarName, vectorName } from "../vector-text.js";

type Binary = (
  stage: Stage,
  bits: FloatBits,
  left: FloatValue,
  right: FloatValue,
  destination: FloatValue,
) => FloatValue;
type Unary = (stage: Stage, bits: FloatBits, value: FloatValue) => FloatValue;
type VectorBinary = (
  stage: Stage,
  bits: FloatBits,
  q: number,
  left: Vector,
  right: Vector,
  destination: Vector,
) => Vector;

interface FloatEncoding {
  readonly name: string;
  readonly u: 0 | 1;
  /** Bit 23: the upper bit of the size field. */
  readonly a: 0 | 1;
  readonly opcode: string;
}

const validVector = ({ Q, sz }: { readonly Q: number; readonly sz: number }): boolean => sz === 0 || Q === 1;

/** Element by element, with the register's former elements last. */
function elementwise(name: string, operation: Binary): VectorBinary {
  const onElements: ElementOperation = (stage, bits, left, right, destination) =>
    operation(stage, bits, left as FloatValue, right as FloatValue, destination as FloatValue);
  return (stage, bits, q, left, right, destination) =>
    forEachElement(stage, name, bits, q, onElements, left, right, destination);
}

function threeSame({ name, u, a, opcode }: FloatEncoding, operation: VectorBinary): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (vector)`,
    reference: "C4.1 Advanced SIMD three same",
    pattern: `0 Q:1 ${String(u)} 01110 ${String(a)} sz:1 1 Rm:5 ${opcode} 1 Rn:5 Rd:5`,
    formFields: ["Q", "sz"],
    where: validVector,
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ Q, sz, Rm, Rn, Rd }) =>
      `${name} ${vectorName(Rd, sz + 2, Q)}, ${vectorName(Rn, sz + 2, Q)}, ${vectorName(Rm, sz + 2, Q)}`,
    execute({ Q, sz }, { rd, rn, rm }, stage) {
      writeVector(
        stage,
        Q,
        rd,
        operation(
          stage,
          floatBitsOf(sz),
          Q,
          readVector(stage, Q, rn),
          readVector(stage, Q, rm),
          readVector(stage, Q, rd),
        ),
      );
    },
  });
}

function threeSameScalar({ name, u, a, opcode }: FloatEncoding, operation: Binary): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (Advanced SIMD scalar)`,
    reference: "C4.1 Advanced SIMD scalar three same",
    pattern: `01 ${String(u)} 11110 ${String(a)} sz:1 1 Rm:5 ${opcode} 1 Rn:5 Rd:5`,
    formFields: ["sz"],
    operands: { rd: vector("Rd"), rn: vector("Rn"), rm: vector("Rm") },
    text: ({ sz, Rm, Rn, Rd }) =>
      `${name} ${scalarName(sz + 2, Rd)}, ${scalarName(sz + 2, Rn)}, ${scalarName(sz + 2, Rm)}`,
    execute({ sz }, { rd, rn, rm }, stage) {
      const bits = floatBitsOf(sz);
      const [left, right, destination] = [
        readFloat(stage, bits, rn),
        readFloat(stage, bits, rm),
        readFloat(stage, bits, rd),
      ];
      writeFloat(stage, bits, rd, operation(stage, bits, left, right, destination));
    },
  });
}

function both(encoding: FloatEncoding, operation: Binary): Instruction[] {
  return [threeSame(encoding, elementwise(encoding.name, operation)), threeSameScalar(encoding, operation)];
}

const arithmetic = (name: string, u: 0 | 1, a: 0 | 1, opcode: string, operation: Arithmetic): Instruction =>
  threeSame({ name, u, a, opcode }, (stage, bits, q, left, right) =>
    vectorArithmetic(stage, operation, bits, q, left, right),
  );

const extremum =
  (operation: Extremum): Binary =>
  (stage, bits, left, right) =>
    floatExtremum(stage, operation, bits, left, right);
const add: Binary = (stage, bits, left, right) => floatArithmetic(stage, "add", bits, left, right);
const multiplyAdd: Binary = (stage, bits, left, right, sum) => floatMultiplyAdd(stage, bits, left, right, sum);
const multiplySubtract: Binary = (stage, bits, left, right, sum) =>
  floatMultiplyAdd(stage, bits, floatNegate(stage, bits, left), right, sum);
const multiply: Binary = (stage, bits, left, right) => floatArithmetic(stage, "multiply", bits, left, right);
const multiplyExtended: Binary = (stage, bits, left, right) => floatMultiplyExtended(stage, bits, left, right);

const compare =
  (condition: FloatCondition): Binary =>
  (stage, bits, left, right) =>
    floatCompareMask(stage, condition, bits, left, right);
const compareMagnitudes =
  (condition: FloatCondition): Binary =>
  (stage, bits, left, right) =>
    floatCompareMask(stage, condition, bits, floatAbsolute(stage, bits, left), floatAbsolute(stage, bits, right));

/** Combines neighbours of two vectors behind each other. */
function pairwise(encoding: FloatEncoding, operation: Binary): Instruction {
  return threeSame(encoding, (stage, bits, q, left, right) => {
    const even = everySecond(stage, bits, q, 0, left, right);
    const odd = everySecond(stage, bits, q, 1, left, right);
    return elementwise(encoding.name, operation)(stage, bits, q, even, odd, even);
  });
}

/** Combines the two elements of a vector. */
function pairwiseScalar({ name, a, opcode }: Omit<FloatEncoding, "u">, operation: Binary): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (scalar)`,
    reference: "C4.1 Advanced SIMD scalar pairwise",
    pattern: `01 1 11110 ${String(a)} sz:1 11000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["sz"],
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ sz, Rn, Rd }) => `${name} ${scalarName(sz + 2, Rd)}, ${vectorName(Rn, sz + 2, sz)}`,
    execute({ sz }, { rd, rn }, stage) {
      const bits = floatBitsOf(sz);
      const left = readFloat(stage, bits, rn);
      writeFloat(stage, bits, rd, operation(stage, bits, left, stage.readAt(bits, rn, bits / 8), left));
    },
  });
}

/** FMAXV and the like: the halves first, so that NaNs win in the manual's order. */
function acrossLanes(name: string, a: 0 | 1, opcode: string, operation: Extremum): Instruction {
  return defineInstruction({
    mnemonic: name.toUpperCase(),
    reference: "C4.1 Advanced SIMD across lanes",
    pattern: `0 1 1 01110 ${String(a)} 0 11000 ${opcode} 10 Rn:5 Rd:5` as `Rn:5 Rd:5`,
    formFields: [],
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Rn, Rd }) => `${name} s${Rd}, v${Rn}.4s`,
    execute(_form, { rd, rn }, stage) {
      const element = (index: number): FloatValue => stage.readAt(32, rn, 4 * index);
      const combine = (left: FloatValue, right: FloatValue): FloatValue =>
        floatExtremum(stage, operation, 32, left, right);
      writeFloat(stage, 32, rd, combine(combine(element(0), element(1)), combine(element(2), element(3))));
    },
  });
}

const extremumPairs = (name: string, a: 0 | 1, opcode: string, operation: Extremum): Instruction =>
  pairwise({ name, u: 1, a, opcode }, extremum(operation));

const threeSameOperations: readonly Instruction[] = [
  arithmetic("fadd", 0, 0, "11010", "add"),
  arithmetic("fsub", 0, 1, "11010", "subtract"),
  arithmetic("fmul", 1, 0, "11011", "multiply"),
  arithmetic("fdiv", 1, 0, "11111", "divide"),
  threeSame({ name: "fmla", u: 0, a: 0, opcode: "11001" }, elementwise("fmla", multiplyAdd)),
  threeSame({ name: "fmls", u: 0, a: 1, opcode: "11001" }, elementwise("fmls", multiplySubtract)),
  threeSame({ name: "fmax", u: 0, a: 0, opcode: "11110" }, elementwise("fmax", extremum("maximum"))),
  threeSame({ name: "fmin", u: 0, a: 1, opcode: "11110" }, elementwise("fmin", extremum("minimum"))),
  threeSame({ name: "fmaxnm", u: 0, a: 0, opcode: "11000" }, elementwise("fmaxnm", extremum("maximumNumber"))),
  threeSame({ name: "fminnm", u: 0, a: 1, opcode: "11000" }, elementwise("fminnm", extremum("minimumNumber"))),
  ...both({ name: "fabd", u: 1, a: 1, opcode: "11010" }, (stage, bits, left, right) =>
    floatAbsoluteDifference(stage, bits, left, right),
  ),
  ...both({ name: "fmulx", u: 0, a: 0, opcode: "11011" }, multiplyExtended),
  ...both({ name: "fcmeq", u: 0, a: 0, opcode: "11100" }, compare("eq")),
  ...both({ name: "fcmge", u: 1, a: 0, opcode: "11100" }, compare("ge")),
  ...both({ name: "fcmgt", u: 1, a: 1, opcode: "11100" }, compare("gt")),
  ...both({ name: "facge", u: 1, a: 0, opcode: "11101" }, compareMagnitudes("ge")),
  ...both({ name: "facgt", u: 1, a: 1, opcode: "11101" }, compareMagnitudes("gt")),
  ...both({ name: "frecps", u: 0, a: 0, opcode: "11111" }, (stage, bits, left, right) =>
    floatStep(stage, "reciprocalStep", bits, left, right),
  ),
  ...both({ name: "frsqrts", u: 0, a: 1, opcode: "11111" }, (stage, bits, left, right) =>
    floatStep(stage, "reciprocalRootStep", bits, left, right),
  ),
  pairwise({ name: "faddp", u: 1, a: 0, opcode: "11010" }, add),
  extremumPairs("fmaxp", 0, "11110", "maximum"),
  extremumPairs("fminp", 1, "11110", "minimum"),
  extremumPairs("fmaxnmp", 0, "11000", "maximumNumber"),
  extremumPairs("fminnmp", 1, "11000", "minimumNumber"),
  pairwiseScalar({ name: "faddp", a: 0, opcode: "01101" }, add),
  pairwiseScalar({ name: "fmaxp", a: 0, opcode: "01111" }, extremum("maximum")),
  pairwiseScalar({ name: "fminp", a: 1, opcode: "01111" }, extremum("minimum")),
  pairwiseScalar({ name: "fmaxnmp", a: 0, opcode: "01100" }, extremum("maximumNumber")),
  pairwiseScalar({ name: "fminnmp", a: 1, opcode: "01100" }, extremum("minimumNumber")),
  acrossLanes("fmaxv", 0, "01111", "maximum"),
  acrossLanes("fminv", 1, "01111", "minimum"),
  acrossLanes("fmaxnmv", 0, "01100", "maximumNumber"),
  acrossLanes("fminnmv", 1, "01100", "minimumNumber"),
];

// Two-register miscellaneous

function twoRegister({ name, u, a, opcode }: FloatEncoding, operation: Unary, suffix = ""): Instruction {
  const onElements: ElementOperation = (stage, bits, value) => operation(stage, bits, value as FloatValue);
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (${suffix === "" ? "" : "zero, "}vector)`,
    reference: "C4.1 Advanced SIMD two-register miscellaneous",
    pattern: `0 Q:1 ${String(u)} 01110 ${String(a)} sz:1 10000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["Q", "sz"],
    where: validVector,
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Q, sz, Rn, Rd }) => `${name} ${vectorName(Rd, sz + 2, Q)}, ${vectorName(Rn, sz + 2, Q)}${suffix}`,
    execute({ Q, sz }, { rd, rn }, stage) {
      writeVector(
        stage,
        Q,
        rd,
        forEachElement(stage, `${name}${suffix}`, floatBitsOf(sz), Q, onElements, readVector(stage, Q, rn)),
      );
    },
  });
}

function twoRegisterScalar({ name, u, a, opcode }: FloatEncoding, operation: Unary, suffix = ""): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (${suffix === "" ? "" : "zero, "}Advanced SIMD scalar)`,
    reference: "C4.1 Advanced SIMD scalar two-register miscellaneous",
    pattern: `01 ${String(u)} 11110 ${String(a)} sz:1 10000 ${opcode} 10 Rn:5 Rd:5`,
    formFields: ["sz"],
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ sz, Rn, Rd }) => `${name} ${scalarName(sz + 2, Rd)}, ${scalarName(sz + 2, Rn)}${suffix}`,
    execute({ sz }, { rd, rn }, stage) {
      const bits = floatBitsOf(sz);
      writeFloat(stage, bits, rd, operation(stage, bits, readFloat(stage, bits, rn)));
    },
  });
}

function unaryBoth(encoding: FloatEncoding, operation: Unary, suffix = ""): Instruction[] {
  return [twoRegister(encoding, operation, suffix), twoRegisterScalar(encoding, operation, suffix)];
}

/** A comparison with zero; `reversed` puts zero first (FCMLT, FCMLE). */
function compareWithZero(
  name: string,
  u: 0 | 1,
  opcode: string,
  condition: FloatCondition,
  reversed = false,
): Instruction[] {
  const operation: Unary = (stage, bits, value) => {
    const zero = constant(stage, bits, 0);
    return reversed
      ? floatCompareMask(stage, condition, bits, zero, value)
      : floatCompareMask(stage, condition, bits, value, zero);
  };
  return unaryBoth({ name, u, a: 1, opcode }, operation, ", #0.0");
}

const integral = (
  name: string,
  u: 0 | 1,
  a: 0 | 1,
  opcode: string,
  rounding: IntegralRounding,
  exact = false,
): Instruction =>
  twoRegister({ name, u, a, opcode }, (stage, bits, value) =>
    floatRoundToIntegral(stage, bits, rounding, exact, value),
  );

/** FCVT{N,M,P,Z,A}{S,U}: to integers as wide as the floats. */
function toIntegers(
  letter: string,
  a: 0 | 1,
  opcode: string,
  rounding: Exclude<IntegralRounding, "current">,
): Instruction[] {
  const operation =
    (signed: boolean): Unary =>
    (stage, bits, value) =>
      floatToFixed(stage, bits, rounding, { bits, signed }, value);
  return [
    ...unaryBoth({ name: `fcvt${letter}s`, u: 0, a, opcode }, operation(true)),
    ...unaryBoth({ name: `fcvt${letter}u`, u: 1, a, opcode }, operation(false)),
  ];
}

const fromIntegers =
  (signed: boolean): Unary =>
  (stage, bits, value) =>
    floatFromFixed(stage, bits, { bits, signed }, value);
const estimate =
  (operation: Estimate): Unary =>
  (stage, bits, value) =>
    floatEstimate(stage, operation, bits, value);

/** URECPE, URSQRTE: words only. */
function integerEstimate(name: string, u: 0 | 1, operation: Parameters<typeof unsignedEstimate>[1]): Instruction {
  return defineInstruction({
    mnemonic: name.toUpperCase(),
    reference: "C4.1 Advanced SIMD two-register miscellaneous",
    pattern: `0 Q:1 ${String(u)} 01110 10 10000 11100 10 Rn:5 Rd:5`,
    formFields: ["Q"],
    operands: { rd: vector("Rd"), rn: vector("Rn") },
    text: ({ Q, Rn, Rd }) => `${name} ${vectorName(Rd, 2, Q)}, ${vectorName(Rn, 2, Q)}`,
    execute({ Q }, { rd, rn }, stage) {
      const onElements: ElementOperation = (inner, _bits, value) =>
        unsignedEstimate(inner, operation, value as FloatValue);
      writeVector(stage, Q, rd, forEachElement(stage, name, 32, Q, onElements, readVector(stage, Q, rn)));
    },
  });
}

const miscellaneous: readonly Instruction[] = [
  twoRegister({ name: "fabs", u: 0, a: 1, opcode: "01111" }, floatAbsolute),
  twoRegister({ name: "fneg", u: 1, a: 1, opcode: "01111" }, floatNegate),
  twoRegister({ name: "fsqrt", u: 1, a: 1, opcode: "11111" }, floatSquareRoot),
  integral("frintn", 0, 0, "11000", "nearestEven"),
  integral("frintm", 0, 0, "11001", "towardNegative"),
  integral("frintp", 0, 1, "11000", "towardPositive"),
  integral("frintz", 0, 1, "11001", "towardZero"),
  integral("frinta", 1, 0, "11000", "nearestAway"),
  integral("frintx", 1, 0, "11001", "current", true),
  integral("frinti", 1, 1, "11001", "current"),
  ...toIntegers("n", 0, "11010", "nearestEven"),
  ...toIntegers("m", 0, "11011", "towardNegative"),
  ...toIntegers("a", 0, "11100", "nearestAway"),
  ...toIntegers("p", 1, "11010", "towardPositive"),
  ...toIntegers("z", 1, "11011", "towardZero"),
  ...unaryBoth({ name: "scvtf", u: 0, a: 0, opcode: "11101" }, fromIntegers(true)),
  ...unaryBoth({ name: "ucvtf", u: 1, a: 0, opcode: "11101" }, fromIntegers(false)),
  ...compareWithZero("fcmgt", 0, "01100", "gt"),
  ...compareWithZero("fcmge", 1, "01100", "ge"),
  ...compareWithZero("fcmeq", 0, "01101", "eq"),
  ...compareWithZero("fcmle", 1, "01101", "ge", true),
  ...compareWithZero("fcmlt", 0, "01110", "gt", true),
  ...unaryBoth({ name: "frecpe", u: 0, a: 1, opcode: "11101" }, estimate("reciprocalEstimate")),
  ...unaryBoth({ name: "frsqrte", u: 1, a: 1, opcode: "11101" }, estimate("reciprocalRootEstimate")),
  twoRegisterScalar({ name: "frecpx", u: 0, a: 1, opcode: "11111" }, estimate("reciprocalExponent")),
  integerEstimate("urecpe", 0, "unsignedReciprocalEstimate"),
  integerEstimate("ursqrte", 1, "unsignedReciprocalRootEstimate"),
];

// Fixed point: immh:immb is twice the width of an element less the fraction bits

interface FixedSize {
  readonly bits: FloatBits;
  readonly size: 2 | 3;
  readonly pattern: string;
}

const fixedSizes: readonly FixedSize[] = [
  { bits: 32, size: 2, pattern: "01 amount:5" },
  { bits: 64, size: 3, pattern: "1 amount:6" },
];

type FixedOperation = (
  stage: Stage,
  bits: FloatBits,
  signed: boolean,
  value: FloatValue,
  fractionBits: FloatValue,
) => FloatValue;

const toFixed: FixedOperation = (stage, bits, signed, value, fractionBits) =>
  floatToFixed(
    stage,
    bits,
    "towardZero",
    { bits, signed, fractionBits: narrowCount(stage, bits, fractionBits) },
    value,
  );
const fromFixed: FixedOperation = (stage, bits, signed, value, fractionBits) =>
  floatFromFixed(stage, bits, { bits, signed, fractionBits: narrowCount(stage, bits, fractionBits) }, value);

/** Routines on elements take all operands in the width of an element. */
function narrowCount(stage: Stage, bits: FloatBits, count: FloatValue): Value<32> {
  return bits === 64 ? stage.truncate32(count as Value<64>) : (count as Value<32>);
}

function fixedPoint(
  name: string,
  u: 0 | 1,
  opcode: string,
  { bits, size, pattern }: FixedSize,
  operation: FixedOperation,
): Instruction[] {
  const fraction = { u16: ({ amount }: { readonly amount: number }): number => bits - amount };
  return [
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (vector, fixed-point, ${bits}-bit)`,
      reference: "C4.1 Advanced SIMD shift by immediate",
      pattern: `0 Q:1 ${String(u)} 011110 ${pattern} ${opcode} 1 Rn:5 Rd:5` as `0 Q:1 amount:5 Rn:5 Rd:5`,
      formFields: ["Q"],
      where: ({ Q }) => size === 2 || Q === 1,
      operands: { rd: vector("Rd"), rn: vector("Rn"), fraction },
      text: ({ Q, amount, Rn, Rd }) =>
        `${name} ${vectorName(Rd, size, Q)}, ${vectorName(Rn, size, Q)}, #${bits - amount}`,
      execute({ Q }, { rd, rn, fraction: count }, stage) {
        const onElements: ElementOperation = (inner, width, value, places) =>
          operation(inner, width, u === 0, value as FloatValue, places as FloatValue);
        const counts = splatElement(stage, bits, bits === 64 ? stage.zeroExtend64(count) : count);
        writeVector(
          stage,
          Q,
          rd,
          forEachElement(stage, `${name}:fixed`, bits, Q, onElements, readVector(stage, Q, rn), counts),
        );
      },
    }),
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (Advanced SIMD scalar, fixed-point, ${bits}-bit)`,
      reference: "C4.1 Advanced SIMD scalar shift by immediate",
      pattern: `01 ${String(u)} 111110 ${pattern} ${opcode} 1 Rn:5 Rd:5` as `amount:5 Rn:5 Rd:5`,
      formFields: [],
      operands: { rd: vector("Rd"), rn: vector("Rn"), fraction },
      text: ({ amount, Rn, Rd }) => `${name} ${scalarName(size, Rd)}, ${scalarName(size, Rn)}, #${bits - amount}`,
      execute(_form, { rd, rn, fraction: count }, stage) {
        const places = bits === 64 ? stage.zeroExtend64(count) : count;
        writeFloat(stage, bits, rd, operation(stage, bits, u === 0, readFloat(stage, bits, rn), places));
      },
    }),
  ];
}

const fixedPointConversions: readonly Instruction[] = fixedSizes.flatMap((size) => [
  ...fixedPoint("scvtf", 0, "11100", size, fromFixed),
  ...fixedPoint("ucvtf", 1, "11100", size, fromFixed),
  ...fixedPoint("fcvtzs", 0, "11111", size, toFixed),
  ...fixedPoint("fcvtzu", 1, "11111", size, toFixed),
]);

// By one element

function byElement(
  name: string,
  u: 0 | 1,
  opcode: string,
  element: IndexedElement & { readonly bits: FloatBits },
  whole: VectorBinary,
  single: Binary,
): Instruction[] {
  const { bits, size, upper, lower } = element;
  return [
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (by element, ${bits}-bit, vector)`,
      reference: "C4.1 Advanced SIMD vector x indexed element",
      pattern: `0 Q:1 ${String(u)} 01111 ${upper} ${opcode} ${lower} 0 Rn:5 Rd:5` as `0 Q:1 Rn:5 Rd:5`,
      formFields: ["Q"],
      where: ({ Q }) => size === 2 || Q === 1,
      operands: { rd: vector("Rd"), rn: vector("Rn"), ...indexedOperands(element) },
      text: (fields) =>
        `${name} ${vectorName(fields.Rd, size, fields.Q)}, ${vectorName(fields.Rn, size, fields.Q)}, ${indexedText(element, fields)}`,
      execute({ Q }, { rd, rn, word, shift }, stage) {
        const right = splatElement(stage, bits, readPlacedElement(stage, bits, word, shift));
        writeVector(stage, Q, rd, whole(stage, bits, Q, readVector(stage, Q, rn), right, readVector(stage, Q, rd)));
      },
    }),
    defineInstruction({
      mnemonic: `${name.toUpperCase()} (by element, ${bits}-bit, scalar)`,
      reference: "C4.1 Advanced SIMD scalar x indexed element",
      pattern: `01 ${String(u)} 11111 ${upper} ${opcode} ${lower} 0 Rn:5 Rd:5` as `Rn:5 Rd:5`,
      formFields: [],
      operands: { rd: vector("Rd"), rn: vector("Rn"), ...indexedOperands(element) },
      text: (fields) =>
        `${name} ${scalarName(size, fields.Rd)}, ${scalarName(size, fields.Rn)}, ${indexedText(element, fields)}`,
      execute(_form, { rd, rn, word, shift }, stage) {
        const right = readPlacedElement(stage, bits, word, shift);
        writeFloat(stage, bits, rd, single(stage, bits, readFloat(stage, bits, rn), right, readFloat(stage, bits, rd)));
      },
    }),
  ];
}

const floatElements = [indexedWord, indexedDoubleword] as readonly (IndexedElement & { readonly bits: FloatBits })[];

const vectorMultiply: VectorBinary = (stage, bits, q, left, right) =>
  vectorArithmetic(stage, "multiply", bits, q, left, right);

const indexed: readonly Instruction[] = floatElements.flatMap((element) => [
  ...byElement("fmla", 0, "0001", element, elementwise("fmla", multiplyAdd), multiplyAdd),
  ...byElement("fmls", 0, "0101", element, elementwise("fmls", multiplySubtract), multiplySubtract),
  ...byElement("fmul", 0, "1001", element, vectorMultiply, multiply),
  ...byElement("fmulx", 1, "1001", element, elementwise("fmulx", multiplyExtended), multiplyExtended),
]);

export const simdFloatingPoint: readonly Instruction[] = [
  ...threeSameOperations,
  ...miscellaneous,
  ...fixedPointConversions,
  ...indexed,
];
