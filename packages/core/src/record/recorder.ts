/**
 * Runs a VM with both halves and records it.
 *
 * The host calls `step` for a bounded slice of work at a time. What happens at which icount, the digests, the
 * snapshots and the cuts between batches depend on the guest and its inputs alone, never on how the host slices.
 */
import type { Architecture, RunStop } from "../ports/architecture.js";
import type { ControlCommand, Refusal } from "../ports/control.js";
import type { Digester } from "../ports/digester.js";
import type { JournalWriter, Snapshot, SnapshotHead } from "../ports/journal-store.js";
import type { StateSection } from "../ports/state-section.js";
import type { GuestStop, OutsideInput, VmmPort } from "../ports/vmm-half.js";
import { precedesVcpus } from "../control/control-plane.js";
import { CoreKind, STOPPED_STUCK } from "../event/core-kinds.js";
import type { EventBatch } from "../event/event-batch.js";
import type { EventPayload } from "../event/event-kind.js";
import { icountAtTime } from "../guest-time.js";
import { GoalTracker, type Goal } from "../machine/goal.js";
import { Machine, type CacheOptions } from "../machine/machine.js";
import { parseMachine } from "../machine/machine-description.js";
import { snapshotRoot } from "../snapshot/snapshot-root.js";
import { takeSnapshot } from "../snapshot/take-snapshot.js";
import { BatchWriter } from "./batch-writer.js";
import { InputScript, type ScriptEntry, type ScriptState } from "./input-script.js";
import { LiveVm, type OutputListener, type VmmParts } from "./live-vm.js";
import type { ScriptedInputs } from "./scripted-inputs.js";

/** In units; each a multiple of the one before. */
export interface Cadence {
  readonly digestEvery: number;
  readonly seekPointEvery: number;
  readonly fullSnapshotEvery: number;
  /** Whether the end gets a snapshot too. Default true. */
  readonly atEnd?: boolean;
}

export const DEFAULT_CADENCE: Cadence = {
  digestEvery: 16_000_000,
  seekPointEvery: 64_000_000,
  fullSnapshotEvery: 1_024_000_000,
};

export interface RecorderOptions {
  readonly architecture: Architecture;
  readonly digester: Digester;
  /** Empty, with the header of this machine; or the base of a VM that goes on. */
  readonly writer: JournalWriter;
  readonly vmm: VmmParts;
  readonly cadence?: Cadence;
  readonly caches?: CacheOptions;
  readonly script?: readonly ScriptEntry[];
  /** In the place of `script`: one that has been followed for a while already. */
  readonly scriptState?: ScriptState;
  /** Beside the script: inputs of another recording, say. A VM that has some can't be moved. */
  readonly inputs?: ScriptedInputs;
  /** The vCPUs are created and nothing more: setting them up is left to `act`. */
  readonly bare?: boolean;
  /** What the VMM half does between KVM_CREATE_VM and the first KVM_CREATE_VCPU. */
  readonly beforeVcpus?: (port: VmmPort) => void;
  /** True: an idle guest makes `step` come back with "waiting". False: idle time is skipped. */
  readonly interactive?: boolean;
}

export type StepResult =
  /** The slice is used up. */
  | { readonly why: "slice" }
  | { readonly why: "goal" }
  /** Every vCPU waits, up to guest time `wakeAtNs` unless an input comes. */
  | { readonly why: "waiting"; readonly wakeAtNs: number | undefined }
  | { readonly why: "stopped"; readonly stop: GuestStop };

export interface Slice {
  /** Units to run at most, so that the host's event loop gets its turn. */
  readonly units: number;
  readonly goal?: Goal;
}

/** Why a call has no answer. */
export interface FailedCall {
  /** A handler's name, or the board's. */
  readonly by: string;
  readonly code: string;
  readonly message: string;
}

/** Of a message; what a handler throws may be of any length. */
const FAILURE_CHARACTERS_MAX = 500;

export class RecorderError extends Error {
  override readonly name = "RecorderError";
}

function nextMultiple(icount: number, every: number): number {
  return (Math.floor(icount / every) + 1) * every;
}

