/** Advanced SIMD shifts, by immediates and by registers. Arm ARM C3.5.17, C4.1 "Advanced SIMD shift by immediate". */
import { defineInstruction, type Instruction, type Routine, type Stage, type Value } from "@hvjournal/engine";
import { vector } from "../operands.js";
import { ALL_SIZES, type BinaryLanes, DOUBLEWORDS_ONLY, threeSame, threeSameScalar } from "../vector-families.js";
import {
  allOnes,
  bitselect,
  extend,
  halfOf,
  lanes,
  type NarrowBits,
  narrowed,
  type SaturatingShift,
  saturatingNarrow,
  saturatingShiftLeft,
  setSaturated,
  shift,
  shiftRight,
  shiftRightRounded,
  type Vector,
  doubled,
} from "../vector-lanes.js";
import {
  lane,
  type LaneBits,
  readScalar,
  readVector,
  withLane,
  writeHalf,
  writeLow64,
  writeScalar,
  writeVector,
} from "../vector-registers.js";
import { scalarName, vectorName } from "../vector-text.js";

/** immh:immb: the highest set bit of immh tells the element size, the bits below it are the count. */
interface ShiftSize {
  readonly bits: LaneBits;
  readonly size: number;
  readonly pattern: string;
}

const shiftSizes: readonly ShiftSize[] = [
  { bits: 8, size: 0, pattern: "0001 amount:3" },
  { bits: 16, size: 1, pattern: "001 amount:4" },
  { bits: 32, size: 2, pattern: "01 amount:5" },
  { bits: 64, size: 3, pattern: "1 amount:6" },
];

function isNarrow(size: ShiftSize): size is ShiftSize & { readonly bits: NarrowBits } {
  return size.bits !== 64;
}

/** `count`: shifts to the left encode it, those to the right the distance to the element's width. */
type Direction = "left" | "right";

/** `count` of a shift to the left; `count - 1` of one to the right, which is 1 to the width of an element. */
type ShiftLanes = (stage: Stage, bits: LaneBits, value: Vector, count: Value<32>, destination: Vector) => Vector;

interface ShiftEncoding {
  readonly name: string;
  readonly u: 0 | 1;
  readonly opcode: string;
  readonly direction: Direction;
}

function countOperand(
  direction: Direction,
  bits: number,
): { readonly u16: (fields: { readonly amount: number }) => number } {
  return { u16: ({ amount }) => (direction === "left" ? amount : bits - amount - 1) };
}

function countText(direction: Direction, bits: number, amount: number): string {
  return `#${direction === "left" ? amount : bits - amount}`;
}

function shiftVector(
  { name, u, opcode, direction }: ShiftEncoding,
  { bits, size, pattern }: ShiftSize,
  operation: ShiftLanes,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (immediate, ${bits}-bit, vector)`,
    reference: "C4.1 Advanced SIMD shift by immediate",
    pattern: `0 Q:1 ${String(u)} 011110 ${pattern} ${opcode} 1 Rn:5 Rd:5` as `0 Q:1 amount:3 Rn:5 Rd:5`,
    formFields: ["Q"],
    where: ({ Q }) => size !== 3 || Q === 1,
    operands: { rd: vector("Rd"), rn: vector("Rn"), count: countOperand(direction, bits) },
    text: ({ Q, amount, Rn, Rd }) =>
      `${name} ${vectorName(Rd, size, Q)}, ${vectorName(Rn, size, Q)}, ${countText(direction, bits, amount)}`,
    execute({ Q }, { rd, rn, count }, stage) {
      writeVector(stage, Q, rd, operation(stage, bits, readVector(stage, Q, rn), count, readVector(stage, Q, rd)));
    },
  });
}

function shiftScalar(
  { name, u, opcode, direction }: ShiftEncoding,
  { bits, size, pattern }: ShiftSize,
  operation: ShiftLanes,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (immediate, ${bits}-bit, scalar)`,
    reference: "C4.1 Advanced SIMD scalar shift by immediate",
    pattern: `01 ${String(u)} 111110 ${pattern} ${opcode} 1 Rn:5 Rd:5` as `amount:3 Rn:5 Rd:5`,
    formFields: [],
    operands: { rd: vector("Rd"), rn: vector("Rn"), count: countOperand(direction, bits) },
    text: ({ amount, Rn, Rd }) =>
      `${name} ${scalarName(size, Rd)}, ${scalarName(size, Rn)}, ${countText(direction, bits, amount)}`,
    execute(_form, { rd, rn, count }, stage) {
      writeScalar(
        stage,
        bits,
        rd,
        operation(stage, bits, readScalar(stage, bits, rn), count, readScalar(stage, bits, rd)),
      );
    },
  });
}

