/** A call that has no answer yet when its VM moves: whoever answers at the destination is asked. */
import { HANDLER_ITEM } from "../contract/observations.js";
import { type ExitFrame, ExitWord, FinishedBy, frameU64, KvmExit } from "../event/exit-frame.js";
import type { Machine } from "../machine/machine.js";
import type { ContractItem } from "../ports/contract.js";

export interface PendingCall {
  /** What the guest did: "HVC64 0xc6000000". */
  readonly what: string;
  /** The first three arguments of a hypercall; of anything else `what` says all. */
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
export function pendingCallOf({
  architecture,
  exitModel,
  exitNumber,
  exitPending,
  kernel,
}: Machine): PendingCall | undefined {
  const { exit } = kernel;
  const isForwarded = exitPending && exit[ExitWord.finishedBy] === FinishedBy.vmmHalf;
  if (!isForwarded || !isAskedOfHandlers(exit)) return undefined;
  const [what, args] = [architecture.describeExit(exitModel, exit), argumentsOf(exit)];
  return { what, args, vcpu: exit[ExitWord.vcpu] ?? 0, exitNumber };
}

function argumentsOf(exit: ExitFrame): bigint[] {
  const kvmExit = exit[ExitWord.kvmExit];
  if (kvmExit !== KvmExit.hypercall && kvmExit !== KvmExit.xen) return [];
  return [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low].map((word) => frameU64(exit, word));
}

/** Names of the handlers that a contract says are asked, in turn; undefined: it does not say. */
export function handlersOf(contract: readonly ContractItem[]): readonly string[] | undefined {
  const item = contract.find(({ name }) => name === HANDLER_ITEM);
  if (item === undefined) return undefined;
  return item.level === 0 ? [] : item.value.split(", ").map((text) => text.replace(/ sha256:\w+$/, ""));
}
