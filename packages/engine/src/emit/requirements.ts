/** Which routines and host functions a program calls, directly and through routines. */
import { programOfRoutine } from "../stage/program-builder.js";
import type { Block, Program } from "../stage/program.js";
import { blocksOf } from "../stage/schedule.js";
import type { HostFunction, Routine } from "../stage/stage.js";
import { preparePageTablePage } from "./page-table-access.js";

export interface Requirements {
  /** In an order in which each may be emitted; with their programs. */
  readonly routines: Map<Routine, Program>;
  readonly hosts: Set<HostFunction>;
}

const programs = new WeakMap<Routine, Program>();

export function routineProgram(routine: Routine): Program {
  const known = programs.get(routine);
  if (known !== undefined) return known;
  const made = programOfRoutine(routine);
  programs.set(routine, made);
  return made;
}

/** Adds what `program` needs; routines in `known` are there already and are not looked into. */
export function addRequirements(program: Program, into: Requirements, known: ReadonlyMap<Routine, unknown>): void {
  addBlock(program.root, into, known);
}

function addBlock(block: Block, into: Requirements, known: ReadonlyMap<Routine, unknown>): void {
  for (const item of block.items) {
    if (item.type === "callRoutine" || item.type === "raise") addRoutine(item.routine, into, known);
    if (item.type === "callHost") into.hosts.add(item.host);
    if (item.type === "readPageTable") into.hosts.add(preparePageTablePage);
    for (const inner of blocksOf(item)) addBlock(inner, into, known);
  }
}

export function addRoutine(routine: Routine, into: Requirements, known: ReadonlyMap<Routine, unknown>): void {
  if (into.routines.has(routine)) return;
  const program = routineProgram(routine);
  into.routines.set(routine, program);
  if (!known.has(routine)) addRequirements(program, into, known);
}
