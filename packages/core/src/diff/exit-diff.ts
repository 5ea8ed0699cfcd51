/** Exits of two recordings, aligned by what they are and not by number. */
import type { JournalReader } from "../ports/journal-store.js";
import { eachEvent, type SeqRange } from "../event/each-event.js";
import { HotKind } from "../event/event-kind.js";
import { EXIT_WORD_COUNT, ExitWord, type ExitFrame, FinishedBy } from "../event/exit-frame.js";
import { parseMachine } from "../machine/machine-description.js";
import { journalCursor } from "../replay/journal-cursor.js";
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

  constructor({ reader, range }: DiffSide, comparedBy: ExitsComparedBy) {
    this.#reasons = parseMachine(reader.header.machine).exitModel.reasons;
    this.#comparedBy = comparedBy;
    eachEvent(journalCursor(reader, range.first), range, (cursor) => {
      if (cursor.kind !== HotKind.exited) return;
      if (comparedBy === "vmm" && cursor.exit[ExitWord.finishedBy] !== FinishedBy.vmmHalf) return;
      this.#numbers.push(cursor.exitsBefore + 1);
      this.#seqs.push(cursor.seq);
      this.#icounts.push(cursor.icount);
      this.#frames.push(cursor.exit.slice());
    });
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

export function diffExits(sideA: DiffSide, sideB: DiffSide): ExitDiff {
  const [modelA, modelB] = [sideA, sideB].map(({ reader }) => parseMachine(reader.header.machine).exitModel.name);
  const comparedBy = modelA === modelB ? "reason" : "vmm";
  const [a, b] = [new ExitTable(sideA, comparedBy), new ExitTable(sideB, comparedBy)];
  const numbers = new Map<string, number>();
  const intern = (table: ExitTable): Int32Array => {
    const keys = new Int32Array(table.length);
    for (let index = 0; index < table.length; index++) {
      const key = table.key(index);
      const known = numbers.get(key) ?? numbers.size;
      numbers.set(key, known);
      keys[index] = known;
    }
    return keys;
  };
  const diff = diffSequences(intern(a), intern(b));
  const removed = diff.hunks.reduce((sum, { countA }) => sum + countA, 0);
  return { ...diff, a, b, equal: a.length - removed, comparedBy };
}