function checkCadence(cadence: Cadence): void {
  const { digestEvery, seekPointEvery, fullSnapshotEvery } = cadence;
  const whole = [digestEvery, seekPointEvery, fullSnapshotEvery].every(
    (units) => Number.isSafeInteger(units) && units > 0,
  );
  if (!whole || seekPointEvery % digestEvery !== 0 || fullSnapshotEvery % seekPointEvery !== 0)
    throw new RecorderError(
      `cadence ${digestEvery}/${seekPointEvery}/${fullSnapshotEvery}: each must be a multiple of the one before`,
    );
}

function createMachine({ architecture, digester, writer, caches }: RecorderOptions): Machine {
  const machine = parseMachine(writer.header.machine);
  return new Machine({ architecture, digester, machine, ...(caches && { caches }) });
}

interface OpenStep {
  readonly sliceEnd: number;
  readonly tracker: GoalTracker;
}

export class Recorder {
  readonly live: LiveVm;
  readonly machine: Machine;
  readonly #writer: JournalWriter;
  readonly #events: BatchWriter;
  readonly #cadence: Cadence;
  readonly #script: InputScript;
  readonly #inputs: readonly ScriptedInputs[];
  readonly #interactive: boolean;
  #nextDigest = 0;
  /** icount of the last digest, and the number of the event that followed it: no second one for the same moment. */
  #digestedAt = { seq: 0, icount: -1 };
  #nextSnapshot: number;
  #paused = false;
  #stopRecorded = false;
  #finished = false;
  #busy = false;

