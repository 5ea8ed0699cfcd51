/**
 * Runs a recording again with the VMM half live. Inputs are fed where they came; everything that the VMM half does, every
 * exit and every digest is compared, bit for bit.
 */
import type { Architecture } from "../ports/architecture.js";
import type { ControlCommand } from "../ports/control.js";
import type { Digester } from "../ports/digester.js";
import type { JournalReader, Snapshot } from "../ports/journal-store.js";
import { CoreKind, EventKinds, saysStuck } from "../event/core-kinds.js";
import { NO_EVENT, type EventCursor } from "../event/event-cursor.js";
import { HotKind, ROW_EVENT, type EventPayload, type RowEvent } from "../event/event-kind.js";
import { type ExitFrame, ExitWord, FinishedBy } from "../event/exit-frame.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { samePlain } from "../control/patches.js";
import { GoalTracker, type Goal } from "../machine/goal.js";
import { Machine, type CacheOptions } from "../machine/machine.js";
import { parseMachine } from "../machine/machine-description.js";
import { memoryWrittenPayload } from "../memory/memory-written.js";
import { sameBytes, toHex } from "../memory/page-hash.js";
import type { EventPlace, EventSink } from "../record/event-sink.js";
import { LiveVm, type OutputListener, type VmmParts } from "../record/live-vm.js";
import { exitCause, exitDifferences, sameExit, type DivergenceCause } from "./divergence.js";
import { describeAnswer, describeRow, divergenceAt } from "./divergence-place.js";
import { journalCursor, seqBehind } from "./journal-cursor.js";
import { checkAllRead, ReplayError, type Compared } from "./replayer.js";

export interface VerifierOptions {
  readonly architecture: Architecture;
  readonly digester: Digester;
  readonly reader: JournalReader;
  readonly vmm: VmmParts;
  readonly caches?: CacheOptions;
  /** A full snapshot of the recording to start at; default: the recording's start. */
  readonly from?: Snapshot;
  /**
   * Where what goes beyond the end of the recording is written: a recording that broke off in the midst of an answer is
   * brought to the end of that answer. Without it the end is the end.
   */
  readonly beyond?: EventSink;
}

/** `equal`: the recording's end has come. `reached`: the goal. */
export type VerifyStep = "slice" | "equal" | "reached";

export class Verifier implements EventSink {
  readonly live: LiveVm;
  readonly machine: Machine;
  readonly compared: Compared = { exits: 0, digests: 0 };
  readonly #reader: JournalReader;
  readonly #architecture: Architecture;
  readonly #kinds: EventKinds;
  readonly #cursor: EventCursor;
  readonly #beyond: EventSink | undefined;
  /** The recording paused while the pending exit was unanswered, and has not gone on. */
  #held = false;
  #leftOpen = false;
  #booted = false;
  #lastEqualDigest: { readonly seq: number; readonly icount: number } | undefined;

