/** Positions as they are printed: each can be pasted back. */
import { formatGuestTime } from "../guest-time.js";
import type { Machine } from "../machine/machine.js";
import type { Position } from "./parse-position.js";

/** Where a machine stands: the exit it has just left with, or how far it is behind the last one. */
export function machinePosition(machine: Machine): Position {
  if (machine.exitNumber === 0) return { at: "icount", icount: machine.icount };
  if (machine.exitPending) return { at: "exit", number: machine.exitNumber };
  // After idle time was skipped no unit tells the moment from the one before.
  if (machine.skippedIcount === machine.icount) return { at: "time", timeNs: machine.guestTimeNs };
  return { at: "exit", number: machine.exitNumber, unitsAfter: machine.icount - machine.answeredIcount };
}

function withOccurrence(text: string, occurrence: number): string {
  return occurrence === 1 ? text : `${text}#${occurrence}`;
}

export function formatPosition(position: Position): string {
  switch (position.at) {
    case "start":
    case "end":
      return position.at;
    case "exit":
      return position.unitsAfter === undefined
        ? `exit:${position.number}`
        : `exit:${position.number}+${position.unitsAfter}`;
    case "reason":
      return withOccurrence(`exit:${position.reason}`, position.occurrence);
    case "event":
      return `event:${position.seq}`;
    case "icount":
      return `icount:${position.icount}`;
    case "time":
      return `time:${formatGuestTime(position.timeNs)}`;
    case "console":
      return withOccurrence(`console:/${position.expression.source}/${position.expression.flags}`, position.occurrence);
    case "hypercall":
      return withOccurrence(`hypercall:0x${position.function.toString(16)}`, position.occurrence);
    case "snapshot":
      return `snapshot:${position.number}`;
  }
}