/** Vectors of every size, and a scalar of 64 bits. */
function doublewordScalar(encoding: ShiftEncoding, operation: ShiftLanes): Instruction[] {
  return shiftSizes.flatMap((size) =>
    size.size === 3
      ? [shiftVector(encoding, size, operation), shiftScalar(encoding, size, operation)]
      : [shiftVector(encoding, size, operation)],
  );
}

/** Vectors and scalars of every size. */
function everySize(encoding: ShiftEncoding, operation: ShiftLanes): Instruction[] {
  return shiftSizes.flatMap((size) => [shiftVector(encoding, size, operation), shiftScalar(encoding, size, operation)]);
}

/** The signed (s...) and the unsigned (u...) shift to the right of one opcode. */
function rightShifts(suffix: string, opcode: string, rounded: boolean, accumulating: boolean): Instruction[] {
  const operationOf =
    (signed: boolean): ShiftLanes =>
    (stage, bits, value, count, destination) => {
      const shifted = (rounded ? shiftRightRounded : shiftRight)(stage, bits, signed, value, count);
      return accumulating ? lanes(stage, bits, "add", destination, shifted) : shifted;
    };
  return [
    ...doublewordScalar({ name: `s${suffix}`, u: 0, opcode, direction: "right" }, operationOf(true)),
    ...doublewordScalar({ name: `u${suffix}`, u: 1, opcode, direction: "right" }, operationOf(false)),
  ];
}

const shiftLeft: ShiftLanes = (stage, bits, value, count) => shift(stage, bits, "shl", value, count);

const shiftLeftAndInsert: ShiftLanes = (stage, bits, value, count, destination) =>
  bitselect(
    stage,
    shift(stage, bits, "shl", allOnes(stage), count),
    shift(stage, bits, "shl", value, count),
    destination,
  );

const shiftRightAndInsert: ShiftLanes = (stage, bits, value, count, destination) =>
  bitselect(
    stage,
    shiftRight(stage, bits, false, allOnes(stage), count),
    shiftRight(stage, bits, false, value, count),
    destination,
  );

function saturatingLeft(name: string, u: 0 | 1, opcode: string, kind: SaturatingShift): Instruction[] {
  return everySize({ name, u, opcode, direction: "left" }, (stage, bits, value, count) =>
    saturatingShiftLeft(stage, bits, kind, value, count),
  );
}

const immediateShifts: readonly Instruction[] = [
  ...rightShifts("shr", "00000", false, false),
  ...rightShifts("sra", "00010", false, true),
  ...rightShifts("rshr", "00100", true, false),
  ...rightShifts("rsra", "00110", true, true),
  ...doublewordScalar({ name: "shl", u: 0, opcode: "01010", direction: "left" }, shiftLeft),
  ...doublewordScalar({ name: "sli", u: 1, opcode: "01010", direction: "left" }, shiftLeftAndInsert),
  ...doublewordScalar({ name: "sri", u: 1, opcode: "01000", direction: "right" }, shiftRightAndInsert),
  ...saturatingLeft("sqshlu", 1, "01100", "signedToUnsigned"),
  ...saturatingLeft("sqshl", 0, "01110", "signed"),
  ...saturatingLeft("uqshl", 1, "01110", "unsigned"),
];

// Narrowing and widening

/** The shifted wide elements, cut or saturated to half their width. `count` is one less than the shift. */
type NarrowingShift = (stage: Stage, bits: NarrowBits, wide: Vector, count: Value<32>) => Value<64>;

type NarrowSize = ShiftSize & { readonly bits: NarrowBits };

function narrowingVector(
  { name, u, opcode }: Omit<ShiftEncoding, "direction">,
  { bits, size, pattern }: NarrowSize,
  operation: NarrowingShift,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2 (${bits}-bit)`,
    reference: "C4.1 Advanced SIMD shift by immediate",
    pattern: `0 Q:1 ${String(u)} 011110 ${pattern} ${opcode} 1 Rn:5 Rd:5` as `0 Q:1 amount:3 Rn:5 Rd:5`,
    formFields: ["Q"],
    operands: { rd: vector("Rd"), rn: vector("Rn"), count: countOperand("right", bits) },
    text: ({ Q, amount, Rn, Rd }) =>
      `${name}${Q === 1 ? "2" : ""} ${vectorName(Rd, size, Q)}, ${vectorName(Rn, size + 1, 1)}, #${bits - amount}`,
    execute({ Q }, { rd, rn, count }, stage) {
      writeHalf(stage, Q, rd, operation(stage, bits, stage.readAt(128, rn), count));
    },
  });
}

