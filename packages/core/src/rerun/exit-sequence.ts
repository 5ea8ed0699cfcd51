/** The exits that reach the VMM half, of a recording and of a run that may differ: the same ones, with the same arguments? */
import type { EventCursor } from "../event/event-cursor.js";
import { NO_EVENT } from "../event/event-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { ExitWord, FinishedBy, type ExitFrame } from "../event/exit-frame.js";
import { parseMachine } from "../machine/machine-description.js";
import type { JournalReader } from "../ports/journal-store.js";
import { firstSeqOf, journalCursor } from "../replay/journal-cursor.js";
import { endingOf, type RecordingEnding } from "../record/go-on.js";
import type { RecordedExit } from "../diff/exit-diff.js";
import { forwardedExitKey } from "../diff/exit-key.js";

/** Reads a recording's exits that reached the VMM half, one after the other. */
export class ForwardedExits {
  readonly #cursor: EventCursor;
  readonly #reasons: readonly string[];
  /** Name of its exit model. */
  readonly model: string;

  constructor(reader: JournalReader) {
    this.#cursor = journalCursor(reader, firstSeqOf(reader));
    const { name, reasons } = parseMachine(reader.header.machine).exitModel;
    this.model = name;
    this.#reasons = reasons;
  }

  /** undefined: there is none any more. The frame lasts. */
  next(): RecordedExit | undefined {
    const cursor = this.#cursor;
    for (; cursor.kind !== NO_EVENT; cursor.next()) {
      if (cursor.kind !== HotKind.exited || cursor.exit[ExitWord.finishedBy] !== FinishedBy.vmmHalf) continue;
      const { seq, icount } = cursor;
      const exit = { number: cursor.exitsBefore + 1, seq, icount, frame: cursor.exit.slice() };
      cursor.next();
      return exit;
    }
    return undefined;
  }

  /** `model`: name of the exit model of what it is compared with; undefined: of runs that have different ones. */
  key({ frame }: Pick<RecordedExit, "frame">, model: string | undefined): string {
    const reason = this.model === model ? (this.#reasons[frame[ExitWord.reason] ?? 0] ?? "") : undefined;
    return forwardedExitKey(reason, frame);
  }
}

/** What of a machine the comparison looks at. */
export interface ComparedMachine {
  readonly exitNumber: number;
  readonly icount: number;
  readonly exitModel: { readonly name: string; readonly reasons: readonly { readonly name: string }[] };
  readonly kernel: { readonly exit: ExitFrame };
}

/** Of the exit that a run stands at; `model` as for `ForwardedExits.key`. */
export function comparedExitKey(
  { kernel: { exit }, exitModel }: Pick<ComparedMachine, "kernel" | "exitModel">,
  model: string | undefined,
): string {
  const reason = exitModel.reasons[exit[ExitWord.reason] ?? 0]?.name ?? "";
  return forwardedExitKey(exitModel.name === model ? reason : undefined, exit);
}

/** Where the two first part: an exit of either side, undefined where that side has come to its end. */
export interface ExitSequenceDifference {
  readonly recorded: RecordedExit | undefined;
  readonly now: Omit<RecordedExit, "seq"> | undefined;
}

export class ExitSequenceComparison {
  readonly #recorded: ForwardedExits;
  readonly #ending: RecordingEnding;
  #next: RecordedExit | undefined;
  /** Exits that were equal. */
  equal = 0;
  /** The recorded one of the last that were. */
  lastEqual: RecordedExit | undefined;
  difference: ExitSequenceDifference | undefined;

  constructor(reader: JournalReader) {
    this.#recorded = new ForwardedExits(reader);
    this.#next = this.#recorded.next();
    this.#ending = endingOf(reader);
  }

  /** How the recorded guest itself ended; undefined: its host ended the recording. */
  get recordedStop(): RecordingEnding["stop"] {
    return this.#ending.stop?.byGuest === true ? this.#ending.stop : undefined;
  }

  /** Whether all that was recorded has been equal, and its host, not its guest, ended it there. */
  get isOver(): boolean {
    return this.#next === undefined && this.recordedStop === undefined && this.difference === undefined;
  }

  /** At each exit of the run, before it is answered. True: nothing that is still to come can change the answer. */
  atExit({ kernel, exitNumber, icount, exitModel }: ComparedMachine): boolean {
    const frame = kernel.exit;
    if (this.difference !== undefined || this.isOver) return true;
    if (frame[ExitWord.finishedBy] !== FinishedBy.vmmHalf) return false;
    const recorded = this.#next;
    const key = comparedExitKey({ kernel, exitModel }, this.#recorded.model);
    if (recorded === undefined || this.#recorded.key(recorded, exitModel.name) !== key) {
      this.difference = { recorded, now: { number: exitNumber, icount, frame: frame.slice() } };
      return true;
    }
    this.equal += 1;
    this.lastEqual = recorded;
    this.#next = this.#recorded.next();
    return this.isOver;
  }

  /** The run has ended: exits that are missing, and another end than the recorded guest's own, are differences too. */
  end(what: string): void {
    if (this.difference !== undefined || this.isOver) return;
    const isSameEnd = this.recordedStop === undefined || this.recordedStop.what === what;
    if (this.#next !== undefined || !isSameEnd) this.difference = { recorded: this.#next, now: undefined };
  }
}
