/** What the CPU does not simulate: the VM stops, and says what it met. */
import { NotSimulated } from "../isa/exit-code.js";
import type { Vm } from "./vm.js";

const TEXT: Readonly<Record<number, string>> = {
  [NotSimulated.fetchOutsideMemory]: "code where there is no RAM",
  [NotSimulated.floatErrorPin]: "an x87 error that is reported by FERR#",
};

export function refuseUnsimulated(vm: Vm, reason: number, detail: bigint): void {
  const what = TEXT[reason] ?? `something that is not simulated (${reason})`;
  vm.stuckReason = `vcpu${vm.current} meets ${what} (0x${detail.toString(16)}) at 0x${vm.states.pc.toString(16)}`;
}
