/**
 * When did it become so? The first moment at which an expression holds, exactly.
 *
 * A predicate over registers and memory is not monotone, so halving would lie. One replay asks it behind every event; memory that
 * it reads is watched meanwhile, so a value that comes and goes between two exits is found too. Where something else than
 * watched memory made it true, the stretch between the two events is run again unit by unit. What reads registers is asked
 * behind every unit in the first place.
 */
import type { SymbolTable } from "../ports/symbols.js";
import { NO_EVENT } from "../event/event-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { Evaluator, type SeenChange } from "../expression/evaluate.js";
import { JournalEnvironment } from "../expression/journal-environment.js";
import type { LastPlaces } from "../expression/last-places.js";
import { MachineEnvironment, physicalPlace } from "../expression/machine-environment.js";
import {
  alternatives,
  comparesMoments,
  type MemoryLoad,
  type ParsedExpression,
} from "../expression/parse-expression.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import type { Goal } from "../machine/goal.js";
import type { Machine } from "../machine/machine.js";
import { lastOf } from "../replay/steps.js";
import type { Position } from "../position/parse-position.js";
import { machinePosition } from "../position/print-position.js";
import { journalCursor } from "../replay/journal-cursor.js";
import type { AdvanceResult, Replayer } from "../replay/replayer.js";
import { seek } from "../replay/seek.js";
import { type BisectWriter, eventWriter, type PhysicalRange } from "./event-writer.js";
import { UnitSteps, type UnitStep } from "./unit-steps.js";

export interface BisectMoment {
  readonly position: Position;
  /** The last event that has taken effect. */
  readonly seq: number;
  readonly exitNumber: number;
  readonly icount: number;
  readonly guestTimeNs: number;
}

export interface BisectTransition {
  readonly moment: BisectMoment;
  readonly holds: boolean;
  /** What changed() saw. */
  readonly change?: SeenChange;
}

export interface BisectWhenResult {
  /** undefined: it holds nowhere. */
  readonly first: BisectMoment | undefined;
  readonly writer: BisectWriter | undefined;
  /** The moments just before and at which the value was asked. */
  readonly before: bigint | undefined;
  readonly after: bigint | undefined;
  /** Changes of the answer, from the first on; between events only as far as memory was watched. */
  readonly transitions: readonly BisectTransition[];
  /** Number of the last exit at the good end, and of exits looked at behind it. */
  readonly goodExit: number;
  readonly scannedExits: number;
  /** False: what it reads could not be watched, so a value that came and went between two events may have been missed. */
  readonly isWatched: boolean;
  /** False: the search ended at the first moment, or at as many changes as it lists. */
  readonly isWhole: boolean;
  /** Where its memory was last seen mapped at the first moment, or at the end where there is none. */
  readonly places: LastPlaces;
}

export interface BisectWhenOptions {
  readonly replayer: Replayer;
  readonly expression: ParsedExpression;
  readonly symbols?: SymbolTable;
  /** The expression must not hold here, unless `mayHoldAtGood`: then this is the first moment. */
  readonly good: Goal;
  readonly mayHoldAtGood?: boolean;
  /** Seq of the last event to look at. */
  readonly lastSeq: number;
  /** Look on behind the first moment. */
  readonly all?: boolean;
}

/** An end of the interval has the wrong answer. */
export class BisectEndError extends Error {
  override readonly name = "BisectEndError";
  readonly end: "good" | "bad";
  constructor(end: "good" | "bad", reason: string) {
    super(`can't bisect: ${reason}`);
    this.end = end;
  }
}

/** The last step, and the exit behind which it began. */
interface StepTaken {
  readonly length: UnitStep["length"];
  readonly exitNumber: number;
}

const ADDRESS_MASK = 0xffff_ffff_ffff_ffffn;
const TRANSITIONS_MAX = 10_000;
/** Loads that lie this close together are watched as one range; more writes than needed stop the run, which costs only time. */
const WATCHED_BYTES_MAX = 64 * 1024;

