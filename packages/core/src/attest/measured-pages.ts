/**
 * Measured pages: what they held at one moment, what they hold at a later one, and who wrote to them in between.
 *
 * One replay looks at the measured pages that were written behind every answer and every event. Where the guest's own
 * instructions wrote, the stretch between two events is run again with those pages watched, so that the instruction is named.
 */
import type { BisectMoment } from "../bisect/bisect-when.js";
import { type BisectWriter, eventWriter } from "../bisect/event-writer.js";
import { CoreKind } from "../event/core-kinds.js";
import { ROW_EVENT } from "../event/event-kind.js";
import type { Goal } from "../machine/goal.js";
import type { Machine } from "../machine/machine.js";
import { sameBytes } from "../memory/page-hash.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import { machinePosition } from "../position/print-position.js";
import { journalCursor } from "../replay/journal-cursor.js";
import type { AdvanceResult, Replayer } from "../replay/replayer.js";
import { seek } from "../replay/seek.js";

/** Bytes that a change left at the first place where the page differs from what it was. */
export interface ChangedBytes {
  /** Guest-physical. */
  readonly physical: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

export interface PageChange {
  readonly moment: BisectMoment;
  readonly writer: BisectWriter;
  /** Of an instruction: its text, read where it ran. */
  readonly instruction?: string;
  readonly bytes: ChangedBytes;
}

export interface MeasuredPage {
  /** Guest-physical address of its first byte. */
  readonly physical: number;
  /** SHA-256, 32 bytes, at the earlier and at the later moment. */
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  /** How many stretches from one event to the next, and events, changed it. */
  readonly changes: number;
  readonly first: PageChange | undefined;
  /** undefined where there was one change only. */
  readonly last: PageChange | undefined;
}

export interface MeasureOptions {
  readonly replayer: Replayer;
  /** Guest-physical addresses of whole pages in RAM, ascending. */
  readonly pages: readonly number[];
  readonly since: Goal;
  /** The later moment. */
  readonly at: Goal;
}

/** What a change shows of the bytes around its first difference. */
const SHOWN_BYTES_MAX = 8;

/** A change as the first pass sees it. */
interface Sighting {
  readonly page: number;
  /** The event behind which it was seen; what the guest did before that event is a part of it. */
  readonly seq: number;
  /** undefined: the guest ran meanwhile, and the second pass tells. */
  readonly change: PageChange | undefined;
}

interface PageHistory {
  readonly before: Uint8Array;
  /** As last seen. */
  content: Uint8Array;
  changes: number;
  first: Sighting | undefined;
  last: Sighting | undefined;
}

class Measurement {
  readonly #options: MeasureOptions;
  readonly #replayer: Replayer;
  readonly #histories = new Map<number, PageHistory>();

  constructor(options: MeasureOptions) {
    this.#options = options;
    this.#replayer = options.replayer;
  }

