/** Cyclic redundancy checks. Arm ARM: CRC32 and CRC32C, C6.2; shared pseudocode Poly32Mod2. */
import type { Routine, Stage, Value } from "@hvjournal/engine";

const CHECKSUM_BITS = 32;
/** From here on the rows of the matrix are less work than the bits one after the other. */
const MATRIX_BITS_MIN = 32;

/** What becomes of `bits` bits, low bit first: the remainder modulo the polynomial, whose bits are reversed. */
function remainder(value: bigint, bits: number, polynomial: bigint): bigint {
  let rest = value;
  for (let bit = 0; bit < bits; bit++) rest = (rest >> 1n) ^ ((rest & 1n) === 1n ? polynomial : 0n);
  return rest;
}

/** The remainder is linear over GF(2). Row `n` has the bits of the input that bit `n` of the result is the parity of. */
function matrixRows(bits: number, polynomial: bigint): readonly bigint[] {
  const columns = Array.from({ length: bits }, (_, bit) => remainder(1n << BigInt(bit), bits, polynomial));
  return Array.from({ length: CHECKSUM_BITS }, (_, row) =>
    columns.reduce((mask, column, bit) => mask | (((column >> BigInt(row)) & 1n) << BigInt(bit)), 0n),
  );
}

function byMatrix(stage: Stage, value: Value<64>, bits: number, polynomial: bigint): Value<32> {
  return matrixRows(bits, polynomial).reduce((result, mask, row) => {
    const ones = stage.truncate32(stage.unary("popcnt", stage.and(value, stage.constant64(mask))));
    return stage.or(result, stage.shiftLeft(stage.and(ones, stage.constant32(1)), row));
  }, stage.constant32(0));
}

function bitByBit(stage: Stage, initial: Value<32>, bits: number, polynomial: bigint): Value<32> {
  let value = initial;
  for (let bit = 0; bit < bits; bit++) {
    const lowBit = stage.and(value, stage.constant32(1));
    const subtracted = stage.and(stage.sub(stage.constant32(0), lowBit), stage.constant32(Number(polynomial)));
    value = stage.xor(stage.shiftRight(value, 1), subtracted);
  }
  return value;
}

/** (checksum, data): the checksum behind the low `bits` bits of the data, 8 to 64. The polynomial's bits are reversed. */
export function crc32Routine(name: string, bits: number, polynomial: bigint): Routine & { readonly result: 32 } {
  return {
    name,
    parameters: [32, 64],
    result: 32,
    body(stage, parameters) {
      const [checksum, data] = parameters as readonly [Value<32>, Value<64>];
      const value = stage.xor(stage.zeroExtendFrom(bits, data), stage.zeroExtend64(checksum));
      stage.return(
        bits < MATRIX_BITS_MIN
          ? bitByBit(stage, stage.truncate32(value), bits, polynomial)
          : byMatrix(stage, value, bits, polynomial),
      );
    },
  };
}
