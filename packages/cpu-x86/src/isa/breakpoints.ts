/**
 * Breakpoints in DR0 to DR3: Intel SDM volume 3, 18.2. Those of instructions are faults in front of them; those of data are
 * traps behind the instruction that has accessed them. Breakpoints of ports (CR4.DE) are refused when DR7 is written.
 */
import { type AccessMode, elementOf, type Stage, type Value } from "@hvjournal/engine";
import { noteDebugFault, noteDebugTrap } from "./exceptions.js";
import { Flag } from "./registers.js";
import { debugAddress, dr7, InterruptShadow, interruptShadow, rflags } from "./state.js";

const COUNT = 4;
/** Values of R/W. */
export const BreakpointKind = { execute: 0, write: 1, port: 2, access: 3 } as const;

/** R/W of breakpoint `index`. */
export function kindOf(stage: Stage, control: Value<32>, index: number): Value<32> {
  return stage.extractBits(control, 16 + 4 * index, 2);
}

function isEnabled(stage: Stage, control: Value<32>, index: number): Value<32> {
  return stage.isZero(stage.isZero(stage.extractBits(control, 2 * index, 2)));
}

/** One less than the bytes that breakpoint `index` spans: LEN is 1, 2, 8 or 4 bytes. */
function spanOf(stage: Stage, control: Value<32>, index: number): Value<64> {
  const length = stage.extractBits(control, 18 + 4 * index, 2);
  const isEight = stage.compare("eq", length, stage.constant32(2));
  return stage.zeroExtend64(stage.select(isEight, stage.constant32(7), length));
}

interface Breakpoints {
  /** The stage on which accesses are looked at. */
  readonly stage: Stage;
  /** Notes what accesses have met. */
  readonly noteMet: () => void;
}

/** Raises for a breakpoint at this instruction, and watches the accesses of the definition. */
export function breakpointsOn(stage: Stage): Breakpoints {
  const control = stage.read(dr7);
  const enables = stage.truncate32(control);
  stopAtInstruction(stage, enables);
  const met = stage.variable(stage.constant32(0));
  const watch = (address: Value<64>, bytes: number, mode: AccessMode): void => {
    const last = stage.add(address, stage.constant64(bytes - 1));
    for (let index = 0; index < COUNT; index++) {
      const kind = kindOf(stage, enables, index);
      const isAny = stage.compare("eq", kind, stage.constant32(BreakpointKind.access));
      const isWrite = stage.compare("eq", kind, stage.constant32(BreakpointKind.write));
      const counts = mode === "read" ? isAny : stage.or(isAny, isWrite);
      const span = spanOf(stage, enables, index);
      const first = stage.and(stage.read(elementOf(debugAddress, index)), stage.not(span));
      const overlaps = stage.and(
        stage.compare("le_u", first, last),
        stage.compare("ge_u", stage.add(first, span), address),
      );
      const hit = stage.and(stage.and(counts, overlaps), isEnabled(stage, enables, index));
      stage.set(met, stage.or(stage.get(met), stage.shiftLeft(hit, index)));
    }
  };
  const watching: Pick<Stage, "access"> = {
    access(address, bytes, mode, options) {
      // Descriptor tables and the like are no data of the program.
      if (options?.privileged !== true) watch(address, bytes, mode);
      return stage.access(address, bytes, mode, options);
    },
  };
  const watched = new Proxy(stage, {
    get(target, key) {
      if (key === "access") return watching.access;
      const member: unknown = Reflect.get(target, key);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  return { stage: watched, noteMet: () => noteDebugTrap(stage, stage.get(met)) };
}

/** RF lets the instruction pass, and so does a load of SS in front of it. */
function stopAtInstruction(stage: Stage, control: Value<32>): void {
  const behindSs = stage.compare("eq", stage.read(interruptShadow), stage.constant32(InterruptShadow.movSs));
  const resumes = stage.or(behindSs, stage.and(stage.truncate32(stage.read(rflags)), stage.constant32(Flag.RF)));
  const met: Value<32>[] = [];
  for (let index = 0; index < COUNT; index++) {
    const isHere = stage.compare("eq", stage.read(elementOf(debugAddress, index)), stage.pc());
    const executes = stage.isZero(kindOf(stage, control, index));
    const hit = stage.and(stage.and(isHere, executes), isEnabled(stage, control, index));
    met.push(stage.shiftLeft(hit, index));
  }
  const reasons = met.reduce((all, one) => stage.or(all, one));
  const stops = stage.and(stage.isZero(resumes), stage.isZero(stage.isZero(reasons)));
  stage.if(stops, () => stage.raise(noteDebugFault, reasons));
}
