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

type IsKnown = (routine: Routine) => boolean;

/** Adds what `program` needs; routines that are known are there already and are not looked into. */
export function addRequirements(program: Program, into: Requirements, isKnown: IsKnown): void {
  addBlock(program.root, into, isKnown);
}

function addBlock(block: Block, into: Requirements, isKnown: IsKnown): void {
  for (const item of block.items) {
    if (item.type === "callRoutine" || item.type === "raise") addRoutine(item.routine, into, isKnown);
    if (item.type === "callHost") into.hosts.add(item.host);
    if (item.type === "readPageTable") into.hosts.add(preparePageTablePage);
    for (const inner of blocksOf(item)) addBlock(inner, into, isKnown);
  }
}

export function addRoutine(routine: Routine, into: Requirements, isKnown: IsKnown): void {
  if (into.routines.has(routine)) return;
  const program = routineProgram(routine);
  into.routines.set(routine, program);
  if (!isKnown(routine)) addRequirements(program, into, isKnown);
}
