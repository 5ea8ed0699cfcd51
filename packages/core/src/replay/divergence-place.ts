/** Where a machine and its recording part, in words. */
import type { JournalReader } from "../ports/journal-store.js";
import { NO_EVENT, type EventCursor } from "../event/event-cursor.js";
import { CoreKind } from "../event/core-kinds.js";
import { HotKind, ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import { ExitWord } from "../event/exit-frame.js";
import type { Machine } from "../machine/machine.js";
import { toHex } from "../memory/page-hash.js";
import { DivergenceError, type DivergenceReport } from "./divergence.js";

export function describeAnswer(low: number, high: number): string {
  return `answer 0x${((BigInt(high) << 32n) | BigInt(low)).toString(16)}`;
}

/** What an event without a form of its own says, as far as a line of a divergence tells it. */
export function describeRow({ kind, vcpu, payload }: Pick<RowEvent, "kind" | "vcpu" | "payload">): string {
  const { name, value } = payload;
  const isRegister = kind === CoreKind.registerSet.name && typeof name === "string" && typeof value === "bigint";
  return isRegister ? `${kind} vcpu${vcpu} ${name} <- 0x${value.toString(16)}` : kind;
}

/** The event that a cursor stands at, in one line. */
export function describeRecorded(cursor: EventCursor, machine: Machine): string {
  switch (cursor.kind) {
    case HotKind.exited:
      return `${machine.architecture.describeExit(machine.exitModel, cursor.exit)} at icount:${cursor.icount}`;
    case HotKind.exitHandled:
      return describeAnswer(cursor.handled.low, cursor.handled.high);
    case HotKind.exitCompleted:
      return describeAnswer(cursor.completed.low, cursor.completed.high);
    case HotKind.outputProduced:
      return `output to port ${cursor.outputPort}: ${toHex(cursor.outputBytes)} at icount:${cursor.icount}`;
    case HotKind.irqLineSet:
      return `irq line ${cursor.irqLine.line} <- ${cursor.irqLine.level} at icount:${cursor.icount}`;
    case HotKind.digested:
      return `digest sha256:${toHex(cursor.digest)}`;
    case ROW_EVENT:
      return `${describeRow(cursor.row)} at icount:${cursor.icount}`;
    case NO_EVENT:
      return "the end of the recording";
    default:
      return `event:${cursor.seq} of code ${cursor.kind}`;
  }
}

export interface DivergenceSides {
  readonly machine: Machine;
  readonly reader: JournalReader;
  readonly cursor: EventCursor;
  readonly lastEqualDigest: DivergenceReport["lastEqualDigest"];
}

export function divergenceAt(
  sides: DivergenceSides,
  what: Pick<DivergenceReport, "replayed" | "cause" | "differences">,
): DivergenceError {
  const { machine, reader, cursor, lastEqualDigest } = sides;
  const { kernel } = machine;
  const vcpu = machine.exitPending ? (kernel.exit[ExitWord.vcpu] ?? 0) : (kernel.currentVcpu ?? 0);
  return new DivergenceError({
    ...what,
    place: {
      seq: cursor.seq,
      exitNumber: machine.exitNumber,
      icount: machine.icount,
      vcpu,
      pc: kernel.readRegister(vcpu, "pc"),
    },
    recorded: describeRecorded(cursor, machine),
    lastEqualDigest,
    recordedRevision: reader.header.architectureRevision,
    replayedRevision: machine.architecture.revision,
  });
}
