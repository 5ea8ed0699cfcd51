/** KVM's own hypercalls: Documentation/virt/kvm/x86/hypercalls.rst. Number in RAX, arguments in RBX, RCX, RDX, RSI. */
import { Vector } from "../isa/exceptions.js";
import { Register } from "../isa/state.js";
import type { ExitCause } from "./exit-model.js";
import type { Vm } from "./vm.js";

/** As include/uapi/linux/kvm_para.h. */
const KVM_ENOSYS = 1000n;

/** Gives RAX. */
export function finishHypercall(vm: Vm, cause: ExitCause, next: bigint): bigint | undefined {
  const { states } = vm;
  if (cause === "invalidOpcode") {
    states.raise(Vector.invalidOpcode);
    return undefined;
  }
  const result = BigInt.asUintN(64, -KVM_ENOSYS);
  states.writeGeneral(Register.rax, result);
  vm.retireInstruction(next);
  return result;
}