  /** Throws ReplayError when the snapshot to start at has no VMM half. */
  constructor(options: VerifierOptions) {
    const { architecture, digester, reader, caches, from } = options;
    this.#reader = reader;
    this.#architecture = architecture;
    this.#kinds = new EventKinds(architecture.control.kinds);
    const machine = parseMachine(reader.header.machine);
    this.machine = new Machine({ architecture, digester, machine, ...(caches && { caches }) });
    this.live = new LiveVm(this.machine, options.vmm, this);
    this.#cursor = journalCursor(reader, 1);
    this.#beyond = options.beyond;
    if (from !== undefined) this.#restore(from);
    else if (reader.header.parent === undefined) this.live.create({ beforeVcpus: () => this.#feedCommands() });
    else this.#restore(this.#base());
  }

  #base(): Snapshot {
    const first = this.#reader.snapshots()[0];
    if (first === undefined) throw new ReplayError("the recording has no snapshot to start from");
    return this.#reader.loadSnapshot(first.number);
  }

  #restore(snapshot: Snapshot): void {
    if (snapshot.kind !== "full")
      throw new ReplayError(`snapshot:${snapshot.number} has no VMM half: only a full one can go live`);
    this.machine.restore(snapshot, (hash) => this.#reader.loadPage(hash));
    this.live.restoreVmm(snapshot.vmmSections);
    this.#cursor.seek(seqBehind(snapshot, this.#reader));
    this.#held = this.machine.exitPending;
    this.#booted = true;
  }

  /** With `beyond`: the journal breaks off at an exit that only a handler can answer. */
  get isLeftOpen(): boolean {
    return this.#leftOpen;
  }

  onOutput(listener: OutputListener): void {
    this.live.outputListeners.add(listener);
  }

  /** Runs about `units` units further, or to the goal. Throws DivergenceError. */
  step(units: number, goal: Goal = {}): VerifyStep | Promise<VerifyStep> {
    return this.#run(this.machine.icount + units, new GoalTracker(goal, this.machine));
  }

  #run(sliceEnd: number, tracker: GoalTracker): VerifyStep | Promise<VerifyStep> {
    const { machine } = this;
    for (;;) {
      if (this.#isAt(tracker)) return "reached";
      if (machine.icount >= sliceEnd) return "slice";
      const progress = this.#advance(machine.exitPending ? sliceEnd : Math.min(sliceEnd, tracker.limit));
      if (progress === "equal") return progress;
      if (progress !== undefined) return progress.then(() => this.#run(sliceEnd, tracker));
    }
  }

  /** What the VMM half does in one go is one step: a moment within it is passed. */
  #isAt(tracker: GoalTracker): boolean {
    this.#skipBookkeeping();
    if (tracker.reached || tracker.reachedSeq(this.#cursor.seq - 1)) return true;
    return this.machine.exitPending && tracker.reachedAtExit;
  }

  #advance(limit: number): "equal" | Promise<void> | undefined {
    const { machine, live } = this;
    const cursor = this.#cursor;
    this.#skipBookkeeping();
    const isLeftOpen = this.#beyond !== undefined && !this.#held && live.stop === undefined;
    if (machine.exitPending && (cursor.kind !== NO_EVENT || isLeftOpen)) {
      if (!this.#held && live.stop === undefined)
        return cursor.kind === NO_EVENT ? this.#answerLeftOpen() : this.#answer();
      if (cursor.kind !== HotKind.digested && !this.#isOutsideInput(cursor))
        this.#diverge("the guest stands still", "end");
    }
    if (cursor.kind === NO_EVENT) return this.#finish();
    if (cursor.kind === HotKind.exited) this.#runTo(Math.min(limit, cursor.icount + 1));
    else if (machine.icount < cursor.icount) this.#runTo(Math.min(limit, cursor.icount));
    else if (cursor.kind === HotKind.digested) this.#compareDigest();
    else if (cursor.kind === ROW_EVENT && this.#isOutsideInput(cursor)) this.#feed(cursor.row);
    else if (cursor.kind === ROW_EVENT && cursor.row.kind === CoreKind.idleEnded.name) this.#endIdle(cursor.row);
    else if (cursor.kind === ROW_EVENT && saysStuck(cursor.row)) this.#expectStuck();
    else this.#expectVmmHalf();
    return undefined;
  }

  #isOutsideInput(cursor: EventCursor): boolean {
    return cursor.kind === ROW_EVENT && this.#kinds.of(cursor.row).role === "outside input";
  }

  /** Bookkeeping says nothing about the guest, except whether an exit was left unanswered for a while. */
  #skipBookkeeping(): void {
    const cursor = this.#cursor;
    while (cursor.kind === ROW_EVENT && this.#kinds.of(cursor.row).role === "bookkeeping") {
      const { kind, payload } = cursor.row;
      if (saysStuck(cursor.row)) return;
      const isStop = kind === CoreKind.paused.name || kind === CoreKind.stopped.name;
      if (isStop && payload["exitPending"] === true) {
        // An exit that was left alone then must be left alone now, and it is only known to be there once it is.
        if (!this.machine.exitPending) return;
        this.#held = true;
      }
      if (kind === CoreKind.resumed.name) this.#held = false;
      cursor.next();
    }
  }

  #answer(): Promise<void> | undefined {
    const answer = this.live.answerExit();
    return answer === undefined ? undefined : answer;
  }

  /**
   * The recorder broke off at this exit. What the two halves themselves answer goes into the journal as it would have. A
   * handler is not asked: whoever goes on asks the one that is there, and once.
   */
  #answerLeftOpen(): Promise<void> | undefined {
    const { exit } = this.machine.kernel;
    const isForwarded = exit[ExitWord.finishedBy] === FinishedBy.vmmHalf;
    if (!isForwarded || this.live.vmm.asksHandlers?.(exit) !== true) return this.#answer();
    this.#held = true;
    this.#leftOpen = true;
    return undefined;
  }

  #finish(): "equal" | undefined {
    const { machine } = this;
    const { end } = this.#reader;
    checkAllRead(this.#cursor.seq, this.#reader);
    if (machine.exitPending || this.live.stop !== undefined || machine.icount >= end.icount) return "equal";
    this.#runTo(end.icount);
    return undefined;
  }

  #runTo(limit: number): void {
    const { live, machine } = this;
    if (live.deadlineDue) {
      live.reachDeadline();
      return;
    }
    const why = live.run(Math.min(limit, live.deadlineIcount));
    if (why === "idle") this.#passIdle();
    else if (why === "stuck") this.#diverge(machine.kernel.stuckReason ?? "the guest is stuck", "interrupt");
    else if (why === "limit" && this.#cursor.kind === HotKind.exited && machine.icount > this.#cursor.icount)
      this.#diverge(`no exit up to icount:${machine.icount}`, "interrupt");
  }

  #passIdle(): void {
    const { live, machine } = this;
    const cursor = this.#cursor;
    const isNext = cursor.kind === ROW_EVENT && cursor.icount <= machine.icount;
    if (isNext && cursor.row.kind === CoreKind.idleEnded.name) return this.#endIdle(cursor.row);
    const wakeAtNs = Math.min(machine.kernel.idleDeadlineNs ?? Infinity, live.vmm.deadlineNs ?? Infinity);
    if (wakeAtNs === Infinity) this.#diverge("every vCPU waits", "interrupt");
    live.endIdle(wakeAtNs);
  }

