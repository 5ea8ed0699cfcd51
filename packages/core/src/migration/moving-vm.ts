/** What a move needs of the VM that moves: one that runs under a recorder, or one that stands at the end of a recording. */
import type { Architecture } from "../ports/architecture.js";
import type { Digester } from "../ports/digester.js";
import type { Snapshot } from "../ports/journal-store.js";
import type { StateSection } from "../ports/state-section.js";
import { contractOf } from "../contract/contract-of.js";
import { observe, type ObservedContract } from "../contract/observations.js";
import type { ContractItem } from "../ports/contract.js";
import type { BoardDevice } from "../ports/vmm-half.js";
import { EventBatch } from "../event/event-batch.js";
import type { EventPayload } from "../event/event-kind.js";
import { Machine } from "../machine/machine.js";
import { parseMachine } from "../machine/machine-description.js";
import type { Recorder } from "../record/recorder.js";
import { MigrationRefusedError } from "./migration-error.js";
import type { OwnedJournal, OwnedRecording, OwnershipRow } from "./ownership.js";
import { type PendingCall, pendingCallOf } from "./pending-call.js";
import type { SessionTerms } from "./protocol.js";

/** Where the VM stands while it is handed over. */
export interface StandingState {
  readonly exitNumber: number;
  readonly icount: number;
  readonly guestTimeNs: number;
  readonly exitPending: boolean;
  readonly paused: boolean;
  readonly vmmSections: readonly StateSection[];
  readonly nextSnapshot: number;
  readonly session: SessionTerms;
}

/** The event of a step of a move. */
export interface StepEvent {
  readonly kind: { readonly name: string; readonly version: number };
  readonly payload: EventPayload;
}

/** The VM, standing still. */
export interface StandingVm {
  /** Commits what has been recorded. */
  flush(): void;
  /** Puts the digest of this moment into the journal, and whatever must stand before it. */
  digest(): Uint8Array;
  /** A full snapshot of this moment. */
  snapshot(): Snapshot;
  state(): StandingState;
  /** One durable step: the row, and the event that goes with it. */
  commitOwnership(row: OwnershipRow, event: StepEvent): void;
  /** The VM never runs here again. */
  seal(): void;
}

export interface MovingVm {
  readonly journal: OwnedRecording;
  contract(): readonly ContractItem[];
  /** What the guest had asked for up to event `lastSeq`, as far as the journal has been flushed. */
  observed(lastSeq?: number): ObservedContract;
  /** The control plane's state, as a snapshot keeps it. */
  control(): EventPayload;
  /** The full snapshot to start from: of now when that stores at most `pagesMax` pages, else the newest there is. */
  takeBase(pagesMax: number): Promise<{ readonly snapshot: Snapshot; readonly pausedMs: number }>;
  /** Commits what has been recorded, so that the journal can be read up to now. */
  flush(): Promise<void>;
  /** Where the VM is now: behind its last event, where none has come for a while. */
  readonly icount: number;
  /** The call that waits for its answer now. */
  readonly pendingCall: PendingCall | undefined;
  /** Pages that a full snapshot of now would store; undefined when `base` is not the newest snapshot. */
  changedPages(base: Snapshot): number | undefined;
  /** Share of the host's time that the guest gets. */
  slowTo(duty: number): void;
  /** Runs `act` while the VM stands still. Whatever comes of it, the VM goes on afterwards unless it was sealed. */
  standStill<Result>(act: (still: StandingVm) => Promise<Result>): Promise<Result>;
}

/** What the host's event loop does for a VM that moves while it runs. */
export interface SourceHost {
  /** Between two slices, while the VM stands still. Rejects once the VM has ended. */
  atBoundary<Result>(act: () => Result | Promise<Result>): Promise<Result>;
  slowTo(duty: number): void;
  /** Paused by the operator. */
  isPaused(): boolean;
  /** The host's own terms: goals, time limits. */
  terms(): EventPayload;
  nowMs(): number;
}

