/** What the CPU does not simulate: the VM stops, and says what it met. */
import { NotSimulated } from "../isa/exit-code.js";
import type { Vm } from "./vm.js";

const TEXT: Readonly<Record<number, string>> = {
  [NotSimulated.instruction]: "an instruction that is not simulated",
  [NotSimulated.virtual8086]: "virtual-8086 mode",
  [NotSimulated.fetchOutsideMemory]: "code where there is no RAM",
  [NotSimulated.floatErrorPin]: "an x87 error that is reported by FERR#",
  [NotSimulated.portBreakpoint]: "a breakpoint at a port",
  [NotSimulated.gateParameters]: "a call gate that copies parameters",
};

function instructionText(detail: bigint): string {
  const bytes = Array.from({ length: 8 }, (_, index) => Number((detail >> BigInt(8 * index)) & 0xffn));
  const last = bytes.findLastIndex((byte) => byte !== 0);
  return bytes
    .slice(0, last + 1)
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join(" ");
}

export function refuseUnsimulated(vm: Vm, reason: number, detail: bigint): void {
  const what = TEXT[reason] ?? `something that is not simulated (${reason})`;
  const bytes = reason === NotSimulated.instruction ? `: ${instructionText(detail)}` : "";
  vm.stuckReason = `vcpu${vm.current} meets ${what} at 0x${vm.states.pc.toString(16)}${bytes}`;
}
