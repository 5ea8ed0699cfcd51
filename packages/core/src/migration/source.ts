/** The source's side of a move: handshake, snapshot and tail while the VM runs, hand-over. */
import { compareContracts, type ContractComparison } from "../contract/compare-contracts.js";
import { type AnsweredFunction, handlerAnswers } from "../contract/handler-answers.js";
import { HANDLER_ITEM } from "../contract/observations.js";
import type { ContractItem } from "../ports/contract.js";
import { EventBatch } from "../event/event-batch.js";
import type { EventPayload } from "../event/event-kind.js";
import { CoreKind } from "../event/core-kinds.js";
import { PayloadFields } from "../canonical/payload-fields.js";
import { hashAt, isAllZero, PAGE_HASH_BYTES, toHex } from "../memory/page-hash.js";
import type { Digester } from "../ports/digester.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import type { Snapshot } from "../ports/journal-store.js";
import { batchPayload } from "./batch-message.js";
import { MigrationFailedError, MigrationInDoubtError, MigrationRefusedError, reasonOf } from "./migration-error.js";
import type { MovingVm, StandingVm } from "./moving-vm.js";
import { ownershipRow, OwnershipState, standingOf } from "./ownership.js";
import { handlersOf, type PendingCall } from "./pending-call.js";
import { Pacing, type PacingOptions, type Work } from "./pacing.js";
import {
  ChannelClosedError,
  type Accept,
  type DriveOffer,
  type HandOver,
  messagePayload,
  type MessageOf,
  type MigrationChannel,
  type MigrationClock,
  type MigrationMessage,
  ProtocolError,
  readMessage,
} from "./protocol.js";
import { vmmDigest } from "./vmm-digest.js";

const PAGES_PER_MESSAGE = 64;
/** For so long the guest waits while something is read and sent. */
const BURST_MS = 10;
/** About as many thousand events: what the destination's speed is measured by. */
const BATCHES_PER_ROUND = 64;

function difference(left: Work, right: Work): Work {
  return { events: left.events - right.events, units: left.units - right.units };
}

export interface SourceOptions {
  readonly vm: MovingVm;
  readonly channel: MigrationChannel;
  readonly clock: MigrationClock;
  readonly digester: Digester;
  /** Where the source's recording lies, for people. */
  readonly path: string;
  readonly drives: readonly DriveOffer[];
  /** The host's own terms by which the VMM half is made; default: there are none. */
  readonly terms?: EventPayload;
  readonly pacing: PacingOptions;
  readonly onProgress?: (progress: SourceProgress) => void;
}

export type SourceProgress =
  | { readonly step: "contract"; readonly comparison: ContractComparison }
  | { readonly step: "snapshot"; readonly base: BaseReport }
  | { readonly step: "tail"; readonly behindMs: number; readonly duty: number }
  | { readonly step: "hand-over" };

export interface BaseReport {
  readonly exitNumber: number;
  readonly icount: number;
  readonly pages: number;
  readonly bytes: number;
  readonly pausedMs: number;
}

export interface TailReport {
  readonly fromExit: number;
  readonly toExit: number;
  readonly bytes: number;
  /** At first, and each time that it had at least halved. */
  readonly behindMs: readonly number[];
  /** Least share of the host's time that the guest had, and for how long it had less than all. */
  readonly leastDuty: number;
  readonly slowedMs: number;
}

export interface MigrationReport {
  readonly destination: Pick<Accept, "recording" | "path" | "name" | "processId">;
  readonly contract: ContractComparison;
  readonly base: BaseReport;
  readonly tail: TailReport;
  readonly handOver: {
    readonly by: "replay" | "snapshot";
    readonly exitNumber: number;
    readonly icount: number;
    readonly digest: Uint8Array;
    readonly epoch: number;
    readonly stoodStillMs: number;
    /** The operator had paused it: so it is there. */
    readonly paused: boolean;
  };
  /** The call that had no answer at the hand-over: whoever answers at the destination is asked. */
  readonly pending: PendingCall | undefined;
}

