/** The chain of callers, as well as it can be told. */
import type { Machine, SymbolTable } from "@hvjournal/core";
import { arm64UserPc } from "./arm64-user-frame.js";
import type { Caller } from "./caller.js";
import { orcCallers } from "./orc.js";

/** Innermost first: by what the guest's kernel says of its own frames, else by frame pointers. */
export function callersOf(machine: Machine, vcpu: number, symbols: SymbolTable, depthMax: number): Caller[] {
  return orcCallers(machine, vcpu, symbols, depthMax) ?? framePointerCallers(machine, vcpu, symbols, depthMax);
}

function framePointerCallers(machine: Machine, vcpu: number, symbols: SymbolTable, depthMax: number): Caller[] {
  const callers = machine.kernel.backtrace(vcpu, depthMax).map((address) => ({ address, isUserMode: false }));
  const isArm64 = machine.architecture.name === "arm64";
  const userPc = isArm64 && callers.length < depthMax ? arm64UserPc(machine, vcpu, symbols) : undefined;
  return userPc === undefined ? callers : [...callers, { address: userPc, isUserMode: true }];
}