function narrowingScalar(
  { name, u, opcode }: Omit<ShiftEncoding, "direction">,
  { bits, size, pattern }: NarrowSize,
  operation: NarrowingShift,
): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()} (${bits}-bit, scalar)`,
    reference: "C4.1 Advanced SIMD scalar shift by immediate",
    pattern: `01 ${String(u)} 111110 ${pattern} ${opcode} 1 Rn:5 Rd:5` as `amount:3 Rn:5 Rd:5`,
    formFields: [],
    operands: { rd: vector("Rd"), rn: vector("Rn"), count: countOperand("right", bits) },
    text: ({ amount, Rn, Rd }) => `${name} ${scalarName(size, Rd)}, ${scalarName(size + 1, Rn)}, #${bits - amount}`,
    execute(_form, { rd, rn, count }, stage) {
      const result = operation(stage, bits, readScalar(stage, doubled(bits), rn), count);
      writeLow64(stage, rd, stage.zeroExtendFrom(bits, result));
    },
  });
}

function saturatingNarrowing(
  name: string,
  u: 0 | 1,
  opcode: string,
  rounded: boolean,
  kind: SaturatingShift,
): Instruction[] {
  const operation: NarrowingShift = (stage, bits, wide, count) => {
    const shifted = (rounded ? shiftRightRounded : shiftRight)(stage, doubled(bits), kind !== "unsigned", wide, count);
    return saturatingNarrow(stage, bits, kind, shifted);
  };
  return shiftSizes
    .filter(isNarrow)
    .flatMap((size) => [
      narrowingVector({ name, u, opcode }, size, operation),
      narrowingScalar({ name, u, opcode }, size, operation),
    ]);
}

function cuttingNarrowing(name: string, opcode: string, rounded: boolean): Instruction[] {
  return shiftSizes
    .filter(isNarrow)
    .map((size) =>
      narrowingVector({ name, u: 0, opcode }, size, (stage, bits, wide, count) =>
        narrowed(stage, bits, 0, (rounded ? shiftRightRounded : shiftRight)(stage, doubled(bits), false, wide, count)),
      ),
    );
}

/** SSHLL, USHLL; a shift by nothing is SXTL, UXTL. */
function shiftLeftLong(name: string, u: 0 | 1, { bits, size, pattern }: NarrowSize): Instruction {
  return defineInstruction({
    mnemonic: `${name.toUpperCase()}, ${name.toUpperCase()}2 (${bits}-bit)`,
    reference: "C4.1 Advanced SIMD shift by immediate",
    pattern: `0 Q:1 ${String(u)} 011110 ${pattern} 10100 1 Rn:5 Rd:5` as `0 Q:1 amount:3 Rn:5 Rd:5`,
    formFields: ["Q"],
    operands: { rd: vector("Rd"), rn: vector("Rn"), count: { u16: ({ amount }) => amount } },
    text: ({ Q, amount, Rn, Rd }) => {
      const mnemonic = `${amount === 0 ? `${u === 0 ? "s" : "u"}xtl` : name}${Q === 1 ? "2" : ""}`;
      return `${mnemonic} ${vectorName(Rd, size + 1, 1)}, ${vectorName(Rn, size, Q)}${amount === 0 ? "" : `, #${amount}`}`;
    },
    execute({ Q }, { rd, rn, count }, stage) {
      const wide = extend(stage, bits, halfOf(Q), u === 0, stage.readAt(128, rn));
      stage.writeAt(rd, shift(stage, doubled(bits), "shl", wide, count));
    },
  });
}

const resizingShifts: readonly Instruction[] = [
  ...cuttingNarrowing("shrn", "10000", false),
  ...cuttingNarrowing("rshrn", "10001", true),
  ...saturatingNarrowing("sqshrun", 1, "10000", false, "signedToUnsigned"),
  ...saturatingNarrowing("sqrshrun", 1, "10001", true, "signedToUnsigned"),
  ...saturatingNarrowing("sqshrn", 0, "10010", false, "signed"),
  ...saturatingNarrowing("uqshrn", 1, "10010", false, "unsigned"),
  ...saturatingNarrowing("sqrshrn", 0, "10011", true, "signed"),
  ...saturatingNarrowing("uqrshrn", 1, "10011", true, "unsigned"),
  ...shiftSizes.filter(isNarrow).flatMap((size) => [shiftLeftLong("sshll", 0, size), shiftLeftLong("ushll", 1, size)]),
];

// By a register: each element has a count of its own, a signed byte; a negative one shifts to the right

interface RegisterShift {
  readonly signed: boolean;
  readonly rounded: boolean;
  readonly saturating: boolean;
}

type ElementShift = Routine & { readonly result: 64 };

const elementShifts = new Map<string, ElementShift>();