  private constructor(options: RecorderOptions, nextSnapshot: number, machine?: Machine) {
    const { digester, writer } = options;
    this.#cadence = options.cadence ?? DEFAULT_CADENCE;
    checkCadence(this.#cadence);
    this.#writer = writer;
    this.#interactive = options.interactive ?? false;
    this.#script =
      options.scriptState === undefined
        ? new InputScript(options.script ?? [])
        : InputScript.restore(options.scriptState);
    this.#inputs = options.inputs === undefined ? [this.#script] : [this.#script, options.inputs];
    this.#events = new BatchWriter(writer, digester);
    this.machine = machine ?? createMachine(options);
    this.live = new LiveVm(this.machine, options.vmm, this.#events);
    this.live.outputListeners.add((port, bytes) => {
      for (const inputs of this.#inputs) inputs.noteOutput(port, bytes);
    });
    this.#nextSnapshot = nextSnapshot;
  }

  /** A new VM: created, configured, booted, with snapshot 0. Nothing has run. Throws RecorderError for a refused command. */
  static create(options: RecorderOptions, commands: readonly ControlCommand[] = []): Recorder {
    if (options.writer.end.firstSeq !== 1)
      throw new RecorderError(
        `can't create a VM in a recording that has ${options.writer.end.firstSeq - 1} events already`,
      );
    const recorder = new Recorder(options, 0);
    const { architecture, bare = false, beforeVcpus } = options;
    const isEarly = (command: ControlCommand): boolean => precedesVcpus(architecture, command);
    recorder.live.create({
      bare,
      beforeVcpus() {
        if (beforeVcpus !== undefined) recorder.live.act(beforeVcpus);
        recorder.#operateAll(commands.filter(isEarly));
      },
    });
    recorder.#operateAll(commands.filter((command) => !isEarly(command)));
    recorder.live.boot();
    recorder.#scheduleDigest();
    recorder.snapshot("full");
    return recorder;
  }

  #operateAll(commands: readonly ControlCommand[]): void {
    for (const command of commands) {
      const refused = this.live.operate(command);
      if (refused !== undefined) throw new ControlRefusedError(refused);
    }
  }

  /**
   * A VM that goes on from a full snapshot, in a journal that ends there (a destination's own, or a branch).
   * `nextSnapshot`: the number that the next snapshot gets.
   */
  static resume(options: RecorderOptions, snapshot: Snapshot, nextSnapshot = snapshot.number + 1): Recorder {
    if (snapshot.kind !== "full")
      throw new RecorderError(`snapshot ${snapshot.number} is a seek point: only a full snapshot can go live`);
    const recorder = new Recorder(options, nextSnapshot);
    const { writer } = options;
    recorder.machine.restore(snapshot, (hash) => writer.loadPage(hash));
    recorder.live.restoreVmm(snapshot.vmmSections);
    recorder.#paused = recorder.machine.exitPending;
    recorder.#scheduleDigest();
    return recorder;
  }

  /**
   * Goes on with a machine that stands at the end of the journal already, brought there by replaying a tail.
   * `vmmSections` are the VMM half's at exactly this moment, core's own among them. `isPaused`: the journal says that it
   * stands still.
   */
  static adopt(
    options: RecorderOptions,
    machine: Machine,
    vmmSections: readonly StateSection[],
    nextSnapshot: number,
    isPaused = machine.exitPending,
  ): Recorder {
    const recorder = new Recorder(options, nextSnapshot, machine);
    recorder.live.restoreVmm(vmmSections);
    recorder.#paused = isPaused;
    recorder.#scheduleDigest();
    return recorder;
  }

  #scheduleDigest(): void {
    this.#nextDigest = nextMultiple(this.machine.icount, this.#cadence.digestEvery);
  }

  onOutput(listener: OutputListener): void {
    this.live.outputListeners.add(listener);
  }

  get nextSeq(): number {
    return this.#events.nextSeq;
  }

  /** How the guest ended, once it has. */
  get stopped(): GuestStop | undefined {
    return this.live.stop;
  }

  /** Script lines that have not come up. */
  get scriptLeft(): readonly ScriptEntry[] {
    return this.#script.left;
  }

  /** Bytes from outside, taken at the next observer stop at which a device wants them. */
  enqueue(input: OutsideInput): void {
    this.live.inputs.add(input);
  }

  /**
   * The host waited in an idle guest's stead up to guest time `nowNs`, which lies before the guest's own deadline,
   * and now something else is to happen.
   */
  endWait(nowNs: number): void {
    this.#checkUsable("endWait");
    const { machine, live } = this;
    const wakeAtNs = Math.min(machine.kernel.idleDeadlineNs ?? Infinity, live.vmm.deadlineNs ?? Infinity);
    if (nowNs >= wakeAtNs)
      throw new RecorderError(`can't end a wait at ${nowNs} ns: the guest wakes at ${wakeAtNs} ns`);
    if (nowNs <= machine.guestTimeNs) return;
    this.#resumeIfPaused();
    live.row(CoreKind.hostWaited, { untilNs: nowNs });
    live.endIdle(nowNs);
  }

  /** From `ctl`, at an observer stop. A refusal is KVM's and changes nothing. */
  control(command: ControlCommand): Refusal | undefined {
    this.#checkUsable("control");
    const decision = this.machine.decide(command);
    if ("refused" in decision) return decision.refused;
    if (this.machine.exitPending) this.#notePaused();
    const refused = this.live.operate(command);
    this.#events.flush("normal");
    return refused;
  }

  /** Whether a step waits for an answer, and `actBeside` can be called. */
  get isAsking(): boolean {
    return this.#busy && this.live.isAsking;
  }

  /**
   * Does something between two steps, while one waits for an answer, which is left alone: the recording says that the VM was
   * paused for so long. Throws RecorderError where whoever answers has begun to change the VM.
   */
  actBeside<Result>(act: () => Result): Result {
    if (!this.isAsking) throw new RecorderError("can't act beside an answer: none is waited for, or it has begun");
    this.#busy = false;
    try {
      return this.live.actBeside(() => {
        try {
          return act();
        } finally {
          // At once: an answer on trial counts its events from here.
          this.#resumeIfPaused();
        }
      });
    } finally {
      this.#busy = true;
    }
  }

  /** The VMM half acts of itself, between two steps; an exit may be pending. */
  act<Result>(action: (port: VmmPort) => Result): Result {
    this.#checkUsable("act");
    this.#resumeIfPaused();
    const result = this.live.act(action);
    this.#afterAnswer();
    return result;
  }

  #checkUsable(act: string): void {
    if (this.#finished) throw new RecorderError(`can't ${act}: the recording is finished`);
    if (this.#busy) throw new RecorderError(`can't ${act}: a step is under way`);
  }

  #notePaused(): void {
    if (this.#paused) return;
    this.live.row(CoreKind.paused, { exitPending: this.machine.exitPending });
    this.#paused = true;
  }

  #resumeIfPaused(): void {
    if (!this.#paused) return;
    this.live.row(CoreKind.resumed, {});
    this.#paused = false;
  }

  /** Runs a slice. Not while another step is under way. */
  step(slice: Slice): StepResult | Promise<StepResult> {
    this.#checkUsable("step");
    if (this.live.stop !== undefined) return { why: "stopped", stop: this.live.stop };
    this.#resumeIfPaused();
    const tracker = new GoalTracker(slice.goal ?? {}, this.machine);
    const open = { tracker, sliceEnd: this.machine.icount + slice.units };
    if (!this.machine.exitPending) this.live.offerWaiting();
    return this.#run(open);
  }

  #run(open: OpenStep): StepResult | Promise<StepResult> {
    this.#busy = true;
    let later: Promise<StepResult> | undefined;
    try {
      const result = this.#loop(open);
      if (!("answer" in result)) return result;
      later = result.answer.then(
        () => {
          this.#afterAnswer();
          return this.#run(open);
        },
        (error: unknown) => {
          this.#busy = false;
          throw error;
        },
      );
      return later;
    } finally {
      if (later === undefined) this.#busy = false;
    }
  }

  /** Gives the promise of an asynchronous answer where one stands between here and the result. */
  #loop({ sliceEnd, tracker }: OpenStep): StepResult | { readonly answer: Promise<void> } {
    const { machine, live } = this;
    for (;;) {
      if (machine.exitPending && live.stop === undefined) {
        if (tracker.reached || tracker.reachedAtExit) return { why: "goal" };
        const answer = live.answerExit();
        if (answer !== undefined) return { answer };
        this.#afterAnswer();
      }
      if (live.stop !== undefined) return { why: "stopped", stop: live.stop };
      this.#boundary();
      if (tracker.reached) return { why: "goal" };
      if (machine.icount >= sliceEnd) return { why: "slice" };
      const next = this.#advance(Math.min(sliceEnd, tracker.limit), tracker);
      if (next !== undefined) return next;
    }
  }

