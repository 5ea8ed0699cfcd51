/** Names for the numbers in an exit's frame, for people who query. */
import { type EventPayload, KvmExit, type PlainValue, type RecordingHeader } from "@hvjournal/core";

export interface ExitNames {
  /** Of a row of the recording's exit model. */
  reason(reason: number): string;
  /** Whether that row is a hypercall of the guest, whoever finishes it. */
  isHypercall(reason: number): boolean;
}

/** The manuals' names for instructions that call the hypervisor: HVC64, SMC64, VMCALL, VMMCALL. */
const HYPERCALL = /^(HVC|SMC|VMCALL|VMMCALL)/;

function numberedReason(index: number): string {
  return `reason ${index}`;
}

function reasonNames(header: RecordingHeader): readonly string[] {
  const model = header.machine["exitModel"];
  if (typeof model !== "object" || model === null || Array.isArray(model)) return [];
  const { reasons } = model as EventPayload;
  return Array.isArray(reasons)
    ? reasons.map((reason: PlainValue, index) => (typeof reason === "string" ? reason : numberedReason(index)))
    : [];
}

/** The names in the recording's own machine description: `machine.exitModel.reasons`. */
export function exitNamesOf(header: RecordingHeader): ExitNames {
  const names = reasonNames(header);
  const reason = (index: number): string => names[index] ?? numberedReason(index);
  return { reason, isHypercall: (index) => HYPERCALL.test(reason(index)) };
}

const KVM_EXIT_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(KvmExit).map(([name, number]) => [number, `KVM_EXIT_${name.replace(/[A-Z]/g, "_$&").toUpperCase()}`]),
);

/** As include/uapi/linux/kvm.h spells it. */
export function kvmExitName(number: number): string {
  return KVM_EXIT_NAMES.get(number) ?? `KVM_EXIT_${number}`;
}
