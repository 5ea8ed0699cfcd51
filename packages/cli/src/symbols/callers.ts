/** The chain of callers, as well as it can be told. */
import type { Machine, SymbolTable } from "@hvjournal/core";
import { orcCallers } from "./orc.js";

/** Return addresses, innermost first: by what the guest's kernel says of its own frames, else by frame pointers. */
export function callersOf(machine: Machine, vcpu: number, symbols: SymbolTable, depthMax: number): bigint[] {
  return orcCallers(machine, vcpu, symbols, depthMax) ?? machine.kernel.backtrace(vcpu, depthMax);
}
