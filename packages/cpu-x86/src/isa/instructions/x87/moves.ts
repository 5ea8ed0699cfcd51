/** x87: loads, stores, constants, exchanges and conditional moves. References: Intel SDM volume 2. */
import { ExtendedOperand, ExtendedOperation, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { conditionHolds } from "../../flags.js";
import {
  compute,
  type ExtendedValue,
  fill,
  FloatStatus,
  indefinite,
  isEmpty,
  overflowOf,
  perform,
  popTop,
  positiveZero,
  push,
  readFloat,
  reportExceptions,
  ROUNDING_CONTROL_SHIFT,
  stackRegister,
  top,
  underflowOf,
} from "../../float-unit.js";
import { fcw, fsw } from "../../state.js";
import { loadNumber } from "./arithmetic.js";
import { memoryInstruction, registerInstruction, stackText } from "./definition.js";

type Access = ReturnType<Stage["access"]>;

// Loads

interface Load {
  readonly name: string;
  readonly opcode: number;
  readonly digit: number;
  readonly bits: 16 | 32 | 64;
  readonly kind: number;
  readonly form: string;
}

const LOADS: readonly Load[] = [
  { name: "fld", opcode: 0xd9, digit: 0, bits: 32, kind: ExtendedOperand.binary32, form: "m32fp" },
  { name: "fld", opcode: 0xdd, digit: 0, bits: 64, kind: ExtendedOperand.binary64, form: "m64fp" },
  { name: "fild", opcode: 0xdf, digit: 0, bits: 16, kind: ExtendedOperand.integer, form: "m16int" },
  { name: "fild", opcode: 0xdb, digit: 0, bits: 32, kind: ExtendedOperand.integer, form: "m32int" },
  { name: "fild", opcode: 0xdf, digit: 5, bits: 64, kind: ExtendedOperand.integer, form: "m64int" },
];

function pushing(stage: Stage, operate: () => { readonly value: ExtendedValue; readonly status: Value<32> }): void {
  perform(
    stage,
    overflowOf(stage),
    () => push(stage, indefinite(stage)),
    () => {
      const { value, status } = operate();
      return { status, commit: () => push(stage, value), isLoad: true };
    },
  );
}

function load({ name, opcode, digit, bits, kind, form }: Load): Instruction {
  return memoryInstruction({ name, opcode, digit, bytes: bits / 8, form }, "read", (stage, access) => {
    const number = loadNumber(stage, access, bits, kind === ExtendedOperand.integer);
    pushing(stage, () => compute(stage, ExtendedOperation.load | kind, positiveZero(stage), number));
  });
}

function loadTen(stage: Stage, access: Access): ExtendedValue {
  return { low: stage.load(64, access, 0, 64), high: stage.load(64, access, 8, 16) };
}

/** No operand is invalid: signalling NaNs and patterns that mean nothing are loaded as they are. */
const fldExtended = memoryInstruction(
  { name: "fld", opcode: 0xdb, digit: 5, bytes: 10, form: "m80fp" },
  "read",
  (stage, access) => {
    const value = loadTen(stage, access);
    pushing(stage, () => ({ value, status: stage.constant32(0) }));
  },
);

const fbld = memoryInstruction(
  { name: "fbld", opcode: 0xdf, digit: 4, bytes: 10, form: "m80bcd" },
  "read",
  (stage, access) => {
    const decimal = loadTen(stage, access);
    pushing(stage, () => compute(stage, ExtendedOperation.loadDecimal, positiveZero(stage), decimal));
  },
);

/** FLD ST(i): an empty register underflows, before there is an overflow. */
const fldRegister = registerInstruction(
  { name: "fld", opcode: 0xd9, digit: 0, form: "ST(i)", operands: (fields) => [stackText(fields)] },
  (stage, index) => {
    const source = stackRegister(stage, index);
    const value = readFloat(stage, source);
    const underflow = underflowOf(stage, source);
    perform(
      stage,
      stage.select(underflow, underflow, overflowOf(stage)),
      () => push(stage, indefinite(stage)),
      () => ({ status: stage.constant32(0), commit: () => push(stage, value) }),
    );
  },
);

/** By ModRM.rm: sign and exponent, significand to nearest, and whether that one was rounded up. */
const CONSTANTS: readonly (readonly [name: string, high: bigint, low: bigint, roundedUp: boolean])[] = [
  ["fld1", 0x3fffn, 0x8000_0000_0000_0000n, false],
  ["fldl2t", 0x4000n, 0xd49a_784b_cd1b_8afen, false],
  ["fldl2e", 0x3fffn, 0xb8aa_3b29_5c17_f0bcn, true],
  ["fldpi", 0x4000n, 0xc90f_daa2_2168_c235n, true],
  ["fldlg2", 0x3ffdn, 0x9a20_9a84_fbcf_f799n, true],
  ["fldln2", 0x3ffen, 0xb172_17f7_d1cf_79acn, true],
  ["fldz", 0n, 0n, false],
];

/** Constants are rounded as the control word says (Intel SDM volume 1, 8.3.8); none is halfway. */
function loadConstant([name, high, low, roundedUp]: (typeof CONSTANTS)[number], rm: number): Instruction {
  const exact = name === "fld1" || name === "fldz";
  return registerInstruction({ name, opcode: 0xd9, digit: 5, rm }, (stage) => {
    let significand: Value<64> = stage.constant64(low);
    if (!exact) {
      const { down, up } = directions(stage);
      significand = roundedUp
        ? stage.sub(significand, stage.zeroExtend64(down))
        : stage.add(significand, stage.zeroExtend64(up));
    }
    pushing(stage, () => ({
      value: { low: significand, high: stage.constant64(high) },
      status: stage.constant32(0),
    }));
  });
}

/** Whether a positive number is rounded down (or cut), or up, whatever is nearer. */
function directions(stage: Stage): { readonly down: Value<32>; readonly up: Value<32> } {
  const rounding = stage.extractBits(stage.read(fcw), ROUNDING_CONTROL_SHIFT, 2);
  return {
    down: stage.and(rounding, stage.constant32(1)),
    up: stage.compare("eq", rounding, stage.constant32(2)),
  };
}

// Stores

interface Store {
  readonly name: string;
  readonly opcode: number;
  readonly digit: number;
  readonly bits: 16 | 32 | 64;
  readonly code: number;
  readonly pops: 0 | 1;
  readonly form: string;
  /** What is stored for an empty register. */
  readonly indefinite: bigint;
}

const BINARY32_INDEFINITE = 0xffc0_0000n;
const BINARY64_INDEFINITE = 0xfff8_0000_0000_0000n;

function floatStores(bits: 32 | 64): readonly Store[] {
  const common = {
    opcode: bits === 32 ? 0xd9 : 0xdd,
    bits,
    code: bits === 32 ? ExtendedOperation.toBinary32 : ExtendedOperation.toBinary64,
    form: `m${bits}fp`,
    indefinite: bits === 32 ? BINARY32_INDEFINITE : BINARY64_INDEFINITE,
  };
  return [
    { ...common, name: "fst", digit: 2, pops: 0 },
    { ...common, name: "fstp", digit: 3, pops: 1 },
  ];
}

function integerStores(bits: 16 | 32 | 64): readonly Store[] {
  const opcode = bits === 32 ? 0xdb : 0xdf;
  const rounded = { 16: "toInteger16", 32: "toInteger32", 64: "toInteger64" } as const;
  const truncated = { 16: "truncateTo16", 32: "truncateTo32", 64: "truncateTo64" } as const;
  const common = { bits, form: `m${bits}int`, indefinite: 1n << BigInt(bits - 1) };
  const code = ExtendedOperation[rounded[bits]];
  return [
    ...(bits === 64 ? [] : [{ ...common, name: "fist", opcode, digit: 2, code, pops: 0 } as const]),
    { ...common, name: "fistp", opcode, digit: bits === 64 ? 7 : 3, code, pops: 1 },
    {
      ...common,
      name: "fisttp",
      opcode: bits === 64 ? 0xdd : opcode,
      digit: 1,
      code: ExtendedOperation[truncated[bits]],
      pops: 1,
    },
  ];
}

function store({ name, opcode, digit, bits, code, pops, form, indefinite: substitute }: Store): Instruction {
  return memoryInstruction({ name, opcode, digit, bytes: bits / 8, form }, "write", (stage, access) => {
    const keep = (value: Value<64>): void => {
      stage.store(access, 0, bits, value);
      popTop(stage, pops);
    };
    perform(
      stage,
      underflowOf(stage, top(stage)),
      () => keep(stage.constant64(substitute)),
      () => {
        const { value, status } = compute(stage, code, readFloat(stage, top(stage)), positiveZero(stage));
        return { status, commit: () => keep(value.low), toMemory: true };
      },
    );
  });
}

function storeTen(stage: Stage, access: Access, { low, high }: ExtendedValue): void {
  stage.store(access, 0, 64, low);
  stage.store(access, 8, 16, high);
  popTop(stage, 1);
}

/** Stores without rounding, and pops. */
const fstpExtended = memoryInstruction(
  { name: "fstp", opcode: 0xdb, digit: 7, bytes: 10, form: "m80fp" },
  "write",
  (stage, access) => {
    const value = readFloat(stage, top(stage));
    perform(
      stage,
      underflowOf(stage, top(stage)),
      () => storeTen(stage, access, indefinite(stage)),
      () => ({ status: stage.constant32(0), commit: () => storeTen(stage, access, value) }),
    );
  },
);

/** The decimal indefinite has the bits of the real one. */
const fbstp = memoryInstruction(
  { name: "fbstp", opcode: 0xdf, digit: 6, bytes: 10, form: "m80bcd" },
  "write",
  (stage, access) => {
    perform(
      stage,
      underflowOf(stage, top(stage)),
      () => storeTen(stage, access, indefinite(stage)),
      () => {
        const operand = readFloat(stage, top(stage));
        const { value, status } = compute(stage, ExtendedOperation.toDecimal, operand, positiveZero(stage));
        return { status, commit: () => storeTen(stage, access, value), toMemory: true };
      },
    );
  },
);

/** FST ST(i), FSTP ST(i) and aliases that the manual does not print. */
function storeRegister(name: string, opcode: number, digit: number, pops: 0 | 1, form: string): Instruction {
  return registerInstruction(
    { name, opcode, digit, form, operands: (fields) => [stackText(fields)] },
    (stage, index) => {
      const destination = stackRegister(stage, index);
      const source = top(stage);
      const value = readFloat(stage, source);
      const keep = (kept: ExtendedValue): void => {
        fill(stage, destination, kept);
        popTop(stage, pops);
      };
      perform(
        stage,
        underflowOf(stage, source),
        () => keep(indefinite(stage)),
        () => ({ status: stage.constant32(0), commit: () => keep(value) }),
      );
    },
  );
}

/** "No check exception": an empty register is popped without being moved. The manual does not print it. */
const fstpnce = registerInstruction(
  { name: "fstpnce", opcode: 0xd9, digit: 3, operands: (fields) => [stackText(fields)] },
  (stage, index) => {
    const destination = stackRegister(stage, index);
    const source = top(stage);
    const empty = isEmpty(stage, source);
    reportExceptions(stage, stage.constant32(0));
    stage.if(stage.isZero(empty), () => fill(stage, destination, readFloat(stage, source)));
    popTop(stage, 1);
  },
);

// Exchanges and conditional moves

/** Of two empty registers each becomes the indefinite number first. */
function exchange(opcode: number, form: string): Instruction {
  return registerInstruction(
    { name: "fxch", opcode, digit: 1, form, operands: (fields) => [stackText(fields)] },
    (stage, index) => {
      const first = top(stage);
      const other = stackRegister(stage, index);
      const valueOf = (register: Value<32>): ExtendedValue => {
        const { low, high } = readFloat(stage, register);
        const empty = isEmpty(stage, register);
        const substitute = indefinite(stage);
        return { low: stage.select(empty, substitute.low, low), high: stage.select(empty, substitute.high, high) };
      };
      const values = [valueOf(first), valueOf(other)] as const;
      const swap = (): void => {
        fill(stage, first, values[1]);
        fill(stage, other, values[0]);
      };
      perform(stage, underflowOf(stage, first, other), swap, () => ({ status: stage.constant32(0), commit: swap }));
    },
  );
}

interface ConditionalMove {
  readonly name: string;
  readonly opcode: number;
  readonly digit: number;
  readonly condition: number;
}

/** `condition`: a code of `conditionHolds`. */
const CONDITIONAL_MOVES: readonly ConditionalMove[] = [
  { name: "fcmovb", opcode: 0xda, digit: 0, condition: 2 },
  { name: "fcmove", opcode: 0xda, digit: 1, condition: 4 },
  { name: "fcmovbe", opcode: 0xda, digit: 2, condition: 6 },
  { name: "fcmovu", opcode: 0xda, digit: 3, condition: 10 },
  { name: "fcmovnb", opcode: 0xdb, digit: 0, condition: 3 },
  { name: "fcmovne", opcode: 0xdb, digit: 1, condition: 5 },
  { name: "fcmovnbe", opcode: 0xdb, digit: 2, condition: 7 },
  { name: "fcmovnu", opcode: 0xdb, digit: 3, condition: 11 },
];

/** An empty register is a fault whether the condition holds or not. */
function conditionalMove({ name, opcode, digit, condition }: ConditionalMove): Instruction {
  return registerInstruction(
    { name, opcode, digit, operands: (fields) => ["st", stackText(fields)] },
    (stage, index) => {
      const destination = top(stage);
      const source = stackRegister(stage, index);
      const value = readFloat(stage, source);
      const holds = conditionHolds(stage, condition);
      perform(
        stage,
        underflowOf(stage, destination, source),
        () => fill(stage, destination, indefinite(stage)),
        () => ({
          // C1 is not written.
          status: stage.and(stage.read(fsw), stage.constant32(FloatStatus.C1)),
          commit: () => {
            stage.if(holds, () => fill(stage, destination, value));
          },
        }),
      );
    },
  );
}

export const x87MoveInstructions: readonly Instruction[] = [
  ...LOADS.map(load),
  fldExtended,
  fbld,
  fldRegister,
  ...CONSTANTS.map(loadConstant),
  ...[...floatStores(32), ...floatStores(64), ...([16, 32, 64] as const).flatMap(integerStores)].map(store),
  fstpExtended,
  fbstp,
  storeRegister("fst", 0xdd, 2, 0, "ST(i)"),
  storeRegister("fstp", 0xdd, 3, 1, "ST(i)"),
  fstpnce,
  storeRegister("fstp", 0xdf, 2, 1, "ST(i); second alias"),
  storeRegister("fstp", 0xdf, 3, 1, "ST(i); third alias"),
  exchange(0xd9, "ST(i)"),
  exchange(0xdd, "ST(i); alias"),
  exchange(0xdf, "ST(i); second alias"),
  ...CONDITIONAL_MOVES.map(conditionalMove),
];
