/**
 * Runs a recording again: vCPUs and kernel half run, the VMM half's outputs come from the journal, and every exit, every
 * result of the kernel half and every digest on the way is compared.
 */
import type { Architecture } from "../ports/architecture.js";
import type { Digester } from "../ports/digester.js";
import type { JournalReader, Snapshot, SnapshotHead } from "../ports/journal-store.js";
import { CoreKind, EventKinds, saysStuck } from "../event/core-kinds.js";
import { NO_EVENT, type EventCursor } from "../event/event-cursor.js";
import { type EventPayload, HotKind, ROW_EVENT, type RowEvent } from "../event/event-kind.js";
import { ExitWord, FinishedBy } from "../event/exit-frame.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { isControlKind } from "../control/control-plane.js";
import { GoalTracker, type Goal } from "../machine/goal.js";
import { Machine, type CacheOptions, type Checkpoint } from "../machine/machine.js";
import { parseMachine } from "../machine/machine-description.js";
import { readMemoryWritten } from "../memory/memory-written.js";
import { sameBytes, toHex } from "../memory/page-hash.js";
import { journalCursor, seqBehind } from "./journal-cursor.js";
import { exitCause, exitDifferences, sameExit, type DivergenceCause } from "./divergence.js";
import { describeAnswer, divergenceAt } from "./divergence-place.js";
import { snapshotDifferences } from "./snapshot-differences.js";

export interface ReplayerOptions {
  readonly architecture: Architecture;
  readonly digester: Digester;
  readonly reader: JournalReader;
  readonly caches?: CacheOptions;
}

/** Called for each output of the VMM half as it takes effect. */
export type ReplayOutputListener = (port: number, bytes: Uint8Array, seq: number) => void;
/** Called for each thing that took effect on the guest from outside its own instructions. */
export type EffectListener = (seq: number, what: "memory" | "register" | "answer" | "irq" | "control") => void;

export type AdvanceResult =
  | "reached"
  /** The recording ends here. */
  | "end"
  /** An instruction wrote to watched memory; the kernel half's `watchReport` says which. */
  | "watch"
  /** pc is where the kernel half was told to stop by `breakAt`. */
  | "breakpoint";

export interface Compared {
  exits: number;
  digests: number;
}

/** What replaying needs from the journal is not there. */
export class ReplayError extends Error {
  override readonly name = "ReplayError";
}

/** "Equal" is said of what was compared: a run that found no event before the recording's end has compared nothing. */
export function checkAllRead(nextSeq: number, { end }: JournalReader): void {
  if (nextSeq < end.firstSeq)
    throw new ReplayError(`event:${nextSeq} can't be read, though the recording goes on to event:${end.firstSeq - 1}`);
}

/** A replayer stopped between two events, to come back to. */
export interface ReplayCheckpoint {
  readonly machine: Checkpoint;
  readonly nextSeq: number;
  readonly held: boolean;
}

export class Replayer {
  readonly reader: JournalReader;
  readonly compared: Compared = { exits: 0, digests: 0 };
  readonly outputListeners = new Set<ReplayOutputListener>();
  readonly effectListeners = new Set<EffectListener>();
  readonly #architecture: Architecture;
  readonly #kinds: EventKinds;
  readonly #options: ReplayerOptions;
  #machine: Machine;
  readonly #cursor: EventCursor;
  /** The pending exit stays as it is until the recording says "Resumed". */
  #held = false;
  #lastEqualDigest: { readonly seq: number; readonly icount: number } | undefined;
  /** The snapshot that it went to last, from which on everything is compared; undefined: the start. */
  startedAt: SnapshotHead | undefined;

  /** At the start of the recording: before its first event, or at its base snapshot when it has a parent. */
  constructor(options: ReplayerOptions) {
    const { architecture, reader } = options;
    this.#options = options;
    this.#architecture = architecture;
    this.reader = reader;
    this.#kinds = new EventKinds(architecture.control.kinds);
    this.#machine = this.#createMachine();
    this.#cursor = journalCursor(reader, 1);
    if (reader.header.parent !== undefined) this.restoreBase();
  }