/** A VM that a recorder runs. */
export class RecorderVm implements MovingVm {
  readonly journal: OwnedJournal;
  readonly #recorder: Recorder;
  readonly #host: SourceHost;
  readonly #index: boolean;

  constructor(recorder: Recorder, journal: OwnedJournal, host: SourceHost, options: { readonly index: boolean }) {
    this.#recorder = recorder;
    this.journal = journal;
    this.#host = host;
    this.#index = options.index;
  }

  contract(): readonly ContractItem[] {
    const { machine } = this.#recorder;
    return contractOf({
      architecture: machine.architecture,
      machine: machine.description,
      control: this.control(),
      kernel: machine.kernel,
      formatVersion: this.journal.header.formatVersion,
      devices: this.#devices,
      observations: this.observed().observations,
    });
  }

  get #devices(): readonly BoardDevice[] | undefined {
    return this.#recorder.live.vmm.devices?.();
  }

  observed(lastSeq?: number): ObservedContract {
    const { architecture } = this.#recorder.machine;
    return observe(this.journal, { architecture, control: this.control(), devices: this.#devices }, lastSeq);
  }

  control(): EventPayload {
    return this.#recorder.machine.plainControl();
  }

  takeBase(pagesMax: number): Promise<{ readonly snapshot: Snapshot; readonly pausedMs: number }> {
    return this.#host
      .atBoundary(() => {
        const startedAt = this.#host.nowMs();
        const newest = this.journal.snapshots().findLast(({ kind }) => kind === "full");
        const isCheap = this.#recorder.machine.pages.changedPages().length <= pagesMax;
        const head = isCheap || newest === undefined ? this.#recorder.snapshot("full") : newest;
        return { number: head.number, pausedMs: this.#host.nowMs() - startedAt };
      })
      .then(({ number, pausedMs }) => ({ snapshot: this.journal.loadSnapshot(number), pausedMs }));
  }

  flush(): Promise<void> {
    // No boundary is needed: an idle VM's wait goes on.
    return Promise.resolve().then(() => this.#recorder.flush());
  }

  get icount(): number {
    return this.#recorder.machine.icount;
  }

  get pendingCall(): PendingCall | undefined {
    return pendingCallOf(this.#recorder.machine);
  }

  changedPages(base: Snapshot): number | undefined {
    if (this.#recorder.nextSnapshot !== base.number + 1) return undefined;
    return this.#recorder.machine.pages.changedPages().length;
  }

  slowTo(duty: number): void {
    this.#host.slowTo(duty);
  }

  standStill<Result>(act: (still: StandingVm) => Promise<Result>): Promise<Result> {
    return this.#host.atBoundary(() => act(this.#standing()));
  }

  #standing(): StandingVm {
    const recorder = this.#recorder;
    return {
      flush: () => recorder.flush(),
      digest: () => recorder.standStill(),
      snapshot: () => this.journal.loadSnapshot(recorder.snapshot("full").number),
      state: () => this.#state(),
      commitOwnership: (row, { kind, payload }) =>
        recorder.commitRow(kind, payload, (batch) => this.journal.appendOwnership(row, batch)),
      seal: () => recorder.seal({ index: this.#index }),
    };
  }

  #state(): StandingState {
    const recorder = this.#recorder;
    const { exitNumber, icount, guestTimeNs, exitPending } = recorder.machine;
    return {
      ...{ exitNumber, icount, guestTimeNs, exitPending },
      paused: this.#host.isPaused(),
      vmmSections: recorder.live.saveVmm(),
      nextSnapshot: recorder.nextSnapshot,
      session: {
        interactive: recorder.isInteractive,
        cadence: recorder.cadence,
        script: recorder.scriptState,
        host: this.#host.terms(),
      },
    };
  }
}

export interface RecordedVmOptions {
  readonly architecture: Architecture;
  readonly digester: Digester;
  /** Opened for reading. */
  readonly reader: OwnedRecording;
  /** Opens the same recording for writing. */
  readonly open: () => OwnedJournal;
  /** Closes it again as it was, when nothing came of the move. */
  readonly leave: (journal: OwnedJournal) => void;
  readonly terms: SessionTerms;
  /** Of its board, which is not there. */
  readonly devices?: readonly BoardDevice[];
  readonly isPaused: boolean;
  readonly index: boolean;
}

/** A VM that stands at the full snapshot with which its recording ends. */
export class RecordedVm implements MovingVm {
  readonly #options: RecordedVmOptions;
  readonly #snapshot: Snapshot;
  readonly #machine: Machine;
  /** Once it is open for writing. */
  #writer: OwnedJournal | undefined;
  #isSealed = false;

  /** Throws MigrationRefusedError when the recording does not end with a full snapshot. */
  constructor(options: RecordedVmOptions) {
    const { reader, architecture, digester } = options;
    this.#options = options;
    const head = reader.snapshots().findLast(({ kind }) => kind === "full");
    if (head === undefined || head.icount !== reader.end.icount || head.exitNumber !== reader.end.exitNumber)
      throw new MigrationRefusedError(["the recording does not end with a full snapshot"]);
    this.#snapshot = reader.loadSnapshot(head.number);
    this.#machine = new Machine({ architecture, digester, machine: parseMachine(reader.header.machine) });
    this.#machine.restore(this.#snapshot, (hash) => this.journal.loadPage(hash));
  }

  get journal(): OwnedRecording {
    return this.#writer ?? this.#options.reader;
  }

  contract(): readonly ContractItem[] {
    return contractOf({
      architecture: this.#options.architecture,
      machine: this.#machine.description,
      control: this.control(),
      kernel: this.#machine.kernel,
      formatVersion: this.journal.header.formatVersion,
      devices: this.#options.devices,
      observations: this.observed().observations,
    });
  }

  observed(lastSeq?: number): ObservedContract {
    const { architecture, devices } = this.#options;
    return observe(this.journal, { architecture, control: this.control(), devices }, lastSeq);
  }

  control(): EventPayload {
    return this.#snapshot.control;
  }

  takeBase(): Promise<{ readonly snapshot: Snapshot; readonly pausedMs: number }> {
    this.#writer = this.#options.open();
    return Promise.resolve({ snapshot: this.#snapshot, pausedMs: 0 });
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  get icount(): number {
    return this.#machine.icount;
  }

  get pendingCall(): PendingCall | undefined {
    return pendingCallOf(this.#machine);
  }

  changedPages(): number {
    return 0;
  }

  slowTo(): void {}

  async standStill<Result>(act: (still: StandingVm) => Promise<Result>): Promise<Result> {
    return act({
      flush: () => undefined,
      digest: () => this.#machine.digest(),
      snapshot: () => this.#snapshot,
      state: () => this.#state(),
      commitOwnership: (row, event) => this.#commitOwnership(row, event),
      seal: () => {
        this.#isSealed = true;
        this.#open.finish("sealed", { index: this.#options.index });
      },
    });
  }

  /** Leaves the recording as it was, unless it was sealed. */
  close(): void {
    if (!this.#isSealed && this.#writer !== undefined) this.#options.leave(this.#writer);
  }

  get #open(): OwnedJournal {
    if (this.#writer === undefined) throw new RangeError("the recording is not open for writing");
    return this.#writer;
  }

  #commitOwnership(row: OwnershipRow, { kind, payload }: StepEvent): void {
    const { firstSeq, exitNumber, icount } = this.#open.end;
    const batch = new EventBatch();
    batch.begin({ firstSeq, exitNumber, icount });
    batch.appendRow({ seq: firstSeq, kind: kind.name, version: kind.version, vcpu: -1, icount, exitNumber, payload });
    this.#open.appendOwnership(row, batch);
  }

  #state(): StandingState {
    const { exitNumber, icount, guestTimeNs, exitPending } = this.#machine;
    return {
      ...{ exitNumber, icount, guestTimeNs, exitPending },
      paused: this.#options.isPaused,
      vmmSections: this.#snapshot.vmmSections,
      nextSnapshot: this.#snapshot.number + 1,
      session: this.#options.terms,
    };
  }
}
