/**
 * The other vendor's call of the hypervisor: KVM writes the host's own over it, with the guest's rights, and lets the guest
 * execute that (arch/x86/kvm/x86.c, emulator_fix_hypercall).
 */
import { AccessKind } from "@hvjournal/engine";
import { Vector } from "../isa/exceptions.js";
import { cr2, privilege } from "../isa/state.js";
import { PAGE_FAULT } from "../isa/translation.js";
import { CAP_DISABLE_QUIRKS2 } from "./capabilities.js";
import { type Amd64ControlState, capabilityArgument, policyValue } from "./control/control-state.js";
import type { HostVendor } from "./exit-model.js";
import type { Vm } from "./vm.js";

/** VMCALL and VMMCALL. */
export const HOST_CALL: Readonly<Record<HostVendor, readonly number[]>> = {
  intel: [0x0f, 0x01, 0xc1],
  amd: [0x0f, 0x01, 0xd9],
};
const ERROR_CODE = 0xff;

/** KVM_X86_QUIRK_FIX_HYPERCALL_INSN. */
const FIX_HYPERCALL_INSN = 1n << 5n;

/** Whether the other vendor's call is written over, or raises #UD: by the policy, or by the quirk that a VMM has disabled. */
export function patchesCalls(control: Amd64ControlState): boolean {
  const isDisabled = ((capabilityArgument(control, CAP_DISABLE_QUIRKS2) ?? 0n) & FIX_HYPERCALL_INSN) !== 0n;
  return !isDisabled && policyValue(control, "x86.hypercall.patch") === "patch";
}

/** Instead of the call at RIP: the next to come is the host's own, or the fault of writing it. */
export function patchCall(vm: Vm): void {
  const { engine, states } = vm;
  const bytes = HOST_CALL[vm.hostVendor];
  const physical: number[] = [];
  for (const index of bytes.keys()) {
    const place = placeOf(vm, BigInt.asUintN(64, states.pc + BigInt(index)));
    // One fault: a second would be a double one.
    if (place === undefined) return;
    physical.push(place);
  }
  const before = Uint8Array.from(physical, (place) => engine.memory.read(place, 1)[0] ?? 0);
  physical.forEach((place, index) => {
    engine.memory.write(place, Uint8Array.of(bytes[index] ?? 0));
  });
  vm.codePatch = { vcpu: vm.current, physical: physical[0] ?? 0, before, after: Uint8Array.from(bytes) };
}

/** Guest-physical address of a byte that the guest may write; undefined: it may not, and its fault is raised. */
function placeOf(vm: Vm, virtual: bigint): number | undefined {
  const { engine, states } = vm;
  const code = engine.translate(virtual, AccessKind.write, engine.readWord(privilege.offset));
  if (code === 0) return engine.translatedPhysical;
  if ((code & PAGE_FAULT) === 0) states.raise(Vector.generalProtection);
  else {
    engine.writeField(cr2, virtual);
    states.raise(Vector.pageFault, code & ERROR_CODE);
  }
  return undefined;
}
