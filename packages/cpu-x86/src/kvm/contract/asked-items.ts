/** What a guest asks about by an exit: a leaf of CPUID, an MSR, a call of the hypervisor. */
import { type ContractMachine, type ExitFrame, ExitWord, KvmExit, type NumberAsked } from "@hvjournal/core";
import { type Amd64ControlState, mayHaveHyperv } from "../control/control-state.js";
import { causesOfRow } from "../exit-model.js";
import { leafItem } from "./cpuid-items.js";
import {
  CALL_INSTRUCTION_ITEM,
  hypervCallItem,
  kvmCallItem,
  MSR_FILTER_CALL,
  msrItem,
  XEN_ITEM,
} from "./item-names.js";

const NOTHING: readonly string[] = [];
const CODE_MASK = 0xffff;

/** The frame does not say which interface a call is of: a VM that is offered Hyper-V's calls by it. */
function askedCall(frame: ExitFrame, state: Amd64ControlState): string {
  if (frame[ExitWord.kvmExit] === KvmExit.xen) return XEN_ITEM;
  const first = frame[ExitWord.arg0Low] ?? 0;
  const isHyperv = mayHaveHyperv(state) && frame[ExitWord.kvmExit] !== KvmExit.hypercall;
  return isHyperv ? hypervCallItem(first & CODE_MASK) : kvmCallItem(first);
}

export function askedItems(
  frame: ExitFrame,
  state: Amd64ControlState,
  { exitModel }: ContractMachine,
): readonly string[] {
  const causes = causesOfRow(exitModel, frame[ExitWord.reason] ?? 0);
  const first = frame[ExitWord.arg0Low] ?? 0;
  if (causes.includes("cpuid")) return [leafItem(first, frame[ExitWord.arg1Low] ?? 0)];
  if (causes.includes("readMsr") && frame[ExitWord.info] === 0) return [msrItem(first)];
  if (causes.includes("hypercall")) return [CALL_INSTRUCTION_ITEM, askedCall(frame, state)];
  return NOTHING;
}

/** The MSR of an access that the filter was asked about. */
export function askedMsr(frame: ExitFrame, { exitModel }: ContractMachine): NumberAsked | undefined {
  const causes = causesOfRow(exitModel, frame[ExitWord.reason] ?? 0);
  if (!causes.includes("readMsr") && !causes.includes("writeMsr")) return undefined;
  const space = frame[ExitWord.info] === 1 ? "wrmsr" : "rdmsr";
  return { group: MSR_FILTER_CALL, space, number: frame[ExitWord.arg0Low] ?? 0 };
}