  #createMachine(): Machine {
    const { architecture, digester, reader, caches } = this.#options;
    const machine = parseMachine(reader.header.machine);
    return new Machine({ architecture, digester, machine, ...(caches && { caches }) });
  }

  /** Another one after `restart`. */
  get machine(): Machine {
    return this.#machine;
  }

  /** Goes back to where a new replayer stands. */
  restart(): void {
    this.#held = false;
    this.#startAt(undefined);
    this.#lastEqualDigest = undefined;
    if (this.reader.header.parent !== undefined) {
      this.restoreBase();
      return;
    }
    this.#machine = this.#createMachine();
    this.#cursor.seek(1);
  }

  /** Number of the next event that has not taken effect. */
  get nextSeq(): number {
    return this.#cursor.seq;
  }

  get kinds(): EventKinds {
    return this.#kinds;
  }

  /** Goes to the recording's first snapshot. */
  restoreBase(): void {
    const first = this.reader.snapshots()[0];
    if (first === undefined) throw new ReplayError("the recording has no snapshot to start from");
    this.restore(this.reader.loadSnapshot(first.number));
  }

  /** Goes to a snapshot of this recording, or to one of its parent's at its base. */
  restore(snapshot: Snapshot): void {
    this.machine.restore(snapshot, (hash) => this.reader.loadPage(hash));
    this.#cursor.seek(seqBehind(snapshot, this.reader));
    this.#held = this.machine.exitPending;
    this.#startAt(snapshot);
    this.#lastEqualDigest = { seq: snapshot.seq, icount: snapshot.icount };
  }

  #startAt(snapshot: SnapshotHead | undefined): void {
    this.startedAt = snapshot;
    this.compared.exits = 0;
    this.compared.digests = 0;
  }

  /** More events may have been appended to the recording since `advance` came to its end. */
  refresh(): void {
    this.#cursor.seek(this.#cursor.seq);
  }

  checkpoint(): ReplayCheckpoint {
    return { machine: this.machine.checkpoint(), nextSeq: this.nextSeq, held: this.#held };
  }

  restoreCheckpoint(checkpoint: ReplayCheckpoint): void {
    this.machine.restoreCheckpoint(checkpoint.machine, (hash) => this.reader.loadPage(hash));
    this.#cursor.seek(checkpoint.nextSeq);
    this.#held = checkpoint.held;
    this.#lastEqualDigest = undefined;
  }

  /** Runs until the goal or the end. Throws DivergenceError. Only forwards. */
  advance(goal: Goal = {}): AdvanceResult {
    const tracker = new GoalTracker(goal, this.machine);
    if (goal.seq !== undefined && goal.seq < this.nextSeq) return "reached";
    for (;;) {
      if (tracker.reached) return "reached";
      if (this.machine.exitPending && tracker.reachedAtExit) return "reached";
      const result = this.#step(tracker);
      if (result !== undefined) return result;
    }
  }

  /** One event, or one run towards it. */
  #step(tracker: GoalTracker): AdvanceResult | undefined {
    const cursor = this.#cursor;
    if (cursor.kind === NO_EVENT) return this.#runToEnd(tracker);
    if (this.machine.exitPending) return this.#stepPending(tracker);
    if (cursor.kind === HotKind.exited) return this.#runToExit(tracker);
    if (this.machine.icount < cursor.icount) return this.#run(cursor.icount, tracker);
    return this.#apply(tracker);
  }

  /** An exit has occurred and is not answered. */
  #stepPending(tracker: GoalTracker): AdvanceResult | undefined {
    const { machine } = this;
    const cursor = this.#cursor;
    if (this.#held && cursor.icount <= machine.icount && !this.#endsHold()) return this.#apply(tracker);
    this.#held = false;
    if (machine.kernel.exit[ExitWord.finishedBy] === FinishedBy.kernelHalf) return this.#finishExit(tracker);
    if (cursor.icount > machine.icount || !this.#belongsToAnswer()) {
      machine.completeExit(0, 0);
      return undefined;
    }
    return this.#apply(tracker);
  }

  /** Whether the current event shows that whatever held the exit back is over. */
  #endsHold(): boolean {
    const { kind } = this.#cursor;
    return kind === HotKind.exited || kind === HotKind.exitHandled || kind === HotKind.exitCompleted;
  }

  /** Whether the current event is what the VMM half did about the pending exit. */
  #belongsToAnswer(): boolean {
    const cursor = this.#cursor;
    if (cursor.kind === HotKind.exited || cursor.kind === HotKind.digested) return false;
    if (cursor.kind !== ROW_EVENT) return true;
    const { kind, payload } = cursor.row;
    if (kind === CoreKind.paused.name || kind === CoreKind.stopped.name) return payload["exitPending"] === true;
    if (kind === CoreKind.answererChanged.name || kind === CoreKind.callFailed.name) return true;
    return kind !== CoreKind.idleEnded.name && this.#kinds.of(cursor.row).role === "vmm output";
  }

  #finishExit(tracker: GoalTracker): AdvanceResult | undefined {
    const cursor = this.#cursor;
    if (cursor.kind === ROW_EVENT && this.#pausesAtExit(cursor.row)) return this.#apply(tracker);
    const { kernel } = this.machine;
    const hasResult = this.machine.finishExit();
    if (!hasResult) return undefined;
    const replayed = describeAnswer(kernel.answerLow, kernel.answerHigh);
    if (cursor.kind !== HotKind.exitHandled) return this.#diverge(replayed, "guest data", []);
    const { low, high } = cursor.handled;
    if (low !== kernel.answerLow || high !== kernel.answerHigh) return this.#diverge(replayed, "guest data", []);
    return this.#took(tracker);
  }

  #pausesAtExit(row: RowEvent): boolean {
    const isStop = row.kind === CoreKind.paused.name || row.kind === CoreKind.stopped.name;
    return isStop && row.payload["exitPending"] === true;
  }

  /** The current event has taken effect. */
  #took(tracker: GoalTracker): AdvanceResult | undefined {
    const { seq } = this.#cursor;
    this.#cursor.next();
    return tracker.reachedSeq(seq) ? "reached" : undefined;
  }

  #runToExit(tracker: GoalTracker): AdvanceResult | undefined {
    const { machine } = this;
    const cursor = this.#cursor;
    // An exit that retires its instruction is seen one unit later than one that doesn't; it must come by then.
    const why = machine.kernel.run(Math.min(cursor.icount + 1, tracker.limit));
    if (why === "watch") return "watch";
    if (why === "idle") return this.#passIdle(tracker);
    if (why === "breakpoint" && machine.icount <= cursor.icount) return "breakpoint";
    if (why === "limit" && machine.icount <= cursor.icount) return undefined;
    if (why !== "exit") return this.#diverge(this.#describeStop(why), "interrupt", []);
    machine.exitNumber += 1;
    this.compared.exits += 1;
    const { exit } = machine.kernel;
    if (machine.icount !== cursor.icount || !sameExit(cursor.exit, exit)) {
      const differences = exitDifferences(cursor.exit, exit);
      const cause = exitCause(cursor.exit, exit, machine.icount === cursor.icount);
      return this.#diverge(this.#architecture.describeExit(machine.exitModel, exit), cause, differences);
    }
    return this.#took(tracker);
  }

  #describeStop(why: string): string {
    const { kernel } = this.machine;
    if (why === "stuck") return `the guest is stuck: ${kernel.stuckReason ?? "for an unknown reason"}`;
    if (why === "idle") return "every vCPU waits";
    if (why === "exit") return this.#architecture.describeExit(this.machine.exitModel, kernel.exit);
    return `no exit up to icount:${kernel.icount}`;
  }

  /** Runs towards an event that is no exit, at `icount`. */
  #run(icount: number, tracker: GoalTracker): AdvanceResult | undefined {
    const why = this.machine.kernel.run(Math.min(icount, tracker.limit));
    if (why === "watch" || why === "breakpoint") return why;
    if (why === "idle") return this.#passIdle(tracker);
    if (why === "limit") return undefined;
    // An exit that retires its instruction may stand at the very icount of an event that the recording has before it.
    if (why === "exit") this.machine.exitNumber += 1;
    return this.#diverge(this.#describeStop(why), "interrupt", []);
  }

  /** Every vCPU waits: time goes on at the kernel half's own deadline unless the recording says otherwise. */
  #passIdle(tracker: GoalTracker): AdvanceResult | undefined {
    const { kernel } = this.machine;
    const cursor = this.#cursor;
    const isAtEvent = cursor.kind !== NO_EVENT && cursor.kind !== HotKind.exited && cursor.icount <= kernel.icount;
    if (isAtEvent) return this.#apply(tracker);
    const { idleDeadlineNs } = kernel;
    if (idleDeadlineNs === undefined) return this.#diverge(this.#describeStop("idle"), "interrupt", []);
    this.machine.skipTo(idleDeadlineNs);
    return undefined;
  }

  /** The recording has no further event; its last units may still be run. */
  #runToEnd(tracker: GoalTracker): AdvanceResult {
    const { end } = this.reader;
    const { machine } = this;
    checkAllRead(this.#cursor.seq, this.reader);
    if (machine.exitPending || machine.icount >= end.icount) return "end";
    const why = machine.kernel.run(Math.min(end.icount, tracker.limit));
    if (why === "watch" || why === "breakpoint") return why;
    return tracker.reached ? "reached" : "end";
  }

  /** Lets the current event take effect; icount stands where it should. */
  #apply(tracker: GoalTracker): AdvanceResult | undefined {
    const cursor = this.#cursor;
    const { machine } = this;
    if (cursor.icount !== machine.icount) return this.#diverge(`icount:${machine.icount}`, "timing", []);
    switch (cursor.kind) {
      case HotKind.exitCompleted:
        if (!machine.exitPending) return this.#diverge("no exit waits for an answer", "interrupt", []);
        this.#effect("answer");
        machine.completeExit(cursor.completed.low, cursor.completed.high);
        break;
      case HotKind.irqLineSet:
        this.#effect("irq");
        machine.kernel.setIrqLine(cursor.irqLine.line, cursor.irqLine.level === 0 ? 0 : 1);
        break;
      case HotKind.outputProduced:
        for (const listener of this.outputListeners) listener(cursor.outputPort, cursor.outputBytes, cursor.seq);
        break;
      case HotKind.digested:
        this.#compareDigest();
        break;
      case ROW_EVENT:
        this.#applyRow(this.#kinds.upcast(cursor.row));
        break;
      default:
        return this.#diverge(`no event of code ${cursor.kind} at this place`, "interrupt", []);
    }
    return this.#took(tracker);
  }

  #effect(what: Parameters<EffectListener>[1]): void {
    for (const listener of this.effectListeners) listener(this.#cursor.seq, what);
  }

  #applyRow(row: RowEvent): void {
    const { machine } = this;
    const fields = new PayloadFields(`event:${row.seq} ${row.kind}`, row.payload);
    if (isControlKind(this.#architecture, row.kind)) {
      this.#effect("control");
      machine.evolve(row, row.seq);
      return;
    }
    switch (row.kind) {
      case CoreKind.registerSet.name:
        this.#effect("register");
        machine.kernel.writeRegister(row.vcpu, fields.string("name"), fields.bigint("value"));
        break;
      case CoreKind.msiSent.name:
        this.#effect("irq");
        if (machine.kernel.sendMsi === undefined)
          throw new RangeError(`event:${row.seq}: the irqchip takes no messages`);
        machine.kernel.sendMsi(fields.bigint("address"), fields.number("data"));
        break;
      case CoreKind.guestMemoryWritten.name: {
        const { physical, bytes } = readMemoryWritten(row.payload, (hash) => this.reader.loadPage(hash));
        machine.kernel.memory.write(physical, bytes);
        this.#effect("memory");
        break;
      }
      case CoreKind.callReturned.name:
        this.#compareReturned(row.vcpu, fields.map("registers"));
        break;
      case CoreKind.codePatched.name:
        this.#comparePatch(fields);
        break;
      case CoreKind.idleEnded.name:
        this.#endIdle(fields.number("untilNs"));
        break;
      case CoreKind.paused.name:
      case CoreKind.stopped.name:
        if (saysStuck(row)) this.#expectStuck();
        this.#held = machine.exitPending && this.#pausesAtExit(row);
        break;
      case CoreKind.resumed.name:
        this.#held = false;
        break;
      default:
        // Outside inputs and bookkeeping: what they led to stands behind them.
        break;
    }
  }

  /** The guest has not run since the call was finished: its registers are the answer. */
  #compareReturned(vcpu: number, registers: EventPayload): void {
    for (const [name, recorded] of Object.entries(registers)) {
      const value = this.machine.kernel.readRegister(vcpu, name);
      if (value !== recorded) this.#diverge(`${name} <- 0x${value.toString(16)}`, "guest data", [name]);
    }
  }

  #comparePatch(fields: PayloadFields): void {
    const patch = this.machine.kernel.codePatch;
    const isSame =
      patch?.physical === fields.number("gpa") &&
      sameBytes(patch.before, fields.bytes("old")) &&
      sameBytes(patch.after, fields.bytes("new"));
    if (isSame) return;
    const replayed = patch === undefined ? "no code is patched" : `code at 0x${patch.physical.toString(16)} is patched`;
    this.#diverge(replayed, "guest data", []);
  }

  #endIdle(untilNs: number): void {
    const { kernel } = this.machine;
    const why = kernel.run(kernel.icount + 1);
    if (why !== "idle") {
      if (why === "exit") this.machine.exitNumber += 1;
      this.#diverge(this.#describeStop(why), "interrupt", []);
    }
    this.machine.skipTo(untilNs);
  }

  /** That a guest can't go on shows when it is to go on, and may leave a trace in its state. */
  #expectStuck(): void {
    const { kernel } = this.machine;
    const why = kernel.run(kernel.icount + 1);
    if (why === "stuck") return;
    if (why === "exit") this.machine.exitNumber += 1;
    this.#diverge(this.#describeStop(why), "interrupt", []);
  }

  #compareDigest(): void {
    const cursor = this.#cursor;
    const { machine } = this;
    const digest = machine.digest();
    this.compared.digests += 1;
    const recorded = toHex(cursor.digest);
    const replayed = toHex(digest);
    if (recorded !== replayed) this.#diverge(`digest sha256:${replayed}`, "state", this.#stateDifferences());
    this.#lastEqualDigest = { seq: cursor.seq, icount: cursor.icount };
  }

  /** Against the snapshot of this very moment, where the recording has one. */
  #stateDifferences(): string[] {
    const { seq } = this.#cursor;
    const head = this.reader.snapshots().find((each) => each.seq === seq);
    if (head === undefined) return [];
    return snapshotDifferences(this.machine, this.reader.loadSnapshot(head.number), this.#options);
  }

  #diverge(replayed: string, cause: DivergenceCause, differences: readonly string[]): never {
    const { machine, reader } = this;
    throw divergenceAt(
      { machine, reader, cursor: this.#cursor, lastEqualDigest: this.#lastEqualDigest },
      { replayed, cause, differences },
    );
  }
}
