/** Exits of two recordings, aligned by what they are and not by number. */
import type { JournalReader } from "../ports/journal-store.js";
import { eachEventSteps, type EventStep, type SeqRange } from "../event/each-event.js";
import type { EventCursor } from "../event/event-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { EXIT_WORD_COUNT, ExitWord, type ExitFrame, FinishedBy } from "../event/exit-frame.js";
import { parseMachine } from "../machine/machine-description.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { lastOf } from "../replay/steps.js";
import { forwardedExitKey } from "./exit-key.js";
import { diffSequences, type SequenceDiff } from "./sequence-diff.js";

export interface RecordedExit {
  readonly number: number;
  readonly seq: number;
  readonly icount: number;
  readonly frame: ExitFrame;
}

/**
 * By what exits are compared. "reason": all of them, by what the guest did. "vmm": those that reach the VMM half, by what it
 * sees; hosts of two exit models leave guest mode for reasons of their own, at moments of their own.
 */
export type ExitsComparedBy = "reason" | "vmm";

/** The exits of a range that are compared, with their words, in columns. */
export class ExitTable {
  readonly #numbers: number[] = [];
  readonly #seqs: number[] = [];
  readonly #icounts: number[] = [];
  readonly #frames: Uint32Array[] = [];
  readonly #reasons: readonly string[];
  readonly #comparedBy: ExitsComparedBy;

  private constructor({ reader }: DiffSide, comparedBy: ExitsComparedBy) {
    this.#reasons = parseMachine(reader.header.machine).exitModel.reasons;
    this.#comparedBy = comparedBy;
  }

  static *read(side: DiffSide, comparedBy: ExitsComparedBy): Steps<ExitTable> {
    const { reader, range } = side;
    const table = new ExitTable(side, comparedBy);
    yield* eachEventSteps(journalCursor(reader, range.first), range, (cursor) => table.#note(cursor));
    return table;
  }

  #note(cursor: EventCursor): void {
    if (cursor.kind !== HotKind.exited) return;
    if (this.#comparedBy === "vmm" && cursor.exit[ExitWord.finishedBy] !== FinishedBy.vmmHalf) return;
    this.#numbers.push(cursor.exitsBefore + 1);
    this.#seqs.push(cursor.seq);
    this.#icounts.push(cursor.icount);
    this.#frames.push(cursor.exit.slice());
  }

  get length(): number {
    return this.#numbers.length;
  }

  at(index: number): RecordedExit | undefined {
    const [number, seq, icount, frame] = [
      this.#numbers[index],
      this.#seqs[index],
      this.#icounts[index],
      this.#frames[index],
    ];
    if (number === undefined || seq === undefined || icount === undefined || frame === undefined) return undefined;
    return { number, seq, icount, frame };
  }

  /**
   * What makes two exits the same: vCPU, reason by name, and what the guest asked for; not where, nor who answers. By what the
   * VMM sees: vCPU, KVM_EXIT number, and what the guest asked for.
   */
  key(index: number): string {
    const frame = this.#frames[index] ?? new Uint32Array(EXIT_WORD_COUNT);
    if (this.#comparedBy === "vmm") return forwardedExitKey(undefined, frame);
    const reason = this.#reasons[frame[ExitWord.reason] ?? 0] ?? "";
    return `${frame[ExitWord.vcpu]} ${reason} ${frame[ExitWord.info]} ${frame.subarray(ExitWord.arg0Low).join(",")}`;
  }
}

export interface ExitDiff extends SequenceDiff {
  readonly a: ExitTable;
  readonly b: ExitTable;
  /** Exits that are common to both. */
  readonly equal: number;
  readonly comparedBy: ExitsComparedBy;
}

export interface DiffSide {
  readonly reader: JournalReader;
  readonly range: SeqRange;
}

type Steps<Result> = Generator<EventStep | undefined, Result, void>;

/** Aligns them, in steps of some thousand exits, for one who looks up between them. */
export function* diffExitsSteps(sideA: DiffSide, sideB: DiffSide): Steps<ExitDiff> {
  const [modelA, modelB] = [sideA, sideB].map(({ reader }) => parseMachine(reader.header.machine).exitModel.name);
  const comparedBy = modelA === modelB ? "reason" : "vmm";
  const [a, b] = [yield* ExitTable.read(sideA, comparedBy), yield* ExitTable.read(sideB, comparedBy)];
  const numbers = new Map<string, number>();
  const diff = diffSequences(yield* keyNumbers(a, numbers), yield* keyNumbers(b, numbers));
  const removed = diff.hunks.reduce((sum, { countA }) => sum + countA, 0);
  return { ...diff, a, b, equal: a.length - removed, comparedBy };
}

/** Exits between two steps. */
const STEP_EXITS = 4096;

/** The number of each exit's key; `numbers` has those that are known, and gets the others. */
function* keyNumbers(table: ExitTable, numbers: Map<string, number>): Steps<Int32Array> {
  const keys = new Int32Array(table.length);
  for (let index = 0; index < table.length; index++) {
    const key = table.key(index);
    const known = numbers.get(key) ?? numbers.size;
    numbers.set(key, known);
    keys[index] = known;
    if (index % STEP_EXITS === STEP_EXITS - 1) yield undefined;
  }
  return keys;
}

/** All steps in one go. */
export function diffExits(sideA: DiffSide, sideB: DiffSide): ExitDiff {
  return lastOf(diffExitsSteps(sideA, sideB));
}
