/** Registers of which a part is taken and extended: the second operand of ADD and SUB, the index of loads and stores. */
import type { Stage, Value } from "@hvjournal/engine";
import type { RegisterWidth } from "./general-registers.js";

/** Arm ARM: shared pseudocode ExtendReg, without the shift. `option`: bits 1 and 0 the size, bit 2 whether signed. */
export function extendedRegister(
  stage: Stage,
  width: RegisterWidth,
  option: number,
  register: Value<32>,
): Value<RegisterWidth> {
  const kind = option & 3;
  const isSigned = option >= 4;
  if (kind === 3 || (kind === 2 && width === 32)) return stage.readAt(width, register);
  if (kind === 2) {
    const word = stage.readAt(32, register);
    return isSigned ? stage.signExtend64(word) : stage.zeroExtend64(word);
  }
  const bits = kind === 0 ? 8 : 16;
  const value = stage.readAt(width, register);
  return isSigned ? stage.signExtendFrom(bits, value) : stage.zeroExtendFrom(bits, value);
}
