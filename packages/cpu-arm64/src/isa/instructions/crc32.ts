/** Cyclic redundancy checks. Arm ARM: CRC32 and CRC32C, C6.2; shared pseudocode Poly32Mod2. */
import type { Routine, Stage, Value } from "@hvjournal/engine";

/** The checksum behind eight more bits, which are in its low byte already. */
function behindByte(stage: Stage, checksum: Value<32>, polynomial: Value<32>): Value<32> {
  let value = checksum;
  for (let bit = 0; bit < 8; bit++) {
    const lowBit = stage.and(value, stage.constant32(1));
    const subtracted = stage.and(stage.sub(stage.constant32(0), lowBit), polynomial);
    value = stage.xor(stage.shiftRight(value, 1), subtracted);
  }
  return value;
}

/** (checksum, data, bytes of data from 1 to 8, polynomial with its bits reversed): the checksum behind these bytes, low byte first. */
export const crc32: Routine & { readonly result: 32 } = {
  name: "crc32",
  parameters: [32, 64, 32, 32],
  result: 32,
  body(stage, parameters) {
    const [initial, data, bytes, polynomial] = parameters as readonly [Value<32>, Value<64>, Value<32>, Value<32>];
    const checksum = stage.variable(initial);
    const rest = stage.variable(data);
    const left = stage.variable(bytes);
    stage.repeatWhile(() => {
      const byte = stage.and(stage.truncate32(stage.get(rest)), stage.constant32(0xff));
      stage.set(checksum, behindByte(stage, stage.xor(stage.get(checksum), byte), polynomial));
      stage.set(rest, stage.shiftRight(stage.get(rest), 8));
      stage.set(left, stage.sub(stage.get(left), stage.constant32(1)));
      return stage.get(left);
    });
    stage.return(stage.get(checksum));
  },
};