class WhenSearch {
  readonly #options: BisectWhenOptions;
  readonly #replayer: Replayer;
  readonly #evaluator: Evaluator;
  #environment: MachineEnvironment;
  readonly #transitions: BisectTransition[] = [];
  #value: bigint | undefined;
  #holds = false;
  #first: Pick<BisectWhenResult, "first" | "writer" | "before" | "after" | "places"> | undefined;
  #isWatched: boolean;
  #isWhole = true;
  /** The expression must be asked between two events too. */
  readonly #units: UnitSteps | undefined;
  #step: StepTaken | undefined;
  #goodExit = 0;
  #watched: PhysicalRange = { physical: 0, bytes: 0 };
  readonly #watchedLoad: number | undefined;

  /** `watchedLoad`: the one of the expression's loads that this pass watches; undefined: all of them. */
  constructor(options: BisectWhenOptions, watchedLoad: number | undefined) {
    this.#options = options;
    this.#watchedLoad = watchedLoad;
    this.#replayer = options.replayer;
    this.#evaluator = new Evaluator(options.expression);
    this.#environment = new MachineEnvironment(options.replayer.machine, options.symbols);
    const { loads, changesWithUnits } = options.expression;
    this.#units = changesWithUnits ? new UnitSteps(this.#evaluator, options.replayer.machine.kernel.pcName) : undefined;
    this.#isWatched = changesWithUnits || loads.length === 0 || options.replayer.machine.kernel.watch !== undefined;
  }