export interface MoveExplanation {
  readonly contract: ContractComparison;
  /** What stands against the move; items of the contract that block are among it. */
  readonly reasons: readonly string[];
  /** Up to this exit it is not known what the guest has asked for; 0: everything is. */
  readonly unknownUpTo: number;
  /** Where another handler will answer from there on: what the guest has been answered. */
  readonly answered: readonly AnsweredFunction[];
  /** The call that waits for its answer. */
  readonly pending: ExplainedCall | undefined;
}

export interface ExplainedCall extends PendingCall {
  /** Names of the handlers that are asked about it at the destination, before the board; undefined: it does not say. */
  readonly askedThere: readonly string[] | undefined;
}

/** One move. Throws MigrationRefusedError, MigrationFailedError, MigrationInDoubtError. */
export class MigrationSource {
  readonly #options: SourceOptions;
  readonly #pacing: Pacing;
  readonly #startedAt: number;
  /** Names of pages that the destination has. */
  readonly #sentPages = new Set<string>();
  #nextSeq = 0;
  #burstSince = 0;
  #slowedSince: number | undefined;
  #slowedMs = 0;
  /** As it was said to the destination. */
  #contract: readonly ContractItem[] = [];
  /** The epoch of the move, once it has taken place. */
  #movedIn: number | undefined;
  #isCancelled = false;
  #rejectCancelled = (_why: Error): void => undefined;
  /** Rejects when the move is cancelled. */
  readonly #cancelled = new Promise<never>((_kept, reject) => (this.#rejectCancelled = reject));

  constructor(options: SourceOptions) {
    this.#options = options;
    this.#pacing = new Pacing(options.pacing);
    this.#startedAt = options.clock.nowMs();
    // Whoever waits hears of it.
    this.#cancelled.catch(() => undefined);
  }

