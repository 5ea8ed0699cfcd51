/** Addresses of memory operands and of the stack: Intel SDM volume 1, 3.7.5; volume 2, 2.2.1.6. */
import type { AccessHandle, AccessMode, Stage, Value } from "@hvjournal/engine";
import { generalRegister } from "./general-registers.js";
import type { memoryOperand } from "./operands.js";
import { accessSegment, segmentOperand } from "./segment-access.js";
import { Register, Segment } from "./state.js";

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
  return accessSegment(stage, operands.segment, effectiveAddress(stage, operands), bytes, mode, { alignment });
}

/** Checks a memory operand whose address the instruction holds: the operands of `absoluteOperand`. */
export function accessAbsolute(
  stage: Stage,
  operands: { readonly address: Value<64>; readonly segment: Value<32> },
  bytes: number,
  mode: AccessMode,
): AccessHandle {
  return accessSegment(stage, operands.segment, operands.address, bytes, mode);
}

/** Checks a range of the stack, at an offset of SS. */
export function accessStack(stage: Stage, offset: Value<64>, bytes: number, mode: AccessMode): AccessHandle {
  return accessSegment(stage, segmentOperand(stage, Segment.ss), offset, bytes, mode);
}

const rsp = generalRegister(Register.rsp);

/** `stackSize` is a form field. */
export interface StackForm {
  readonly stackSize: number;
}

/** The stack pointer `bytes` further (negative: to push), as an offset of SS. */
export function stackPointer(stage: Stage, { stackSize }: StackForm, bytes: number): Value<64> {
  const pointer = stage.read(rsp);
  const moved = bytes === 0 ? pointer : stage.add(pointer, stage.constant64(bytes));
  return stackSize === 3 ? moved : stage.zeroExtendFrom(8 << stackSize, moved);
}

/** Writes what `stackPointer` gave: with a stack of 16 bits only SP. */
export function writeStackPointer(stage: Stage, { stackSize }: StackForm, value: Value<64>): void {
  if (stackSize !== 1) return stage.write(rsp, value);
  const kept = stage.and(stage.read(rsp), stage.constant64(~0xffffn));
  stage.write(rsp, stage.or(kept, stage.zeroExtendFrom(16, value)));
}