/** (element, sign- or zero-extended; count, sign-extended): the element shifted, in the low bits. Sets FPSR.QC where it saturates. */
function elementShiftOf(bits: LaneBits, kind: RegisterShift): ElementShift {
  const name = `shift:${kind.signed ? "s" : "u"}${kind.saturating ? "q" : ""}${kind.rounded ? "r" : ""}${bits}`;
  const known = elementShifts.get(name);
  if (known !== undefined) return known;
  const made: ElementShift = {
    name,
    parameters: [64, 64],
    result: 64,
    body(stage, [element, count]) {
      const value = element as Value<64>;
      const amount = count as Value<64>;
      const toTheLeft = stage.compare("ge_s", amount, stage.constant64(0));
      const left = (): Value<64> => elementLeft(stage, bits, kind, value, amount);
      const right = (): Value<64> => elementRight(stage, kind, value, stage.sub(stage.constant64(0), amount));
      stage.return(stage.choose(toTheLeft, left, right));
    },
  };
  elementShifts.set(name, made);
  return made;
}

function elementLeft(
  stage: Stage,
  bits: LaneBits,
  { signed, saturating }: RegisterShift,
  value: Value<64>,
  count: Value<64>,
): Value<64> {
  const inside = stage.compare("lt_u", count, stage.constant64(bits));
  const shifted = stage.binary("shl", value, count);
  const extended =
    bits === 64 ? shifted : signed ? stage.signExtendFrom(bits, shifted) : stage.zeroExtendFrom(bits, shifted);
  if (!saturating) return stage.select(inside, shifted, stage.constant64(0));
  const back = stage.binary(signed ? "shr_s" : "shr_u", extended, count);
  const fits = stage.or(stage.isZero(value), stage.and(inside, stage.compare("eq", back, value)));
  setSaturated(stage, stage.isZero(fits));
  const limit = signed
    ? stage.xor(stage.shiftRightSigned(value, 63), stage.constant64((1n << BigInt(bits - 1)) - 1n))
    : stage.constant64(-1);
  return stage.select(fits, stage.select(inside, shifted, stage.constant64(0)), limit);
}

/** `count` is 1 to 128. */
function elementRight(stage: Stage, { signed, rounded }: RegisterShift, value: Value<64>, count: Value<64>): Value<64> {
  const op = signed ? "shr_s" : "shr_u";
  const one = stage.constant64(1);
  const partly = stage.binary(op, value, stage.sub(count, one));
  const shifted = stage.binary(op, partly, one);
  const result = rounded ? stage.add(shifted, stage.and(partly, one)) : shifted;
  // Beyond 64 only the sign is left, and rounding makes that zero.
  const beyond = signed && !rounded ? stage.shiftRightSigned(value, 63) : stage.constant64(0);
  return stage.select(stage.compare("le_u", count, stage.constant64(64)), result, beyond);
}

function shiftByRegister(kind: RegisterShift): BinaryLanes {
  return (stage, bits, values, counts) => {
    const routine = elementShiftOf(bits, kind);
    const extended = (element: Value<32> | Value<64>): Value<64> =>
      bits === 64
        ? (element as Value<64>)
        : kind.signed
          ? stage.signExtend64(element as Value<32>)
          : stage.zeroExtend64(element as Value<32>);
    let result = values;
    for (let index = 0; index < 128 / bits; index++) {
      const count = stage.extractLane("i8x16", (index * bits) / 8, counts, true);
      const shifted = stage.call(
        routine,
        extended(lane(stage, bits, index, values, kind.signed)),
        stage.signExtend64(count),
      );
      result = withLane(stage, bits, index, result, bits === 64 ? shifted : stage.truncate32(shifted));
    }
    return result;
  };
}

function registerShifts(suffix: string, opcode: string, kind: Omit<RegisterShift, "signed">): Instruction[] {
  return [true, false].flatMap((signed) => {
    const encoding = { name: `${signed ? "s" : "u"}${suffix}`, u: signed ? 0 : 1, opcode, sizes: ALL_SIZES } as const;
    const operation = shiftByRegister({ ...kind, signed });
    const scalarSizes = kind.saturating ? ALL_SIZES : DOUBLEWORDS_ONLY;
    return [threeSame(encoding, operation), threeSameScalar({ ...encoding, sizes: scalarSizes }, operation)];
  });
}

export const simdShift: readonly Instruction[] = [
  ...immediateShifts,
  ...resizingShifts,
  ...registerShifts("shl", "01000", { rounded: false, saturating: false }),
  ...registerShifts("qshl", "01001", { rounded: false, saturating: true }),
  ...registerShifts("rshl", "01010", { rounded: true, saturating: false }),
  ...registerShifts("qrshl", "01011", { rounded: true, saturating: true }),
];
