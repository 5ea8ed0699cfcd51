/** What the handlers of a VM have answered its guest, function by function: what another handler may answer differently. */
import { CoreKind } from "../event/core-kinds.js";
import { eachEvent } from "../event/each-event.js";
import { HotKind, ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import { type ExitFrame, ExitWord, KvmExit } from "../event/exit-frame.js";
import type { JournalReader } from "../ports/journal-store.js";
import { firstSeqOf, journalCursor } from "../replay/journal-cursor.js";

export interface AnsweredFunction {
  /** The function identifier, or the code of a call of Hyper-V's. */
  readonly number: number;
  readonly count: number;
  /** Of the last answer that set a register, or of the first call where none did. */
  readonly exitNumber: number;
  /** Registers of the last answer, in order; "result": what the exit was completed with. */
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

/** KVM_EXIT_HYPERV_SYNIC and _SYNDBG are no calls. */
const HYPERV_CALL_TYPES: ReadonlySet<number> = new Set([2, 4]);
const HYPERV_CODE_MASK = 0xffff;

/** undefined: the exit is no call that the VMM answers. */
function calledFunction(frame: ExitFrame): number | undefined {
  const number = frame[ExitWord.arg0Low] ?? 0;
  switch (frame[ExitWord.kvmExit]) {
    case KvmExit.hypercall:
    case KvmExit.xen:
      return number;
    case KvmExit.hyperv:
      return HYPERV_CALL_TYPES.has(frame[ExitWord.info] ?? 0) ? number & HYPERV_CODE_MASK : undefined;
    default:
      return undefined;
  }
}

class AnswersByFunction {
  readonly #functions = new Map<number, CalledFunction>();
  readonly #pendingExit: number | undefined;
  #open: OpenCall | undefined;

  constructor(pendingExit: number | undefined) {
    this.#pendingExit = pendingExit;
  }

  exit(frame: ExitFrame, exitNumber: number): void {
    this.#open = undefined;
    const number = exitNumber === this.#pendingExit ? undefined : calledFunction(frame);
    if (number === undefined) return;
    const called = this.#functions.get(number) ?? { count: 0, exitNumber, registers: new Map() };
    this.#functions.set(number, called);
    called.count += 1;
    this.#open = { called, vcpu: frame[ExitWord.vcpu] ?? 0, exitNumber };
  }

  row({ kind, vcpu, payload: { name, value } }: RowEvent): void {
    if (kind === CoreKind.registerSet.name && vcpu === this.#open?.vcpu && typeof value === "bigint")
      this.#answered(String(name), value);
  }

  completed({ low, high }: { readonly low: number; readonly high: number }): void {
    this.#answered("result", (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0));
  }

  #answered(name: string, value: bigint): void {
    if (this.#open === undefined) return;
    const { called, exitNumber } = this.#open;
    // A call whose answer sets no register hides no earlier one.
    if (called.exitNumber !== exitNumber) called.registers = new Map();
    called.exitNumber = exitNumber;
    called.registers.set(name, value);
  }

  /** Those that the guest called most first. */
  get all(): AnsweredFunction[] {
    return [...this.#functions]
      .map(([number, called]) => ({ ...called, number, registers: [...called.registers] }))
      .sort((a, b) => b.count - a.count || a.number - b.number);
  }
}

/** Of all calls that were forwarded in this recording, but for the one of exit `pendingExit`, which has no answer yet. */
export function handlerAnswers(reader: JournalReader, pendingExit?: number): AnsweredFunction[] {
  const answers = new AnswersByFunction(pendingExit);
  const first = firstSeqOf(reader);
  eachEvent(journalCursor(reader, first), { first, last: Infinity }, (cursor) => {
    if (cursor.kind === HotKind.exited) answers.exit(cursor.exit, cursor.exitsBefore + 1);
    else if (cursor.kind === HotKind.exitCompleted) answers.completed(cursor.completed);
    else if (cursor.kind === ROW_EVENT) answers.row(cursor.row);
  });
  return answers.all;
}
