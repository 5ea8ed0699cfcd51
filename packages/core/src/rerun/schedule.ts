/** What came from outside while a recording was made, each act with the anchor at which another run does it again. */
import { CONSOLE_PORT } from "../record/input-script.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { CoreKind } from "../event/core-kinds.js";
import { eachEvent } from "../event/each-event.js";
import { HotKind, ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import { GUEST_NANOSECONDS_PER_UNIT } from "../ports/architecture.js";
import type { ControlCommand } from "../ports/control.js";
import type { JournalReader } from "../ports/journal-store.js";
import type { OutsideInput } from "../ports/vmm-half.js";
import { firstSeqOf, journalCursor } from "../replay/journal-cursor.js";
import { AnchorRecorder, type Anchor } from "./anchor.js";

export type OutsideAct =
  | { readonly what: "input"; readonly input: OutsideInput }
  | { readonly what: "command"; readonly command: ControlCommand }
  /** Something that is left out, and still stands for a place in the order of the others. */
  | { readonly what: "nothing" };

export interface ScheduledAct {
  readonly act: OutsideAct;
  readonly anchor: Anchor;
  /** The event that recorded it. */
  readonly seq: number;
}

export interface OutsideActs {
  /** Commands before the guest's first instruction, in order. */
  readonly firstCommands: readonly ControlCommand[];
  /** What came later: inputs and commands, in order. */
  readonly acts: readonly ScheduledAct[];
  /** Guest time at the end of the recording; less than it was where idle time at the end left no event. */
  readonly endNs: number;
}

export function commandOf(row: RowEvent): ControlCommand {
  const fields = new PayloadFields(`event:${row.seq} ${row.kind}`, row.payload);
  const command = fields.map("command");
  return { ...command, name: new PayloadFields("command", command).string("name") };
}

/**
 * Guest time at an event. Exact behind each event that says it; between two of them what the guest ran counts,
 * and idle time that it skipped by its own timers does not.
 */
class GuestClock {
  #icount = 0;
  #timeNs = 0;
  #lastActNs = 0;

  at(icount: number): number {
    return this.#timeNs + (icount - this.#icount) * GUEST_NANOSECONDS_PER_UNIT;
  }

  is(icount: number, timeNs: number): void {
    if (timeNs < this.at(icount)) return;
    this.#icount = icount;
    this.#timeNs = timeNs;
  }

  /** Time since the act before. `sinceInputNs`: what the event itself says, of the input before. */
  act(icount: number): number {
    const now = this.at(icount);
    const since = now - this.#lastActNs;
    this.#lastActNs = now;
    return since;
  }
}

/** As `firstCommands` of `outsideActs`, without reading on: a recording may hold a million exits behind them. */
export function firstCommandsOf(reader: JournalReader): ControlCommand[] {
  const commands: ControlCommand[] = [];
  const first = firstSeqOf(reader);
  eachEvent(journalCursor(reader, first), { first, last: reader.end.firstSeq - 1 }, (cursor) => {
    if (cursor.icount > 0) return false;
    if (cursor.kind === ROW_EVENT && cursor.row.kind === CoreKind.operatorCommanded.name)
      commands.push(commandOf(cursor.row));
    return true;
  });
  return commands;
}

/** Reads a recording through. Throws PayloadError for an event that is not as it should be. */
export function outsideActs(reader: JournalReader): OutsideActs {
  const acts: ScheduledAct[] = [];
  const anchors = new AnchorRecorder();
  const clock = new GuestClock();
  let lastInputNs = 0;
  const note = (row: RowEvent): void => {
    const fields = new PayloadFields(`event:${row.seq} ${row.kind}`, row.payload);
    const { seq, icount } = row;
    if (row.kind === CoreKind.idleEnded.name || row.kind === CoreKind.hostWaited.name)
      clock.is(icount, fields.number("untilNs"));
    else if (row.kind === CoreKind.inputReceived.name) {
      lastInputNs += fields.number("sinceInputNs");
      clock.is(icount, lastInputNs);
      const port = fields.number("port");
      const input = { port, bytes: fields.bytes("bytes") };
      acts.push({ act: { what: "input", input }, anchor: anchors.act(port, clock.act(icount)), seq });
    } else if (row.kind === CoreKind.operatorCommanded.name && icount > 0) {
      const command = commandOf(row);
      acts.push({ act: { what: "command", command }, anchor: anchors.act(CONSOLE_PORT, clock.act(icount)), seq });
    }
  };
  const first = firstSeqOf(reader);
  eachEvent(journalCursor(reader, first), { first, last: reader.end.firstSeq - 1 }, (cursor) => {
    if (cursor.kind === HotKind.outputProduced) anchors.noteOutput(cursor.outputPort, cursor.outputBytes);
    else if (cursor.kind === ROW_EVENT) note(cursor.row);
  });
  const { end } = reader;
  for (const { icount, guestTimeNs } of reader.snapshots()) clock.is(icount, guestTimeNs);
  return { firstCommands: firstCommandsOf(reader), acts, endNs: clock.at(end.icount) };
}
