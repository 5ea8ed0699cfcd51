/** What the handlers of a VM have answered its guest, function by function: what another handler may answer differently. */
import { CoreKind } from "../event/core-kinds.js";
import { eachEvent } from "../event/each-event.js";
import { HotKind, ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import { type ExitFrame, ExitWord, KvmExit } from "../event/exit-frame.js";
import type { JournalReader } from "../ports/journal-store.js";
import { firstSeqOf, journalCursor } from "../replay/journal-cursor.js";

export interface AnsweredFunction {
  /** The function identifier. */
  readonly number: number;
  readonly count: number;
  /** Of the last answer, or of the first call where no register has been set yet. */
  readonly exitNumber: number;
  /** Registers of the last answer, in order. */
  readonly registers: readonly (readonly [name: string, value: bigint])[];
}

interface CalledFunction {
  count: number;
  exitNumber: number;
  registers: Map<string, bigint>;
}

interface OpenCall {
  readonly called: CalledFunction;
  readonly vcpu: number;
  readonly exitNumber: number;
}

class AnswersByFunction {
  readonly #functions = new Map<number, CalledFunction>();
  #open: OpenCall | undefined;

  exit(frame: ExitFrame, exitNumber: number): void {
    this.#open = undefined;
    if (frame[ExitWord.kvmExit] !== KvmExit.hypercall) return;
    const number = frame[ExitWord.arg0Low] ?? 0;
    const called = this.#functions.get(number) ?? { count: 0, exitNumber, registers: new Map() };
    this.#functions.set(number, called);
    called.count += 1;
    this.#open = { called, vcpu: frame[ExitWord.vcpu] ?? 0, exitNumber };
  }

  row({ kind, vcpu, payload: { name, value } }: RowEvent): void {
    const open = this.#open;
    if (kind !== CoreKind.registerSet.name || vcpu !== open?.vcpu || typeof value !== "bigint") return;
    const { called, exitNumber } = open;
    // A call that waits for its answer hides no earlier one.
    if (called.exitNumber !== exitNumber) called.registers = new Map();
    called.exitNumber = exitNumber;
    called.registers.set(String(name), value);
  }

  /** Those that the guest called most first. */
  get all(): AnsweredFunction[] {
    return [...this.#functions]
      .map(([number, called]) => ({ ...called, number, registers: [...called.registers] }))
      .sort((a, b) => b.count - a.count || a.number - b.number);
  }
}

/** Of all calls that were forwarded in this recording. */
export function handlerAnswers(reader: JournalReader): AnsweredFunction[] {
  const answers = new AnswersByFunction();
  const first = firstSeqOf(reader);
  eachEvent(journalCursor(reader, first), { first, last: Infinity }, (cursor) => {
    if (cursor.kind === HotKind.exited) answers.exit(cursor.exit, cursor.exitsBefore + 1);
    else if (cursor.kind === ROW_EVENT) answers.row(cursor.row);
  });
  return answers.all;
}
