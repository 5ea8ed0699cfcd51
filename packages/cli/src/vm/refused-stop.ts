/** A guest that wants to power off or reset and may not: it runs on, and people wonder why it does not end. */
import { ExitWord, HYPERCALL_REASONS, KvmExit, type Machine } from "@hvjournal/core";
import { displayOf } from "../architectures.js";
import { recordedHandlers } from "../handlers/recorded-handlers.js";

/** To be asked at each exit: one line, the first time that a call of its kind is refused. */
export function refusedStops(machine: Machine): () => string | undefined {
  const { architecture, exitModel } = machine;
  const { stopCalls } = displayOf(architecture);
  const isCall = exitModel.reasons.map(({ name }) => HYPERCALL_REASONS.has(name));
  const told = new Set<number>();
  // What a handler makes of it, it alone knows.
  const isHandled = recordedHandlers(machine.description).length > 0;
  return () => {
    const { exit } = machine.kernel;
    const id = exit[ExitWord.arg0Low] ?? 0;
    if (isCall[exit[ExitWord.reason] ?? 0] !== true || !stopCalls.has(id) || told.has(id)) return undefined;
    const kvmExit = exit[ExitWord.kvmExit];
    if (kvmExit === KvmExit.systemEvent || (kvmExit === KvmExit.hypercall && isHandled)) return undefined;
    told.add(id);
    return refusalText(machine);
  };
}

function refusalText(machine: Machine): string {
  const { exit } = machine.kernel;
  const call = machine.architecture.describeExit(machine.exitModel, exit);
  const rule = exit[ExitWord.rule] ?? 0;
  const by = rule === 0 ? "it is not supported" : `the filter of event:${rule} has it otherwise`;
  const how = exit[ExitWord.kvmExit] === KvmExit.hypercall ? "forwarded, and nobody handles it" : "denied";
  return `the guest asks to stop at exit:${machine.exitNumber} (${call}), and that is ${how}: ${by}; the VM runs on`;
}
