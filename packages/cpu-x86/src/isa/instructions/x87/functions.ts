/** x87: functions of ST(0), and of ST(0) and ST(1). References: Intel SDM volume 2; accuracy volume 1, 8.3.10. */
import {
  EXTENDED_INCOMPLETE,
  EXTENDED_NO_QUOTIENT,
  ExtendedOperation,
  type Instruction,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import {
  anyUnmasked,
  BEFORE_OPERATION,
  compute,
  type Computed,
  type ExtendedValue,
  fill,
  FloatStatus,
  indefinite,
  overflowOf,
  perform,
  popTop,
  positiveZero,
  push,
  readFloat,
  setConditions,
  stackRegister,
  top,
  underflowOf,
  writeFloat,
} from "../../float-unit.js";
import { fsw } from "../../state.js";
import { registerInstruction } from "./definition.js";

function incomplete(stage: Stage, { returned }: Computed): Value<32> {
  return stage.compare("eq", returned, stage.constant32(EXTENDED_INCOMPLETE));
}

function next(stage: Stage): Value<32> {
  return stackRegister(stage, stage.constant32(1));
}

/** One operand and one result, in ST(0). C2 tells, where `reduces`, that the operand was too large. */
function unary(name: string, digit: number, rm: number, code: number, reduces = false): Instruction {
  return registerInstruction({ name, opcode: 0xd9, digit, rm }, (stage) => {
    const register = top(stage);
    perform(
      stage,
      underflowOf(stage, register),
      () => fill(stage, register, indefinite(stage)),
      () => {
        const computed = compute(stage, code, readFloat(stage, register), positiveZero(stage));
        const { value, status } = computed;
        return {
          status,
          commit: () => fill(stage, register, value),
          always: () => {
            if (reduces) setTooLarge(stage, incomplete(stage, computed));
          },
        };
      },
      reduces ? () => clearC2(stage) : undefined,
    );
  });
}

function clearC2(stage: Stage): void {
  setConditions(stage, stage.constant32(0), FloatStatus.C2);
}

/** C2 alone. */
function setTooLarge(stage: Stage, truth: Value<32>): void {
  setConditions(stage, stage.shiftLeft(truth, Math.log2(FloatStatus.C2)), FloatStatus.C2);
}

/** One operand and two results: the second in its place, the first is pushed. */
function unaryPushing(name: string, digit: number, rm: number, code: number, reduces: boolean): Instruction {
  return registerInstruction({ name, opcode: 0xd9, digit, rm }, (stage) => {
    const register = top(stage);
    const underflow = underflowOf(stage, register);
    const keep = (inPlace: ExtendedValue, pushed: ExtendedValue): void => {
      fill(stage, register, inPlace);
      push(stage, pushed);
    };
    perform(
      stage,
      stage.select(underflow, underflow, overflowOf(stage)),
      () => keep(indefinite(stage), indefinite(stage)),
      () => {
        const computed = compute(stage, code, readFloat(stage, register), positiveZero(stage));
        const { value, second, status } = computed;
        const tooLarge = incomplete(stage, computed);
        return {
          status,
          commit: () => {
            if (!reduces) return keep(second, value);
            stage.if(stage.isZero(tooLarge), () => keep(second, value));
          },
          always: () => {
            if (reduces) setTooLarge(stage, tooLarge);
          },
        };
      },
      reduces ? () => clearC2(stage) : undefined,
    );
  });
}

/** ST(0) and ST(1) are operands `a` and `b`; the result goes to ST(1), and ST(0) is popped. */
function binaryPopping(name: string, digit: number, rm: number, code: number): Instruction {
  return registerInstruction({ name, opcode: 0xd9, digit, rm }, (stage) => {
    const destination = next(stage);
    const keep = (value: ExtendedValue): void => {
      fill(stage, destination, value);
      popTop(stage, 1);
    };
    perform(
      stage,
      underflowOf(stage, top(stage), destination),
      () => keep(indefinite(stage)),
      () => {
        const { value, status } = compute(stage, code, readFloat(stage, top(stage)), readFloat(stage, destination));
        return { status, commit: () => keep(value) };
      },
    );
  });
}

/** FSCALE, FPREM, FPREM1: the result replaces ST(0). */
function onTop(
  name: string,
  digit: number,
  rm: number,
  code: number,
  conclude: (stage: Stage, computed: Computed) => void = () => undefined,
  onFault?: (stage: Stage) => void,
): Instruction {
  return registerInstruction({ name, opcode: 0xd9, digit, rm }, (stage) => {
    const register = top(stage);
    perform(
      stage,
      underflowOf(stage, register, next(stage)),
      () => fill(stage, register, indefinite(stage)),
      () => {
        const computed = compute(stage, code, readFloat(stage, register), readFloat(stage, next(stage)));
        return {
          status: computed.status,
          commit: () => fill(stage, register, computed.value),
          always: () => conclude(stage, computed),
        };
      },
      onFault === undefined ? undefined : () => onFault(stage),
    );
  });
}

/**
 * The quotient's bits 2, 1 and 0 in C0, C3 and C1; C2 and nothing else where the reduction is not complete. Without a
 * quotient (invalid operands, NaNs) C0 and C3 stay.
 */
function quotientConditions(stage: Stage, computed: Computed): void {
  const { C0, C1, C2, C3 } = FloatStatus;
  const none = stage.or(
    stage.compare("eq", computed.returned, stage.constant32(EXTENDED_NO_QUOTIENT)),
    anyUnmasked(stage, stage.and(computed.status, stage.constant32(BEFORE_OPERATION))),
  );
  const kept = stage.and(stage.read(fsw), stage.select(none, stage.constant32(C0 | C3), stage.constant32(0)));
  const { returned } = computed;
  const bit = (number: number, flag: number): Value<32> =>
    stage.shiftLeft(stage.extractBits(returned, number, 1), Math.log2(flag));
  const complete = stage.or(bit(2, C0), stage.or(bit(1, C3), bit(0, C1)));
  const codes = stage.select(incomplete(stage, computed), stage.constant32(C2), complete);
  setConditions(stage, stage.select(none, kept, codes), C0 | C1 | C2 | C3);
}

/** FCHS, FABS: NaNs and what means nothing too; no exception but the stack's. */
function signChange(name: string, rm: number, change: (stage: Stage, high: Value<64>) => Value<64>): Instruction {
  return registerInstruction({ name, opcode: 0xd9, digit: 4, rm }, (stage) => {
    const register = top(stage);
    const { low, high } = readFloat(stage, register);
    perform(
      stage,
      underflowOf(stage, register),
      () => fill(stage, register, indefinite(stage)),
      () => ({
        status: stage.constant32(0),
        commit: () => writeFloat(stage, register, { low, high: change(stage, high) }),
      }),
    );
  });
}

export const x87FunctionInstructions: readonly Instruction[] = [
  signChange("fchs", 0, (stage, high) => stage.xor(high, stage.constant64(0x8000))),
  signChange("fabs", 1, (stage, high) => stage.and(high, stage.constant64(0x7fff))),
  unary("f2xm1", 6, 0, ExtendedOperation.exponentialMinusOne),
  binaryPopping("fyl2x", 6, 1, ExtendedOperation.logarithmTimes),
  unaryPushing("fptan", 6, 2, ExtendedOperation.tangent, true),
  binaryPopping("fpatan", 6, 3, ExtendedOperation.inverseTangent),
  unaryPushing("fxtract", 6, 4, ExtendedOperation.extract, false),
  onTop("fprem1", 6, 5, ExtendedOperation.remainderNearest, quotientConditions, clearC2),
  onTop("fprem", 7, 0, ExtendedOperation.remainder, quotientConditions, clearC2),
  binaryPopping("fyl2xp1", 7, 1, ExtendedOperation.logarithmOfSuccessorTimes),
  unary("fsqrt", 7, 2, ExtendedOperation.squareRoot),
  unaryPushing("fsincos", 7, 3, ExtendedOperation.sineAndCosine, true),
  unary("frndint", 7, 4, ExtendedOperation.roundToIntegral),
  onTop("fscale", 7, 5, ExtendedOperation.scale),
  unary("fsin", 7, 6, ExtendedOperation.sine, true),
  unary("fcos", 7, 7, ExtendedOperation.cosine, true),
];