  *run(): Generator<Machine, { readonly pages: MeasuredPage[]; readonly result: AdvanceResult }> {
    const { since, at, pages, replayer } = this.#options;
    seek(replayer, since);
    for (const page of pages) {
      const content = this.#content(page);
      this.#histories.set(page, { before: content, content, changes: 0, first: undefined, last: undefined });
    }
    replayer.machine.kernel.memory.takeDirtyPages("migration");
    const result = yield* this.#scan(at);
    const after = new Map(pages.map((page) => [page, this.#content(page)]));
    yield* this.#nameWriters();
    return { pages: pages.map((page) => this.#measured(page, after.get(page))), result };
  }

  #measured(page: number, after: Uint8Array = new Uint8Array(PAGE_BYTES)): MeasuredPage {
    const { digester } = this.#replayer.machine;
    const history = this.#history(page);
    return {
      physical: page,
      before: digester.sha256(history.before),
      after: digester.sha256(after),
      changes: history.changes,
      first: history.first?.change,
      last: history.changes > 1 ? history.last?.change : undefined,
    };
  }

  #history(page: number): PageHistory {
    const found = this.#histories.get(page);
    if (found === undefined) throw new RangeError(`page 0x${page.toString(16)} is not measured`);
    return found;
  }

  #content(page: number): Uint8Array {
    return this.#replayer.machine.kernel.memory.read(page, PAGE_BYTES);
  }

  /** To the later moment, looking behind each answer and each event. */
  *#scan(at: Goal): Generator<Machine, AdvanceResult> {
    const replayer = this.#replayer;
    for (;;) {
      const { machine, nextSeq: seq } = replayer;
      const { exitPending, exitNumber, icount } = machine;
      const step: Goal = exitPending ? { exitNumber, unitsAfter: 0, seq } : { seq };
      const result = replayer.advance(earlier(step, at));
      this.#note(seq, exitPending ? exitNumber : undefined, machine.icount > icount);
      yield machine;
      if (result === "end" || this.#isThere(at)) return result;
    }
  }

  #isThere(at: Goal): boolean {
    const { machine, nextSeq } = this.#replayer;
    if (at.seq !== undefined && nextSeq > at.seq) return true;
    if (at.icount !== undefined && machine.icount >= at.icount) return true;
    if (at.guestTimeNs !== undefined && machine.guestTimeNs >= at.guestTimeNs) return true;
    if (at.exitNumber === undefined || machine.exitNumber < at.exitNumber) return false;
    if (at.unitsAfter === undefined || machine.exitNumber > at.exitNumber) return true;
    return !machine.exitPending && machine.icount >= machine.answeredIcount + at.unitsAfter;
  }

  /** Notes which measured pages differ from how they were last seen. */
  #note(seq: number, answered: number | undefined, hasRun: boolean): void {
    const { memory } = this.#replayer.machine.kernel;
    for (const index of memory.takeDirtyPages("migration")) {
      const page = memory.base + index * PAGE_BYTES;
      const history = this.#histories.get(page);
      if (history === undefined) continue;
      const content = this.#content(page);
      if (sameBytes(content, history.content)) continue;
      const change = hasRun && answered === undefined ? undefined : this.#changeBy(seq, answered, page, content);
      history.content = content;
      history.changes += 1;
      history.last = { page, seq, change };
      history.first ??= history.last;
    }
  }

  /** By an event, or by what finished the exit that was pending before it. */
  #changeBy(seq: number, answered: number | undefined, page: number, content: Uint8Array): PageChange {
    const { reader, nextSeq } = this.#replayer;
    const patch = patchNear(reader, seq, page);
    const event = patch ?? (nextSeq > seq ? eventWriter(reader, seq) : undefined);
    const byAnswer: BisectWriter | undefined =
      answered === undefined ? undefined : { by: "answer", exitNumber: answered };
    const writer = event?.by === "event" ? event : (byAnswer ?? event ?? eventWriter(reader, seq));
    return { moment: this.#moment(), writer, bytes: changedBytes(page, this.#history(page).content, content) };
  }

  #moment(): BisectMoment {
    const { machine, nextSeq } = this.#replayer;
    const { exitNumber, icount, guestTimeNs } = machine;
    return { position: machinePosition(machine), seq: nextSeq - 1, exitNumber, icount, guestTimeNs };
  }

  /** The second pass: each stretch in which the guest wrote, in order, so that the replay need not go back. */
  *#nameWriters(): Generator<Machine, void> {
    const stretches = new Map<number, Set<number>>();
    const wanted = [...this.#histories.values()].flatMap(({ first, last }) => [first, last]);
    for (const sighting of wanted) {
      if (sighting === undefined || sighting.change !== undefined) continue;
      const pages = stretches.get(sighting.seq) ?? new Set();
      stretches.set(sighting.seq, pages.add(sighting.page));
    }
    for (const [seq, pages] of [...stretches].sort(([a], [b]) => a - b)) {
      this.#nameWritersBefore(seq, pages);
      yield this.#replayer.machine;
    }
    this.#replayer.machine.kernel.watch?.(0, 0);
  }

