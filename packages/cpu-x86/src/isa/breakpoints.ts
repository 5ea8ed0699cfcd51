/**
 * Breakpoints in DR0 to DR3: Intel SDM volume 3, 18.2. Those of instructions are faults in front of them; those of data are
 * traps behind the instruction that has accessed them, and so are those of ports, which CR4.DE makes of R/W 2. Without it
 * R/W 2 is undefined: such a breakpoint is never met here.
 */
import { type AccessMode, elementOf, type Stage, type Value } from "@hvjournal/engine";
import { noteDebugFault, noteDebugTrap } from "./exceptions.js";
import { Cr4, Flag } from "./registers.js";
import { cr4, debugAddress, dr7, InterruptShadow, interruptShadow, rflags } from "./state.js";

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

const WATCH_PORT = Symbol("port breakpoints");

interface PortWatchingStage {
  readonly [WATCH_PORT]?: (port: Value<32>, bytes: number) => void;
}

/** For a definition that has accessed a port: breakpoints look at it, where there are any. */
export function notePortAccess(stage: Stage, port: Value<32>, bytes: number): void {
  (stage as Stage & PortWatchingStage)[WATCH_PORT]?.(port, bytes);
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
  const watchPort = (port: Value<32>, bytes: number): void => {
    const extensions = stage.extractBits(stage.truncate32(stage.read(cr4)), Math.log2(Cr4.DE), 1);
    const address = stage.zeroExtend64(port);
    const last = stage.add(address, stage.constant64(bytes - 1));
    for (let index = 0; index < COUNT; index++) {
      const isPort = stage.compare("eq", kindOf(stage, enables, index), stage.constant32(BreakpointKind.port));
      const span = spanOf(stage, enables, index);
      const place = stage.zeroExtendFrom(16, stage.read(elementOf(debugAddress, index)));
      const first = stage.and(place, stage.not(span));
      const overlaps = stage.and(
        stage.compare("le_u", first, last),
        stage.compare("ge_u", stage.add(first, span), address),
      );
      const counts = stage.and(stage.and(isPort, extensions), isEnabled(stage, enables, index));
      stage.set(met, stage.or(stage.get(met), stage.shiftLeft(stage.and(counts, overlaps), index)));
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
      if (key === WATCH_PORT) return watchPort;
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