  #moment(): BisectMoment {
    const { machine, nextSeq } = this.#replayer;
    const { exitNumber, icount, guestTimeNs } = machine;
    return { position: machinePosition(machine), seq: nextSeq - 1, exitNumber, icount, guestTimeNs };
  }

  #ask(): bigint | undefined {
    return this.#evaluator.evaluate(this.#environment);
  }

  *run(): Generator<Machine, BisectWhenResult> {
    const { good } = this.#options;
    seek(this.#replayer, good);
    this.#goodExit = this.#replayer.machine.exitNumber;
    this.#environment = new MachineEnvironment(this.#replayer.machine, this.#options.symbols);
    this.#replayConsole();
    this.#value = this.#ask();
    if (this.#value !== undefined && this.#value !== 0n) return this.#holdsAtGood();
    const listener = (port: number, bytes: Uint8Array): void => this.#evaluator.noteOutput(port, bytes);
    this.#replayer.outputListeners.add(listener);
    try {
      yield* this.#scan();
    } finally {
      this.#replayer.outputListeners.delete(listener);
      this.#replayer.machine.kernel.watch?.(0, 0);
    }
    return this.#result();
  }

  #holdsAtGood(): BisectWhenResult {
    if (this.#options.mayHoldAtGood !== true)
      throw new BisectEndError("good", "the expression holds at the good end already; give an earlier --good");
    const { places } = this.#evaluator;
    this.#first = { first: this.#moment(), writer: undefined, before: undefined, after: this.#value, places };
    this.#isWhole = false;
    return this.#result();
  }

  #result(): BisectWhenResult {
    const { places } = this.#evaluator;
    const nothing = { first: undefined, writer: undefined, before: undefined, after: undefined, places };
    return {
      ...(this.#first ?? nothing),
      transitions: this.#transitions,
      goodExit: this.#goodExit,
      scannedExits: this.#replayer.machine.exitNumber - this.#goodExit,
      isWatched: this.#isWatched,
      isWhole: this.#isWhole,
    };
  }

  /** What the guest had written before the good end belongs to its console too. */
  #replayConsole(): void {
    const { reader, nextSeq } = this.#replayer;
    const cursor = journalCursor(reader, (reader.header.parent?.seq ?? 0) + 1);
    for (; cursor.kind !== NO_EVENT && cursor.seq < nextSeq; cursor.next())
      if (cursor.kind === HotKind.outputProduced) this.#evaluator.noteOutput(cursor.outputPort, cursor.outputBytes);
  }

  *#scan(): Generator<Machine, void> {
    const { lastSeq, all } = this.#options;
    const replayer = this.#replayer;
    while (replayer.nextSeq <= lastSeq) {
      const seq = replayer.nextSeq;
      const result = this.#units === undefined ? this.#toEvent(seq) : this.#toNextUnit(this.#units, seq);
      if (result === "end") return;
      const isFirst = this.#note(seq, result === "watch");
      if ((isFirst && all !== true) || this.#transitions.length >= TRANSITIONS_MAX) {
        this.#isWhole = false;
        return;
      }
      yield replayer.machine;
    }
  }

  #toEvent(seq: number): AdvanceResult {
    this.#watch();
    return this.#replayer.advance({ seq });
  }

  #toNextUnit(units: UnitSteps, seq: number): AdvanceResult {
    const { machine } = this.#replayer;
    // What changes on the way must be seen at its moment, however far the step.
    if (this.#options.expression.isMomentary) this.#watch();
    const { goal, length, breakPc } = units.next(seq, machine, this.#environment);
    this.#step = { length, exitNumber: machine.exitNumber };
    if (breakPc === undefined) return this.#replayer.advance(goal);
    const { kernel } = machine;
    kernel.breakAt?.(breakPc);
    try {
      return this.#replayer.advance(goal);
    } finally {
      kernel.breakAt?.(undefined);
    }
  }

  /** Watches what the expression reads now; translations and pointers may have changed since. */
  #watch(): void {
    const { loads } = this.#options.expression;
    const { kernel } = this.#replayer.machine;
    if (loads.length === 0 || kernel.watch === undefined) return;
    const pieces = loads.filter((_, index) => this.#isOfThisPass(index)).flatMap((load) => this.#physicalPieces(load));
    const start = Math.min(...pieces.map(({ physical }) => physical));
    const end = Math.max(...pieces.map(({ physical, bytes }) => physical + bytes));
    const isNarrow = pieces.length > 0 && end - start <= WATCHED_BYTES_MAX;
    if (pieces.length > 0 && !isNarrow) this.#isWatched = false;
    const wanted = isNarrow ? { physical: start, bytes: end - start } : { physical: 0, bytes: 0 };
    if (wanted.physical === this.#watched.physical && wanted.bytes === this.#watched.bytes) return;
    this.#watched = wanted;
    kernel.watch(wanted.physical, wanted.bytes);
  }

  #isOfThisPass(load: number): boolean {
    return this.#watchedLoad === undefined || this.#watchedLoad === load;
  }

  /** Where a load lies in RAM now; nothing where it isn't mapped. */
  #physicalPieces({ address, bytes, isPhysical }: MemoryLoad): PhysicalRange[] {
    const start = this.#evaluator.part(address, this.#environment);
    const size = typeof bytes === "number" ? BigInt(bytes) : this.#evaluator.part(bytes, this.#environment);
    if (start === undefined || size === undefined) return [];
    const length = Number(size);
    if (length > WATCHED_BYTES_MAX) {
      this.#isWatched = false;
      return [];
    }
    const pieces: PhysicalRange[] = [];
    for (let at = 0; at < length;) {
      const from = start + BigInt(at);
      const count = Math.min(PAGE_BYTES - Number(from % BigInt(PAGE_BYTES)), length - at);
      const { machine } = this.#replayer;
      const { places } = this.#evaluator;
      const physical = isPhysical
        ? Number(from)
        : physicalPlace(machine, this.#environment.vcpu, from & ADDRESS_MASK, places);
      if (physical !== undefined && this.#isRam(physical, count)) pieces.push({ physical, bytes: count });
      at += count;
    }
    return pieces;
  }

  #isRam(physical: number, bytes: number): boolean {
    const { memory } = this.#replayer.machine.kernel;
    return physical >= memory.base && physical + bytes <= memory.base + memory.bytes;
  }

  /** Asks at this moment; true: it holds for the first time. */
  #note(seq: number, isAfterWrite: boolean): boolean {
    const before = this.#value;
    this.#value = this.#ask();
    const { change } = this.#evaluator;
    const holds = this.#value !== undefined && this.#value !== 0n;
    if (this.#options.expression.isMomentary ? !holds : holds === this.#holds) return false;
    this.#holds = holds;
    if (this.#first === undefined) this.#findFirst(seq, before, isAfterWrite);
    const isFirst = this.#transitions.length === 0;
    const moment = isFirst ? this.#first?.first : undefined;
    const seen = (isFirst ? this.#evaluator.change : undefined) ?? change;
    this.#transitions.push({ moment: moment ?? this.#moment(), holds, ...(seen && { change: seen }) });
    return isFirst;
  }

  #findFirst(seq: number, before: bigint | undefined, isAfterWrite: boolean): void {
    const { machine } = this.#replayer;
    const { countsExits, needsState, loads } = this.#options.expression;
    const after = this.#value;
    const report = machine.kernel.watchReport;
    let writer: BisectWriter;
    if (isAfterWrite && report !== undefined) {
      const { vcpu, pc, physical, bytes } = report;
      writer = { by: "instruction", vcpu, pc, written: { physical, bytes } };
    } else if (this.#step !== undefined) {
      writer = this.#stepWriter(seq, this.#step);
    } else if ((countsExits && loads.length === 0) || !needsState) {
      writer = { by: "exit", exitNumber: machine.exitNumber };
    } else writer = this.#searchUnits(seq);
    this.#first = { first: this.#moment(), writer, before, after, places: this.#evaluator.places.copy() };
  }

  /** Who made it so in the last step, which began before event `seq`. */
  #stepWriter(seq: number, { length, exitNumber }: StepTaken): BisectWriter {
    const replayer = this.#replayer;
    if (replayer.nextSeq > seq) return eventWriter(this.#replayer.reader, seq);
    if (length === "answer") return { by: "answer", exitNumber };
    if (length === "far") return { by: "time" };
    const vcpu = replayer.machine.kernel.currentVcpu ?? 0;
    return { by: "instruction", vcpu, pc: this.#pcBefore(vcpu) };
  }

  /** pc of a vCPU one unit ago: reading it in front of each would cost more. */
  #pcBefore(vcpu: number): bigint {
    const replayer = this.#replayer;
    const { icount } = replayer.machine;
    const listeners = [...replayer.outputListeners];
    // What the guest wrote on this way is known already.
    replayer.outputListeners.clear();
    seek(replayer, { icount: icount - 1 });
    const pc = replayer.machine.kernel.readRegister(vcpu, "pc");
    replayer.advance({ icount });
    for (const listener of listeners) replayer.outputListeners.add(listener);
    this.#environment = new MachineEnvironment(replayer.machine, this.#options.symbols);
    return pc;
  }

  /** Runs the stretch before event `seq` again, unit by unit, and stands where it first holds. */
  #searchUnits(seq: number): BisectWriter {
    const replayer = this.#replayer;
    replayer.machine.kernel.watch?.(0, 0);
    seek(replayer, { seq: seq - 1 });
    this.#evaluator.takeBack();
    this.#environment = new MachineEnvironment(replayer.machine, this.#options.symbols);
    const { exitPending, exitNumber } = replayer.machine;
    const { icount: eventIcount } = journalCursor(replayer.reader, seq);
    const isUnitBefore = (): boolean => replayer.nextSeq === seq && replayer.machine.icount < eventIcount;
    if (exitPending && isUnitBefore()) {
      replayer.advance({ exitNumber, unitsAfter: 0 });
      if (replayer.nextSeq === seq && this.#holdsNow()) return { by: "answer", exitNumber };
    }
    while (isUnitBefore()) {
      const { kernel, icount } = replayer.machine;
      const vcpu = kernel.currentVcpu ?? 0;
      const pc = kernel.readRegister(vcpu, "pc");
      replayer.advance({ icount: icount + 1 });
      // An exit that retires its instruction is the event itself.
      if (replayer.nextSeq !== seq) break;
      if (this.#holdsNow()) return { by: "instruction", vcpu: kernel.currentVcpu ?? vcpu, pc };
    }
    if (replayer.nextSeq <= seq) replayer.advance({ seq });
    // What it remembers is of this moment from here on.
    this.#ask();
    return eventWriter(this.#replayer.reader, seq);
  }

  #holdsNow(): boolean {
    const value = this.#ask();
    return value !== undefined && value !== 0n;
  }
}

/**
 * The first moment behind `good` at which the expression holds; the replayer stands there afterwards (with `all`, at the
 * end of the search). Yields the machine between two steps. Throws BisectEndError, DivergenceError, ExpressionError.
 */
export function* bisectWhenSteps(options: BisectWhenOptions): Generator<Machine, BisectWhenResult> {
  const { expression, all } = options;
  const each = alternatives(expression);
  // Together they would be asked behind every unit; alone, one may stop at a pc, and another at a write.
  const isSplit = each.length > 1 && expression.changesWithUnits && !comparesMoments(expression.tree) && all !== true;
  return yield* isSplit ? earliestOf(each, options) : searchOne(options);
}

function* earliestOf(
  each: readonly ParsedExpression[],
  options: BisectWhenOptions,
): Generator<Machine, BisectWhenResult> {
  const results: BisectWhenResult[] = [];
  let { lastSeq } = options;
  for (const expression of each) {
    const result = yield* searchOne({ ...options, expression, lastSeq });
    results.push(result);
    // What comes later than this is not asked for; the same stretch between two events is.
    if (result.first !== undefined) lastSeq = Math.min(lastSeq, result.first.seq + 1);
  }
  return standingAtEarliest(results, options);
}

function* searchOne(options: BisectWhenOptions): Generator<Machine, BisectWhenResult> {
  const result = yield* new WhenSearch(options, undefined).run();
  const { loads } = options.expression;
  if (result.isWatched || loads.length < 2 || options.replayer.machine.kernel.watch === undefined) return result;
  // The loads lie too far apart to be watched at once: one pass for each, and the earliest answer holds.
  const passes: BisectWhenResult[] = [];
  for (const index of loads.keys()) passes.push(yield* new WhenSearch(options, index).run());
  return standingAtEarliest(passes, options);
}

/** The earliest answer of several searches for one expression; the replayer stands at its moment, unless with `all`. */
function standingAtEarliest(
  results: readonly BisectWhenResult[],
  { replayer, expression, all }: BisectWhenOptions,
): BisectWhenResult {
  const earliest = results.reduce((best, result) => (isEarlier(result, best) ? result : best));
  if (earliest.first !== undefined && all !== true) seek(replayer, momentGoal(earliest.first));
  const isWatched = results.every((result) => result.isWatched) && !(all === true && expression.isMomentary);
  return { ...earliest, isWatched };
}

/** All steps in one go. */
export function bisectWhen(options: BisectWhenOptions): BisectWhenResult {
  return lastOf(bisectWhenSteps(options));
}

function isEarlier(a: BisectWhenResult, b: BisectWhenResult): boolean {
  if (a.first === undefined || b.first === undefined) return a.first !== undefined;
  return a.first.icount < b.first.icount || (a.first.icount === b.first.icount && a.first.seq < b.first.seq);
}

function momentGoal({ position, seq, icount }: BisectMoment): Goal {
  return position.at === "exit" && position.unitsAfter === undefined ? { seq } : { icount };
}

/** The first event, between two, at which an expression that needs no guest state holds: no replay is needed. */
export function findInJournal(
  replayer: Pick<Replayer, "reader" | "machine">,
  expression: ParsedExpression,
  range: { readonly first: number; readonly last: number },
  symbols?: SymbolTable,
): number | undefined {
  if (expression.needsState) throw new RangeError(`'${expression.source}' needs guest state`);
  const evaluator = new Evaluator(expression);
  const { reader, machine } = replayer;
  const { architecture, digester } = machine;
  const cursor = journalCursor(reader, (reader.header.parent?.seq ?? 0) + 1);
  const environment = new JournalEnvironment({ reader, architecture, digester, symbols }, cursor);
  for (; cursor.kind !== NO_EVENT && cursor.seq <= range.last; cursor.next()) {
    if (cursor.kind === HotKind.outputProduced) evaluator.noteOutput(cursor.outputPort, cursor.outputBytes);
    if (expression.countsExits && cursor.kind !== HotKind.exited) continue;
    if (evaluator.holds(environment) && cursor.seq >= range.first) return cursor.seq;
  }
  return undefined;
}