  #nameWritersBefore(seq: number, pages: Set<number>): void {
    const replayer = this.#replayer;
    seek(replayer, { seq: seq - 1 });
    const { machine } = replayer;
    const { exitPending, exitNumber } = machine;
    if (exitPending) replayer.advance({ exitNumber, unitsAfter: 0, seq });
    const contents = new Map([...pages].map((page) => [page, this.#content(page)]));
    this.#watch(pages);
    let result: AdvanceResult = "watch";
    while (result === "watch" && contents.size > 0) {
      result = replayer.advance({ seq });
      const cause = result === "watch" ? instructionCause(replayer) : { writer: eventWriter(replayer.reader, seq) };
      const written = result === "watch" ? pagesWritten(replayer) : [...contents.keys()];
      for (const page of written) {
        const before = contents.get(page);
        const content = before === undefined ? undefined : this.#content(page);
        if (before === undefined || content === undefined || sameBytes(content, before)) continue;
        contents.delete(page);
        // A page is written by many instructions in a row, and only the first is asked for.
        machine.kernel.unwatch?.(page, PAGE_BYTES);
        this.#name(seq, page, { moment: this.#moment(), ...cause, bytes: changedBytes(page, before, content) });
      }
    }
    machine.kernel.watch?.(0, 0);
  }

  /** Those pages, of all between the first and the last of them. */
  #watch(pages: ReadonlySet<number>): void {
    const { kernel } = this.#replayer.machine;
    const sorted = [...pages].sort((a, b) => a - b);
    const [start = 0] = sorted;
    kernel.watch?.(start, (sorted.at(-1) ?? start) + PAGE_BYTES - start);
    for (const [index, page] of sorted.entries()) {
      const end = page + PAGE_BYTES;
      const next = sorted[index + 1] ?? end;
      if (next > end) kernel.unwatch?.(end, next - end);
    }
  }

  #name(seq: number, page: number, change: PageChange): void {
    const history = this.#history(page);
    if (history.first?.seq === seq && history.first.change === undefined) history.first = { page, seq, change };
    if (history.last?.seq === seq && history.last.change === undefined) history.last = { page, seq, change };
  }
}

/** Whichever of two goals comes first; a step to an event or an answer is the shorter unless the goal is on the way. */
function earlier(step: Goal, { seq, icount, guestTimeNs, exitNumber, unitsAfter }: Goal): Goal {
  const seqs = [step.seq, seq].filter((each) => each !== undefined);
  return {
    ...step,
    ...(seqs.length > 0 && { seq: Math.min(...seqs) }),
    ...(icount !== undefined && { icount }),
    ...(guestTimeNs !== undefined && { guestTimeNs }),
    ...(step.exitNumber === undefined && exitNumber !== undefined && { exitNumber }),
    ...(step.exitNumber === undefined && unitsAfter !== undefined && { unitsAfter }),
  };
}

/** What the kernel half wrote over in finishing an exit stands right behind it. */
function patchNear(reader: Replayer["reader"], seq: number, page: number): BisectWriter | undefined {
  for (const each of [seq, seq + 1]) {
    const cursor = journalCursor(reader, each);
    if (cursor.kind !== ROW_EVENT || cursor.row.kind !== CoreKind.codePatched.name) continue;
    const { gpa, new: bytes } = cursor.row.payload;
    if (typeof gpa !== "number" || !(bytes instanceof Uint8Array)) continue;
    if (gpa + bytes.length > page && gpa < page + PAGE_BYTES) return { by: "event", seq: each, kind: cursor.row.kind };
  }
  return undefined;
}

function instructionCause({ machine: { kernel } }: Replayer): Pick<PageChange, "writer" | "instruction"> {
  const report = kernel.watchReport;
  if (report === undefined) throw new RangeError("the kernel half stopped for a watch and does not say why");
  const { vcpu, pc, physical, bytes } = report;
  const [code] = kernel.disassemble(vcpu, pc, 1);
  const writer: BisectWriter = { by: "instruction", vcpu, pc, written: { physical, bytes } };
  return { writer, ...(code && { instruction: code.text }) };
}

/** The pages that the last watched instruction wrote to; one access may lie on two. */
function pagesWritten({ machine: { kernel } }: Replayer): number[] {
  const { physical = 0, bytes = 0 } = kernel.watchReport ?? {};
  const first = physical - (physical % PAGE_BYTES);
  return physical + bytes > first + PAGE_BYTES ? [first, first + PAGE_BYTES] : [first];
}

function changedBytes(page: number, before: Uint8Array, after: Uint8Array): ChangedBytes {
  const first = before.findIndex((byte, index) => byte !== after[index]);
  const window = before.subarray(first, first + SHOWN_BYTES_MAX);
  const length = window.findLastIndex((byte, index) => byte !== after[first + index]) + 1;
  return {
    physical: page + first,
    before: before.slice(first, first + length),
    after: after.slice(first, first + length),
  };
}

/**
 * Stands at the later moment, or somewhere before it where writers had to be looked for; `result` is "end" where the recording
 * has no such moment. Yields the machine between two steps. Throws RangeError for a page outside RAM, DivergenceError.
 */
export function measurePagesSteps(
  options: MeasureOptions,
): Generator<Machine, { readonly pages: readonly MeasuredPage[]; readonly result: AdvanceResult }> {
  return new Measurement(options).run();
}