  /**
   * Runs to the limit, over exits at which nothing is due but their answers: then there is no boundary to look at. Whatever
   * needs a second look (a deadline that has moved, a goal, an input) ends it.
   */
  #runThrough(limit: number, tracker: GoalTracker): RunStop | { readonly answer: Promise<void> } {
    const { machine, live } = this;
    const { deadlineNs } = live.vmm;
    const isPlain = !tracker.looksAtExits && this.#inputs.every(({ isOver }) => isOver);
    for (;;) {
      const why = live.run(limit);
      if (why !== "exit" || !isPlain || tracker.reached) return why;
      const answer = live.answerExit();
      if (answer !== undefined) return { answer };
      if (machine.icount >= limit || live.isDisturbed || live.vmm.deadlineNs !== deadlineNs) {
        this.#afterAnswer();
        return "limit";
      }
      if (tracker.reached) return "limit";
    }
  }

  #afterAnswer(): void {
    if (this.live.stop !== undefined) this.#recordStop();
  }

  /** What is due at this icount, in a fixed order. */
  #boundary(): void {
    const { machine, live } = this;
    if (machine.icount >= this.#nextDigest) this.#cadencePoint();
    while (live.deadlineDue && live.stop === undefined) live.reachDeadline();
    if (live.stop !== undefined) this.#recordStop();
    else this.#offerScripted();
  }

  /** Script lines that are due, and those that devices had no room for. */
  #offerScripted(): void {
    for (const inputs of this.#inputs)
      for (const input of inputs.takeDue(this.machine.guestTimeNs)) this.live.inputs.add(input);
    if (this.live.inputs.count > 0) this.live.offerWaiting();
  }

  #advance(limit: number, tracker: GoalTracker): StepResult | { readonly answer: Promise<void> } | undefined {
    const { machine, live } = this;
    const scriptNs = this.#nextInputNs();
    const scriptIcount =
      scriptNs === undefined ? Infinity : icountAtTime(machine.icount, machine.guestTimeNs, scriptNs);
    const why = this.#runThrough(Math.min(limit, this.#nextDigest, live.deadlineIcount, scriptIcount), tracker);
    if (typeof why === "object") return why;
    if (why === "idle") return this.#idle(scriptNs);
    // Somebody has asked the kernel half for it.
    if (why === "breakpoint") return { why: "goal" };
    if (why === "stuck") {
      live.stop = { what: STOPPED_STUCK, by: machine.kernel.stuckReason ?? "the guest can't go on" };
      this.#recordStop();
    }
    return undefined;
  }

  #nextInputNs(): number | undefined {
    let next: number | undefined;
    for (const { nextTimeNs } of this.#inputs)
      if (nextTimeNs !== undefined) next = Math.min(next ?? Infinity, nextTimeNs);
    return next;
  }

  #idle(scriptNs: number | undefined): StepResult | undefined {
    const { machine, live } = this;
    const own = machine.kernel.idleDeadlineNs;
    const wakeAtNs = Math.min(own ?? Infinity, live.vmm.deadlineNs ?? Infinity, scriptNs ?? Infinity);
    if (this.#interactive) return { why: "waiting", wakeAtNs: wakeAtNs === Infinity ? undefined : wakeAtNs };
    if (wakeAtNs === Infinity) {
      live.stop = { what: "waiting", by: "every vCPU waits and no timer is set" };
      this.#recordStop();
    } else live.endIdle(wakeAtNs);
    return undefined;
  }

  /** The idle guest's own deadline, `wakeAtNs` of the last step, has come on the host's clock. */
  wake(wakeAtNs: number): void {
    this.#checkUsable("wake");
    this.#resumeIfPaused();
    this.live.endIdle(wakeAtNs);
  }

  #recordStop(): void {
    const { stop } = this.live;
    if (stop === undefined || this.#stopRecorded) return;
    this.#stopRecorded = true;
    const { what, by, status } = stop;
    const ended = { what, by, exitPending: this.machine.exitPending };
    this.live.row(CoreKind.stopped, status === undefined ? ended : { ...ended, status });
  }

  #cadencePoint(): void {
    const { icount } = this.machine;
    const { seekPointEvery, fullSnapshotEvery } = this.#cadence;
    // The limit of every run holds icount at the multiple, except where an exit retires across it.
    const passed = (every: number): boolean => nextMultiple(icount, every) - every >= this.#nextDigest;
    if (passed(fullSnapshotEvery)) this.snapshot("full");
    else if (passed(seekPointEvery)) this.snapshot("seek");
    else {
      this.live.settleSkip();
      this.#recordDigest(this.machine.digest(), "normal");
    }
    this.#scheduleDigest();
  }

  /** Whether the last event is the digest of this moment. A guest may run for long without an event. */
  get #isDigested(): boolean {
    const { seq, icount } = this.#digestedAt;
    return seq === this.#events.nextSeq && icount === this.machine.icount;
  }

  #recordDigest(digest: Uint8Array, durability: "normal" | "full"): void {
    const { icount } = this.machine;
    if (!this.#isDigested) this.#events.digested(icount, digest);
    this.#digestedAt = { seq: this.#events.nextSeq, icount };
    this.#events.flush(durability);
  }

  /** Records a digest and a snapshot of this moment. */
  snapshot(kind: "full" | "seek"): SnapshotHead {
    const { machine, live } = this;
    live.settleSkip();
    const snapshot = takeSnapshot(machine, this.#writer, {
      number: this.#nextSnapshot,
      seq: this.#events.nextSeq - (this.#isDigested ? 1 : 0),
      vmmSections: kind === "full" ? live.saveVmm() : undefined,
    });
    this.#recordDigest(snapshot.digest, "normal");
    const root = snapshotRoot(snapshot, machine.digester);
    live.row(CoreKind.snapshotTaken, { number: snapshot.number, kind, root, digest: snapshot.digest });
    this.#events.addSnapshot(snapshot, kind === "full" ? "full" : "normal");
    this.#nextSnapshot += 1;
    return snapshot;
  }

  /** The call that the VM stands at has no answer: says why, for whoever reads the recording. It may be asked about again. */
  noteFailedCall({ by, code, message }: FailedCall): void {
    this.#checkUsable("note a failed call");
    const cut = message.length > FAILURE_CHARACTERS_MAX ? `${message.slice(0, FAILURE_CHARACTERS_MAX)}...` : message;
    this.live.row(CoreKind.callFailed, { by, code, message: cut });
  }

  /** Stands still at exactly this moment, with a full snapshot of it. The next step goes on. */
  pause(): SnapshotHead {
    this.#checkUsable("pause");
    this.#notePaused();
    return this.snapshot("full");
  }

  /** A full snapshot of this moment, at which the next step goes on. */
  snapshotHere(): SnapshotHead {
    this.#checkUsable("take a snapshot");
    if (this.machine.exitPending) this.#notePaused();
    return this.snapshot("full");
  }

  get cadence(): Cadence {
    return this.#cadence;
  }

  get isInteractive(): boolean {
    return this.#interactive;
  }

  /** The number that the next snapshot gets. */
  get nextSnapshot(): number {
    return this.#nextSnapshot;
  }

  /** How far the input script has come. */
  get scriptState(): ScriptState {
    return this.#script.save();
  }

  /**
   * Makes this moment one that another recorder can take over: everything up to here is in the journal, with the digest
   * of it, which this gives. The next step goes on as if nothing had been.
   */
  standStill(): Uint8Array {
    this.#checkUsable("stand still");
    if (this.machine.exitPending) this.#notePaused();
    this.live.settleSkip();
    const digest = this.machine.digest();
    this.#recordDigest(digest, "normal");
    return digest;
  }

  /** A bookkeeping event at this moment, stored by `commit` together with what that adds (migration). */
  commitRow(
    kind: { readonly name: string; readonly version: number },
    payload: EventPayload,
    commit: (batch: EventBatch) => void,
  ): void {
    this.#checkUsable("record");
    this.#events.flush("normal");
    this.live.row(kind, payload);
    this.#events.commitBy(commit);
  }

  /** The VM goes on elsewhere: the recording ends with the event that says so. */
  seal(options: { readonly index: boolean }): void {
    this.#checkUsable("seal");
    // Even where the file can't be closed: nothing runs here any more.
    this.#finished = true;
    this.#events.flush("full");
    this.#writer.finish("sealed", options);
  }

  get isFinished(): boolean {
    return this.#finished;
  }

  /** Commits the open batch: what a crash would lose. */
  flush(durability: "normal" | "full" = "normal"): void {
    if (!this.#finished) this.#events.flush(durability);
  }

  #endMoment(): SnapshotHead | undefined {
    if (this.#cadence.atEnd !== false) return this.snapshot("full");
    this.live.settleSkip();
    this.#recordDigest(this.machine.digest(), "full");
    return undefined;
  }

  /**
   * Ends the recording: digest, full snapshot where the cadence has it, end mark. `by` says who stopped it when the guest
   * did not stop by itself, or had failed before it did.
   */
  finish(options: {
    readonly state?: "closed" | "sealed";
    readonly index: boolean;
    readonly by?: string;
    /** The exit at which the guest had failed, as `by` tells: said of a guest that stopped by itself behind it. */
    readonly failedAt?: number | undefined;
  }): SnapshotHead | undefined {
    this.#checkUsable("finish");
    if (this.live.stop === undefined) {
      if (this.machine.exitPending) this.#notePaused();
      const { name, version } = CoreKind.stopped;
      const by = options.by ?? "the host";
      this.live.row({ name, version }, { what: "stopped", by, exitPending: this.machine.exitPending });
    } else if (options.failedAt !== undefined)
      this.live.row(CoreKind.failed, { by: options.by ?? "the host", exitNumber: options.failedAt });
    const head = this.#endMoment();
    this.#writer.finish(options.state ?? "closed", { index: options.index });
    this.#finished = true;
    return head;
  }
}

/** A command that the rules refuse, where that ends the attempt. */
export class ControlRefusedError extends Error {
  override readonly name = "ControlRefusedError";
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(`${refusal.call}: ${refusal.errno}: ${refusal.reason}`);
    this.refusal = refusal;
  }
}
