/** The registers of a call of the hypervisor: 32 bits of each outside 64-bit mode. */
import { Register } from "../isa/state.js";
import type { Vm } from "./vm.js";

export function argumentOf({ states }: Vm, register: number): bigint {
  return states.isLongMode ? states.readGeneral(register) : BigInt(states.readGeneral32(register));
}

/** RAX: the numbers of calls that there are are exact, others are rounded to none of them. */
export function callNumberOf({ states }: Vm): number {
  const low = states.readGeneral32(Register.rax);
  return states.isLongMode ? low + states.readGeneralHigh32(Register.rax) * 2 ** 32 : low;
}

/** Writes RAX, in 32 bits outside 64-bit mode, and goes on behind the call. Gives what was written. */
export function returnFromCall(vm: Vm, result: bigint, next: bigint): bigint {
  const { states } = vm;
  const value = BigInt.asUintN(states.isLongMode ? 64 : 32, result);
  states.writeGeneral(Register.rax, value);
  vm.retireInstruction(next);
  return value;
}
