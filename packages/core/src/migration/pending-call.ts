/** A call that has no answer yet when its VM moves: whoever answers at the destination is asked. */
import { HANDLER_ITEM } from "../contract/observations.js";
import { type ExitFrame, ExitWord, FinishedBy, frameU64, KvmExit } from "../event/exit-frame.js";
import { HYPERCALL_REASONS, KVM_EXIT_NAMES } from "../event/kvm-exit-names.js";
import type { Machine } from "../machine/machine.js";
import type { ContractItem } from "../ports/contract.js";

export interface PendingCall {
  /** What the guest did: "HVC64 0xc6000000"; with another ABI than KVM's its name: "VMCALL HYPERV 0x8020 repCount=4". */
  readonly what: string;
  /** The first three arguments of a hypercall; Hyper-V's input value and two parameters; of anything else `what` says all. */
  readonly args: readonly bigint[];
  readonly vcpu: number;
  readonly exitNumber: number;
}

const ASKED_OF_HANDLERS: ReadonlySet<number> = new Set([
  KvmExit.hypercall,
  KvmExit.hyperv,
  KvmExit.xen,
  KvmExit.x86Rdmsr,
  KvmExit.x86Wrmsr,
]);

/** Whether an exit is a call that handlers are asked about. */
export function isAskedOfHandlers(frame: ExitFrame): boolean {
  return ASKED_OF_HANDLERS.has(frame[ExitWord.kvmExit] ?? 0);
}

/** undefined: the machine stands at no exit, or at one that is no call of the VMM half's. */
export function pendingCallOf(machine: StandingMachine): PendingCall | undefined {
  const { exitNumber, exitPending, kernel } = machine;
  const { exit } = kernel;
  const isForwarded = exitPending && exit[ExitWord.finishedBy] === FinishedBy.vmmHalf;
  if (!isForwarded || !isAskedOfHandlers(exit)) return undefined;
  return { what: titleOf(machine), args: argumentsOf(machine), vcpu: exit[ExitWord.vcpu] ?? 0, exitNumber };
}

export type StandingMachine = Pick<Machine, "architecture" | "exitModel" | "exitNumber" | "exitPending"> & {
  readonly kernel: Pick<Machine["kernel"], "exit">;
};

function reasonOf({ exitModel, kernel }: StandingMachine): string {
  return exitModel.reasons[kernel.exit[ExitWord.reason] ?? 0]?.name ?? "";
}

/** The same instruction makes calls of several ABIs: KVM_EXIT_HYPERV and KVM_EXIT_XEN say whose this one is. */
function titleOf(machine: StandingMachine): string {
  const { architecture, exitModel, kernel } = machine;
  const text = architecture.describeExit(exitModel, kernel.exit);
  const kvmExit = kernel.exit[ExitWord.kvmExit] ?? 0;
  const reason = reasonOf(machine);
  const isOther = kvmExit === KvmExit.hyperv || kvmExit === KvmExit.xen;
  if (!isOther || !text.startsWith(`${reason} `)) return text;
  return `${reason} ${KVM_EXIT_NAMES.get(kvmExit) ?? kvmExit}${text.slice(reason.length)}`;
}

function argumentsOf(machine: StandingMachine): bigint[] {
  const { exit } = machine.kernel;
  if (!HYPERCALL_REASONS.has(reasonOf(machine))) return [];
  const words =
    exit[ExitWord.kvmExit] === KvmExit.hyperv
      ? [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low]
      : [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low];
  return words.map((word) => frameU64(exit, word));
}

/** Names of the handlers that a contract says are asked, in turn; undefined: it does not say. */
export function handlersOf(contract: readonly ContractItem[]): readonly string[] | undefined {
  const item = contract.find(({ name }) => name === HANDLER_ITEM);
  if (item === undefined) return undefined;
  return item.level === 0 ? [] : item.value.split(", ").map((text) => text.replace(/ sha256:\w+$/, ""));
}