  /** At an event that only the VMM half can cause: by its deadline, or at the very start. */
  #expectVmmHalf(): void {
    const { seq } = this.#cursor;
    if (!this.#booted) {
      this.#booted = true;
      this.live.boot();
    } else if (this.live.deadlineDue) this.live.reachDeadline();
    else if (this.machine.exitPending) this.#diverge("the guest stands still", "end");
    else this.#diverge("nothing: the VMM half has no cause to act", "vmm half");
    if (this.#cursor.seq === seq) this.#diverge("nothing: the VMM half did not act", "vmm half");
  }

  #feedCommands(): void {
    const cursor = this.#cursor;
    while (cursor.kind === ROW_EVENT && cursor.row.kind === CoreKind.operatorCommanded.name) this.#feed(cursor.row);
  }

  #feed(row: RowEvent): void {
    const fields = new PayloadFields(`event:${row.seq} ${row.kind}`, row.payload);
    const { live } = this;
    if (row.kind === CoreKind.hostWaited.name) live.row(CoreKind.hostWaited, { untilNs: fields.number("untilNs") });
    else if (row.kind === CoreKind.operatorCommanded.name) {
      const command = fields.map("command");
      const name = new PayloadFields("command", command).string("name");
      const refused = live.operate({ ...command, name } satisfies ControlCommand);
      if (refused !== undefined)
        this.#diverge(`refused: ${refused.call}: ${refused.errno}: ${refused.reason}`, "configuration");
    } else if (row.kind === CoreKind.inputReceived.name) {
      live.inputs.add({ port: fields.number("port"), bytes: fields.bytes("bytes") });
      live.offerWaiting();
      if (live.inputs.count > 0)
        this.#diverge(`no device takes the input for port ${fields.number("port")}`, "vmm half");
    } else throw new ReplayError(`event:${row.seq}: there is no way to feed ${row.kind}`);
  }

  #endIdle(row: RowEvent): void {
    const { kernel } = this.machine;
    const untilNs = new PayloadFields(`event:${row.seq}`, row.payload).number("untilNs");
    const why = kernel.run(kernel.icount + 1);
    if (why !== "idle") this.#diverge(`${why} where every vCPU waited`, "interrupt");
    this.machine.skipTo(untilNs);
    this.#cursor.next();
  }

  /** That a guest can't go on shows when it is to go on. */
  #expectStuck(): void {
    const { kernel } = this.machine;
    const why = kernel.run(kernel.icount + 1);
    if (why !== "stuck") this.#diverge(`${why} where the guest was stuck`, "interrupt");
    this.#cursor.next();
  }

  #compareDigest(): void {
    const cursor = this.#cursor;
    const digest = toHex(this.machine.digest());
    this.compared.digests += 1;
    if (digest !== toHex(cursor.digest)) this.#diverge(`digest sha256:${digest}`, "state");
    this.#lastEqualDigest = { seq: cursor.seq, icount: cursor.icount };
    cursor.next();
  }

  // The sink: what the live VM does, against what was recorded.

  get nextSeq(): number {
    return this.#past?.nextSeq ?? this.#cursor.seq;
  }

  /** Where an event goes that the recording no longer holds. */
  get #past(): EventSink | undefined {
    this.#skipBookkeeping();
    return this.#cursor.kind === NO_EVENT ? this.#beyond : undefined;
  }

  #expect(kind: number, icount: number, replayed: string, cause: DivergenceCause): void {
    this.#skipBookkeeping();
    const cursor = this.#cursor;
    if (cursor.kind !== kind) this.#diverge(`${replayed} at icount:${icount}`, cause);
    if (cursor.icount !== icount) this.#diverge(`${replayed} at icount:${icount}`, "timing");
  }

  exited(icount: number, frame: ExitFrame): void {
    if (this.#past !== undefined) return this.#past.exited(icount, frame);
    const text = this.#architecture.describeExit(this.machine.exitModel, frame);
    this.#expect(HotKind.exited, icount, text, "interrupt");
    const recorded = this.#cursor.exit;
    if (!sameExit(recorded, frame))
      this.#diverge(`${text} at icount:${icount}`, exitCause(recorded, frame, true), exitDifferences(recorded, frame));
    this.compared.exits += 1;
    this.#held = false;
    this.#cursor.next();
  }

  handled(icount: number, low: number, high: number): void {
    if (this.#past !== undefined) return this.#past.handled(icount, low, high);
    const text = describeAnswer(low, high);
    this.#expect(HotKind.exitHandled, icount, text, "guest data");
    const { handled } = this.#cursor;
    if (handled.low !== low || handled.high !== high) this.#diverge(text, "guest data");
    this.#cursor.next();
  }

  completed(icount: number, low: number, high: number): void {
    if (this.#past !== undefined) return this.#past.completed(icount, low, high);
    const text = describeAnswer(low, high);
    this.#expect(HotKind.exitCompleted, icount, text, "vmm half");
    const { completed } = this.#cursor;
    if (completed.low !== low || completed.high !== high) this.#diverge(text, "vmm half");
    this.#cursor.next();
  }

  output(icount: number, port: number, bytes: Uint8Array): void {
    const text = `output to port ${port}: ${toHex(bytes)}`;
    for (let at = 0; at < bytes.length;) {
      if (this.#past !== undefined) return this.#past.output(icount, port, bytes.subarray(at));
      this.#expect(HotKind.outputProduced, icount, text, "vmm half");
      const recorded = this.#cursor.outputBytes;
      const piece = bytes.subarray(at, at + recorded.length);
      if (this.#cursor.outputPort !== port || !sameBytes(recorded, piece)) this.#diverge(text, "vmm half");
      at += recorded.length;
      this.#cursor.next();
    }
  }

  registerSet(place: EventPlace, name: string, value: bigint): void {
    this.row(CoreKind.registerSet, place, { name, value });
  }

  irqLine(icount: number, line: number, level: number): void {
    if (this.#past !== undefined) return this.#past.irqLine(icount, line, level);
    const text = `irq line ${line} <- ${level}`;
    this.#expect(HotKind.irqLineSet, icount, text, "vmm half");
    const recorded = this.#cursor.irqLine;
    if (recorded.line !== line || recorded.level !== level) this.#diverge(text, "vmm half");
    this.#cursor.next();
  }

  memoryWritten(place: EventPlace, physical: number, bytes: Uint8Array): EventPayload | undefined {
    if (this.#past !== undefined) return this.#past.memoryWritten(place, physical, bytes);
    const payload = memoryWrittenPayload(physical, bytes, this.machine.digester, undefined);
    this.row(CoreKind.guestMemoryWritten, place, payload);
    return payload;
  }

  row(kind: { readonly name: string; readonly version: number }, place: EventPlace, payload: EventPayload): void {
    // An own deadline that passed in silence leaves its event only where the recording paused: it is no difference.
    if (kind.name === CoreKind.idleEnded.name && !this.#isNext(kind.name)) {
      if (payload["untilNs"] === this.machine.guestTimeNs) return;
    }
    if (this.#past !== undefined) return this.#past.row(kind, place, payload);
    // Who answered is for readers: an old recording does not say so.
    if (kind.name === CoreKind.answererChanged.name) return;
    const text = describeRow({ kind: kind.name, vcpu: place.vcpu, payload });
    this.#expect(ROW_EVENT, place.icount, text, "vmm half");
    const recorded = this.#kinds.upcast(this.#cursor.row);
    const same = recorded.kind === kind.name && recorded.vcpu === place.vcpu && samePlain(recorded.payload, payload);
    if (!same)
      this.#diverge(`${text} at icount:${place.icount}`, "vmm half", payloadDifferences(recorded.payload, payload));
    this.#cursor.next();
  }

  #isNext(kindName: string): boolean {
    this.#skipBookkeeping();
    return this.#cursor.kind === ROW_EVENT && this.#cursor.row.kind === kindName;
  }

  #diverge(replayed: string, cause: DivergenceCause, differences: readonly string[] = []): never {
    const { machine } = this;
    const sides = { machine, reader: this.#reader, cursor: this.#cursor, lastEqualDigest: this.#lastEqualDigest };
    throw divergenceAt(sides, { replayed, cause, differences });
  }
}

/** Fields of a payload that differ, by name. */
function payloadDifferences(recorded: EventPayload, replayed: EventPayload): string[] {
  const fields = new Set([...Object.keys(recorded), ...Object.keys(replayed)]);
  return [...fields].filter((field) => !samePlain(recorded[field], replayed[field]));
}
