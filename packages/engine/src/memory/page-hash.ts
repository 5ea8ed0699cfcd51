/**
 * A 128-bit hash of a page's index and content: two lanes of multiply and rotate over
 * 64-bit words, each finished by mixing. Not for adversaries: it finds differences of runs.
 */
import { engineState } from "../engine-fields.js";
import type { Routine, Stage, Value } from "../stage/stage.js";

const FACTOR_A = 0x9e37_79b9_7f4a_7c15n;
const FACTOR_B = 0xc2b2_ae3d_27d4_eb4fn;
const FACTOR_C = 0x1656_67b1_9e37_79f9n;

/** (host address, page index): writes 16 bytes to the first exit operands' place; gives 0 for a page of zeros (hash zero), else 1. */
export const hashPageRoutine: Routine & { readonly result: 32 } = {
  name: "hashPage",
  parameters: [32, 32],
  result: 32,
  body(stage, [address, index]) {
    const start = address as Value<32>;
    const seed = stage.add(stage.zeroExtend64(index as Value<32>), stage.constant64(1));
    const low = stage.variable(stage.binary("mul", seed, stage.constant64(FACTOR_A)));
    const high = stage.variable(stage.binary("mul", seed, stage.constant64(FACTOR_B)));
    const any = stage.variable(stage.constant64(0));
    const offset = stage.variable(stage.constant32(0));
    stage.repeatWhile(() => {
      const at = stage.add(start, stage.get(offset));
      const first = stage.readAt(64, at);
      const second = stage.readAt(64, at, 8);
      stage.set(any, stage.or(stage.get(any), stage.or(first, second)));
      stage.set(low, absorb(stage, stage.get(low), first, FACTOR_A, 27));
      stage.set(high, absorb(stage, stage.get(high), second, FACTOR_B, 31));
      // The lanes see each other, so that words can't trade places between them.
      stage.set(low, stage.add(stage.get(low), stage.get(high)));
      stage.set(offset, stage.add(stage.get(offset), stage.constant32(16)));
      return stage.compare("lt_u", stage.get(offset), stage.constant32(4096));
    });
    const zero = stage.isZero(stage.get(any));
    const result = (value: Value<64>): Value<64> => stage.select(zero, stage.constant64(0), value);
    stage.write(
      { name: "hashLow", offset: engineState.exitOperands.offset, width: 64 },
      result(finish(stage, stage.add(stage.get(low), stage.get(high)))),
    );
    stage.write(
      { name: "hashHigh", offset: engineState.exitOperands.offset + 8, width: 64 },
      result(finish(stage, stage.xor(stage.get(high), stage.binary("rotl", stage.get(low), stage.constant64(17))))),
    );
    stage.return(stage.isZero(zero));
  },
};

function absorb(stage: Stage, state: Value<64>, word: Value<64>, factor: bigint, rotation: number): Value<64> {
  const mixed = stage.binary(
    "mul",
    stage.binary("rotl", stage.binary("mul", word, stage.constant64(FACTOR_C)), stage.constant64(rotation)),
    stage.constant64(factor),
  );
  return stage.add(
    stage.binary("mul", stage.binary("rotl", stage.xor(state, mixed), stage.constant64(rotation)), stage.constant64(5)),
    stage.constant64(0x52dc_e729),
  );
}

function finish(stage: Stage, value: Value<64>): Value<64> {
  let mixed = value;
  for (const factor of [FACTOR_A, FACTOR_B]) {
    mixed = stage.binary("mul", stage.xor(mixed, stage.shiftRight(mixed, 33)), stage.constant64(factor));
  }
  return stage.xor(mixed, stage.shiftRight(mixed, 29));
}