  /** Nobody wants the move any more: the VM stays, and the destination is told. Too late once it has taken place. */
  cancel(reason: string, cause?: unknown): void {
    if (this.#movedIn !== undefined) return;
    this.#isCancelled = true;
    this.#rejectCancelled(new MigrationFailedError(reason, cause));
  }

  /** Asks the destination what it would say. Nothing is touched. */
  async explain(): Promise<MoveExplanation> {
    try {
      await this.#sayHello(true);
      const answer = await this.#receive();
      if (answer.kind !== "accept" && answer.kind !== "refuse") throw this.#unexpected(answer, "accept");
      const contract = compareContracts(this.#contract, answer.contract);
      const { vm } = this.#options;
      const { unknownUpTo } = vm.observed(0);
      const call = vm.pendingCall;
      const hasOtherHandler = contract.differences.some(({ name }) => name === HANDLER_ITEM);
      const answered = hasOtherHandler ? handlerAnswers(vm.journal, call?.exitNumber) : [];
      const pending = call && { ...call, askedThere: handlersOf(answer.contract) };
      return { contract, reasons: answer.kind === "refuse" ? answer.reasons : [], unknownUpTo, answered, pending };
    } catch (error) {
      throw this.#failure(error);
    } finally {
      this.#options.channel.close();
    }
  }

  async run(): Promise<MigrationReport> {
    const { vm, channel } = this.#options;
    try {
      return await this.#move();
    } catch (error) {
      if (this.#movedIn !== undefined) throw new MigrationInDoubtError("source", this.#movedIn, reasonOf(error), error);
      if (!(error instanceof MigrationRefusedError) && !(error instanceof ChannelClosedError))
        await this.#sayAbort(reasonOf(error));
      throw this.#failure(error);
    } finally {
      vm.slowTo(1);
      channel.close();
    }
  }

  async #sayAbort(reason: string): Promise<void> {
    const said = this.#options.channel.send(messagePayload({ kind: "abort", reason })).catch(() => undefined);
    // A destination that takes nothing any more may be why it was cancelled.
    if (!this.#isCancelled) await said;
  }

  #failure(error: unknown): Error {
    if (error instanceof MigrationRefusedError || error instanceof MigrationFailedError) return error;
    return new MigrationFailedError(reasonOf(error), error);
  }

  async #send(message: MigrationMessage): Promise<void> {
    // Cancelled first: what is there already does not count then.
    await Promise.race([this.#cancelled, this.#options.channel.send(messagePayload(message))]);
  }

  /** Bulk goes out in bursts, between which the guest runs on. */
  async #sendBulk(message: MigrationMessage): Promise<void> {
    const { clock } = this.#options;
    await this.#send(message);
    if (clock.nowMs() - this.#burstSince < BURST_MS) return;
    await clock.yield();
    this.#burstSince = clock.nowMs();
  }

  async #receive(): Promise<MigrationMessage> {
    const message = readMessage(await Promise.race([this.#cancelled, this.#options.channel.receive()]));
    if (message.kind === "abort") throw new MigrationFailedError(`the destination gave up: ${message.reason}`);
    return message;
  }

  async #expect<Kind extends MigrationMessage["kind"]>(kind: Kind): Promise<MessageOf<Kind>> {
    const message = await this.#receive();
    if (message.kind !== kind) throw this.#unexpected(message, kind);
    return message as MessageOf<Kind>;
  }

  #unexpected(message: MigrationMessage, wanted: string): ProtocolError {
    return new ProtocolError(`the destination said ${message.kind} where ${wanted} was due`);
  }

  get #epoch(): number {
    const { journal } = this.#options.vm;
    const standing = standingOf(journal.header, journal.ownership());
    if (standing.is !== "owner")
      throw new MigrationRefusedError([`the source does not own the VM: its recording says ${standing.is}`]);
    return standing.epoch + 1;
  }

  async #sayHello(isExplaining: boolean): Promise<void> {
    const { vm, path, drives, terms = {} } = this.#options;
    const { header } = vm.journal;
    // What the guest has asked for is read from there.
    await vm.flush();
    this.#contract = vm.contract();
    await this.#send({
      kind: "hello",
      header,
      path,
      formatVersion: header.formatVersion,
      epoch: this.#epoch,
      contract: this.#contract,
      control: vm.control(),
      drives,
      terms,
      isExplaining,
    });
  }

  async #move(): Promise<MigrationReport> {
    await this.#sayHello(false);
    const answer = await this.#receive();
    if (answer.kind !== "accept" && answer.kind !== "refuse") throw this.#unexpected(answer, "accept");
    const contract = compareContracts(this.#contract, answer.contract);
    if (answer.kind === "refuse") throw new MigrationRefusedError(answer.reasons, contract);
    this.#report({ step: "contract", comparison: contract });
    const { snapshot, report: base } = await this.#sendBase();
    this.#report({ step: "snapshot", base });
    const bytesBefore = this.#options.channel.bytesSent;
    const by = await this.#sendTail(snapshot);
    this.#report({ step: "hand-over" });
    const { recording, path, name, processId } = answer;
    const { pending, ...handOver } = await this.#handOver(answer, by);
    const tail: TailReport = {
      fromExit: base.exitNumber,
      toExit: handOver.exitNumber,
      bytes: this.#options.channel.bytesSent - bytesBefore,
      behindMs: this.#pacing.behindMs,
      leastDuty: this.#pacing.duty,
      slowedMs: this.#slowedMs,
    };
    return { destination: { recording, path, name, processId }, contract, base, tail, handOver, pending };
  }

  #report(progress: SourceProgress): void {
    this.#options.onProgress?.(progress);
  }

  async #sendBase(): Promise<{ readonly snapshot: Snapshot; readonly report: BaseReport }> {
    const { vm, channel } = this.#options;
    const { snapshot, pausedMs } = await vm.takeBase(this.#pacing.pagesMax);
    await vm.flush();
    const chain = vm.journal.chainAt(snapshot.seq);
    if (chain === undefined)
      throw new MigrationFailedError(`no batch of the recording ends at snapshot ${snapshot.number}`);
    const before = channel.bytesSent;
    await this.#send({ kind: "base", snapshot, chain, observed: vm.observed(snapshot.seq) });
    const { hashes } = await this.#expect("need");
    for (let index = 0; index * PAGE_HASH_BYTES < snapshot.pageHashes.length; index++)
      this.#sentPages.add(toHex(hashAt(snapshot.pageHashes, index)));
    await this.#sendPages(hashes);
    this.#nextSeq = snapshot.seq + 1;
    const { exitNumber, icount } = snapshot;
    const pages = hashes.length / PAGE_HASH_BYTES;
    return { snapshot, report: { exitNumber, icount, pages, bytes: channel.bytesSent - before, pausedMs } };
  }

  /** Pages by their hashes, 16 bytes each. */
  async #sendPages(hashes: Uint8Array): Promise<void> {
    const { journal } = this.#options.vm;
    const count = hashes.length / PAGE_HASH_BYTES;
    for (let first = 0; first < count; first += PAGES_PER_MESSAGE) {
      const piece = hashes.slice(first * PAGE_HASH_BYTES, (first + PAGES_PER_MESSAGE) * PAGE_HASH_BYTES);
      const contents = new Uint8Array((piece.length / PAGE_HASH_BYTES) * PAGE_BYTES);
      for (let index = 0; index * PAGE_HASH_BYTES < piece.length; index++)
        contents.set(journal.loadPage(toHex(hashAt(piece, index))), index * PAGE_BYTES);
      await this.#sendBulk({ kind: "pages", hashes: piece, contents });
    }
  }

  /** Rounds, until the VM may be stopped. */
  async #sendTail(base: Snapshot): Promise<"replay" | "snapshot"> {
    const { vm, clock } = this.#options;
    let replayed: Work = { events: base.seq, units: base.icount };
    let before = replayed;
    for (let round = 1; ; round++) {
      const startedAt = clock.nowMs();
      await vm.flush();
      await this.#sendEvents(BATCHES_PER_ROUND);
      await this.#send({ kind: "sync", round });
      const answer = await this.#expect("replayed");
      if (answer.round !== round) throw new ProtocolError(`the destination replayed round ${answer.round} of ${round}`);
      const now = clock.nowMs();
      const there: Work = { events: this.#nextSeq - 1, units: answer.icount };
      const here = await this.#workDone();
      const decision = this.#pacing.decide({
        tookMs: now - startedAt,
        replayed: difference(there, replayed),
        added: difference(here, before),
        backlog: difference(here, there),
        changedPages: vm.changedPages(base),
        elapsedMs: now - this.#startedAt,
      });
      this.#report({ step: "tail", behindMs: this.#pacing.behindMs.at(-1) ?? 0, duty: this.#pacing.duty });
      if (decision.act === "hand over") return decision.by;
      if (decision.duty < 1) this.#slowedSince ??= now;
      vm.slowTo(decision.duty);
      replayed = there;
      before = here;
    }
  }

  /** By the source so far. */
  async #workDone(): Promise<Work> {
    const { vm } = this.#options;
    await vm.flush();
    return { events: vm.journal.end.firstSeq - 1, units: vm.icount };
  }

  /** What the journal has and the destination has not, in at most so many batches. */
  async #sendEvents(batchesMax = Infinity): Promise<void> {
    const { journal } = this.#options.vm;
    const batch = new EventBatch();
    // What is recorded while this goes out belongs to the next round.
    const { firstSeq: target } = journal.end;
    for (let count = 0; this.#nextSeq < target && count < batchesMax; count++) {
      let isFound = false;
      journal.readBatches(this.#nextSeq, batch, () => {
        isFound = true;
        return false;
      });
      if (!isFound || batch.firstSeq !== this.#nextSeq)
        throw new MigrationFailedError(`no batch of the recording begins at event:${this.#nextSeq}`);
      await this.#sendPagesOf(batch);
      await this.#sendBulk({ kind: "events", batch: batchPayload(batch) });
      this.#nextSeq = batch.nextSeq;
    }
  }

  /** Writes of devices that stand in the page store by their hashes. */
  async #sendPagesOf(batch: EventBatch): Promise<void> {
    for (const { kind, payload } of batch.rows) {
      if (kind !== CoreKind.guestMemoryWritten.name || payload["pages"] === undefined) continue;
      await this.#sendMissing(new PayloadFields(kind, payload).bytes("pages"));
    }
  }

  /** Of these pages those that the destination does not have. */
  async #sendMissing(hashes: Uint8Array): Promise<void> {
    const missing: Uint8Array[] = [];
    for (let index = 0; index * PAGE_HASH_BYTES < hashes.length; index++) {
      const hash = hashAt(hashes, index);
      if (isAllZero(hash) || this.#sentPages.has(toHex(hash))) continue;
      this.#sentPages.add(toHex(hash));
      missing.push(hash);
    }
    const joined = new Uint8Array(missing.length * PAGE_HASH_BYTES);
    missing.forEach((hash, index) => joined.set(hash, index * PAGE_HASH_BYTES));
    await this.#sendPages(joined);
  }

  #handOver(
    accepted: Accept,
    by: "replay" | "snapshot",
  ): Promise<MigrationReport["handOver"] & Pick<MigrationReport, "pending">> {
    const { clock, vm } = this.#options;
    return vm.standStill(async (still) => {
      const startedAt = clock.nowMs();
      if (this.#slowedSince !== undefined) this.#slowedMs += startedAt - this.#slowedSince;
      const pending = vm.pendingCall;
      const handOver = await this.#sendHandOver(still, by);
      const { epoch } = await this.#expect("prepared");
      if (epoch !== handOver.epoch)
        throw new ProtocolError(`the destination prepared epoch ${epoch}, not ${handOver.epoch}`);
      this.#commitMoved(still, accepted, handOver);
      let stoodStillMs = 0;
      try {
        await this.#send({ kind: "moved", epoch });
        await this.#expect("taken");
        stoodStillMs = clock.nowMs() - startedAt;
      } finally {
        // Confirmed or not: it never runs here again.
        still.seal();
      }
      const { exitNumber, icount, digest, paused } = handOver;
      return { by, exitNumber, icount, digest, epoch, stoodStillMs, paused, pending };
    });
  }

  async #sendHandOver(still: StandingVm, by: "replay" | "snapshot"): Promise<HandOver> {
    const { vm, digester } = this.#options;
    await this.#send({ kind: "standing", by });
    still.flush();
    // The destination replays these while the digest is computed here.
    await this.#sendEvents();
    const digest = still.digest();
    const snapshot = by === "snapshot" ? still.snapshot() : undefined;
    await this.#sendEvents();
    if (snapshot !== undefined) await this.#sendMissing(snapshot.pageHashes);
    const state = still.state();
    const { firstSeq, chain } = vm.journal.end;
    const handOver: HandOver = {
      ...state,
      kind: "handOver",
      epoch: this.#epoch,
      seq: firstSeq - 1,
      chain,
      digest,
      vmmDigest: vmmDigest(state.vmmSections, digester),
      snapshot,
    };
    await this.#send(handOver);
    return handOver;
  }

  /** The move takes place here, or not at all. */
  #commitMoved(still: StandingVm, { recording, path, name }: Accept, { epoch, seq, digest }: HandOver): void {
    const { journal } = this.#options.vm;
    const { id } = journal.header;
    const row = ownershipRow(id, { epoch, owner: recording, state: OwnershipState.moved }, { path, name, seq, digest });
    still.commitOwnership(row, { kind: CoreKind.ownershipMoved, payload: { epoch, to: recording } });
    this.#movedIn = epoch;
  }
}
