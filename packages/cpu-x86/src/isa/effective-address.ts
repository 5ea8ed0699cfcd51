/** Addresses of memory operands and of the stack: Intel SDM volume 1, 3.7.5; volume 2, 2.2.1.6. */
import type { AccessHandle, AccessMode, Stage, Value } from "@hvjournal/engine";
import { generalRegister } from "./general-registers.js";
import type { memoryOperand } from "./operands.js";
import { Register, stackZeroSource } from "./state.js";

/** The operands of `memoryOperand`. */
export type MemoryOperands = {
  readonly [Name in keyof typeof memoryOperand]: Value<32>;
};

/** base + index * 2 ** scale + displacement, and the next instruction's address where it counts from there; cut to the address size. */
export function effectiveAddress(stage: Stage, operands: MemoryOperands): Value<64> {
  const index = stage.binary("shl", stage.readAt(64, operands.index), stage.zeroExtend64(operands.scale));
  const relative = stage.sub(stage.constant64(0), stage.zeroExtend64(operands.relative));
  const terms = [index, stage.signExtend64(operands.displacement), stage.and(stage.nextPc(), relative)];
  const sum = terms.reduce((total, term) => stage.add(total, term), stage.readAt(64, operands.base));
  return cutAddress(stage, sum, stage.zeroExtend64(operands.unused));
}

/** The low `64 - unused` bits. */
export function cutAddress(stage: Stage, address: Value<64>, unused: Value<64>): Value<64> {
  return stage.binary("shr_u", stage.binary("shl", address, unused), unused);
}

/** Checks a memory operand. */
export function accessMemory(
  stage: Stage,
  operands: MemoryOperands,
  bytes: number,
  mode: AccessMode,
  alignment = 1,
): AccessHandle {
  const address = stage.add(effectiveAddress(stage, operands), stage.readAt(64, operands.segment));
  return stage.access(address, bytes, mode, { alignment, faultDetail: operands.segment });
}

/** Checks a range of the stack. */
export function accessStack(stage: Stage, address: Value<64>, bytes: number, mode: AccessMode): AccessHandle {
  return stage.access(address, bytes, mode, { faultDetail: stage.constant32(stackZeroSource.offset) });
}

const rsp = generalRegister(Register.rsp);

/** The stack pointer `bytes` further (negative: to push), in the width of the mode's stack: 64 bits, or 32 in compatibility mode. */
export function stackPointer(stage: Stage, form: { readonly mode: number }, bytes: number): Value<64> {
  const moved = stage.add(stage.read(rsp), stage.constant64(bytes));
  return form.mode === 0 ? moved : stage.zeroExtendFrom(32, moved);
}

export function writeStackPointer(stage: Stage, value: Value<64>): void {
  stage.write(rsp, value);
}
