/** Exits of two recordings, aligned by what they are and not by number. */
import type { Architecture } from "../ports/architecture.js";
import type { JournalReader } from "../ports/journal-store.js";
import { eachEventSteps, type EventStep, type SeqRange } from "../event/each-event.js";
import type { EventCursor } from "../event/event-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { EXIT_WORD_COUNT, ExitWord, type ExitFrame, FinishedBy } from "../event/exit-frame.js";
import { HYPERCALL_REASONS } from "../event/kvm-exit-names.js";
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
 * sees; hosts of two vendors, or of two exit models, leave guest mode for reasons of their own, at moments of their own.
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

  private constructor(reasons: readonly string[], comparedBy: ExitsComparedBy) {
    this.#reasons = reasons;
    this.#comparedBy = comparedBy;
  }

  /** All of them, to be compared by reason. */
  static *read({ reader, range }: DiffSide): Steps<ExitTable> {
    const table = new ExitTable(parseMachine(reader.header.machine).exitModel.reasons, "reason");
    yield* eachEventSteps(journalCursor(reader, range.first), range, (cursor) => table.#note(cursor));
    return table;
  }

  #note(cursor: EventCursor): void {
    if (cursor.kind !== HotKind.exited) return;
    this.#add({
      number: cursor.exitsBefore + 1,
      seq: cursor.seq,
      icount: cursor.icount,
      frame: cursor.exit.slice(),
    });
  }

  #add({ number, seq, icount, frame }: RecordedExit): void {
    this.#numbers.push(number);
    this.#seqs.push(seq);
    this.#icounts.push(icount);
    this.#frames.push(frame);
  }

  /** Those that reach the VMM half, to be compared by what it sees. */
  forwarded(): ExitTable {
    const table = new ExitTable(this.#reasons, "vmm");
    for (let index = 0; index < this.length; index++) {
      const exit = this.at(index);
      if (exit?.frame[ExitWord.finishedBy] === FinishedBy.vmmHalf) table.#add(exit);
    }
    return table;
  }

  /** Rows of the exit model that occur. */
  rows(): ReadonlySet<number> {
    return new Set(this.#frames.map((frame) => frame[ExitWord.reason] ?? 0));
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
    // Of a call it tells how the VMM half is asked, which goes by who answers.
    const info = HYPERCALL_REASONS.has(reason) ? "" : frame[ExitWord.info];
    return `${frame[ExitWord.vcpu]} ${reason} ${info} ${frame.subarray(ExitWord.arg0Low).join(",")}`;
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
  readonly architecture: Architecture;
  readonly reader: JournalReader;
  readonly range: SeqRange;
}

type Steps<Result> = Generator<EventStep | undefined, Result, void>;

/** Aligns them, in steps of some thousand exits, for one who looks up between them. */
export function* diffExitsSteps(sideA: DiffSide, sideB: DiffSide): Steps<ExitDiff> {
  const [allA, allB] = [yield* ExitTable.read(sideA), yield* ExitTable.read(sideB)];
  const isByReason = haveReasonsInCommon([sideA, allA], [sideB, allB]);
  const [a, b] = isByReason ? [allA, allB] : [allA.forwarded(), allB.forwarded()];
  const numbers = new Map<string, number>();
  const diff = diffSequences(yield* keyNumbers(a, numbers), yield* keyNumbers(b, numbers));
  const removed = diff.hunks.reduce((sum, { countA }) => sum + countA, 0);
  return { ...diff, a, b, equal: a.length - removed, comparedBy: isByReason ? "reason" : "vmm" };
}

type ReadSide = readonly [side: DiffSide, exits: ExitTable];

/** Whether the hosts of all these exits name them alike: a VM that has moved leaves by rows of its exit model that are another vendor's. */
function haveReasonsInCommon(...sides: readonly [ReadSide, ReadSide]): boolean {
  const models = sides.map(([{ reader }]) => parseMachine(reader.header.machine).exitModel);
  if (models[0]?.name !== models[1]?.name) return false;
  const vendors = sides.flatMap(([{ architecture }, exits], index) => {
    const model = models[index];
    return model === undefined ? [] : [...exits.rows()].map((row) => architecture.vendorOfExit?.(model, row));
  });
  return new Set(vendors.filter((vendor) => vendor !== undefined)).size <= 1;
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
