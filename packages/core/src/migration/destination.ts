/** The destination's side of a move: takes the snapshot, replays the tail, takes the VM over. */
import type { Architecture } from "../ports/architecture.js";
import type { HostReference } from "../ports/host.js";
import type { ContractItem } from "../ports/contract.js";
import type { Digester } from "../ports/digester.js";
import type { RecordingHeader, RecordingParent, Snapshot } from "../ports/journal-store.js";
import { CoreKind } from "../event/core-kinds.js";
import { EventBatch } from "../event/event-batch.js";
import type { EventPayload } from "../event/event-kind.js";
import { blockingReasons, compareContracts } from "../contract/compare-contracts.js";
import { contractOf } from "../contract/contract-of.js";
import { judgeConfiguration, refusalsOfConfiguration } from "../contract/judge-configuration.js";
import { deviceItem, type ObservedContract, observedPayload } from "../contract/observations.js";
import { settleHost } from "../contract/settle-host.js";
import { plainControlState, restoreControlState } from "../control/control-plane.js";
import { Machine, type CacheOptions } from "../machine/machine.js";
import { machinePayload, parseMachine, type MachineDescription } from "../machine/machine-description.js";
import { contentHash, hashAt, isAllZero, PAGE_HASH_BYTES, sameBytes, toHex } from "../memory/page-hash.js";
import { PAGE_BYTES } from "../ports/guest-memory.js";
import { Recorder } from "../record/recorder.js";
import { INPUTS_SECTION, type VmmParts } from "../record/live-vm.js";
import { Replayer } from "../replay/replayer.js";
import { readBatchPayload } from "./batch-message.js";
import { MigrationFailedError, MigrationInDoubtError, MigrationRefusedError, reasonOf } from "./migration-error.js";
import { type OwnedJournal, ownershipRow, OwnershipState } from "./ownership.js";
import {
  type Base,
  type DriveOffer,
  type HandOver,
  type Hello,
  messagePayload,
  type MessageOf,
  type MigrationChannel,
  type MigrationMessage,
  ProtocolError,
  readMessage,
  type SessionTerms,
} from "./protocol.js";
import { vmmDigest } from "./vmm-digest.js";

/** What the host gives a VM that comes in. */
export interface DestinationHost {
  readonly formatVersion: number;
  readonly createdBy: string;
  /** Random 128 bits, hex: the name of the new recording. */
  readonly recordingId: string;
  readonly path: string;
  readonly name: string;
  readonly processId: number;
  /** Throws where this build does not have it. */
  architectureNamed(name: string): Architecture;
  /** The host that this destination simulates; undefined: one like the source's. Throws for one that there is not. */
  hostFor?(architecture: Architecture): HostReference | undefined;
  /** A new recording. One that an earlier attempt of this very move has left is replaced. Throws where another file stands. */
  createJournal(header: RecordingHeader): OwnedJournal;
  /** Throws where nothing could be created. */
  checkJournal(source: RecordingHeader): void;
  /** Gives up a recording that never owned anything. */
  discard(journal: OwnedJournal): void;
  /**
   * The VMM half over the drives' base images, by the terms of the source's host. Throws where an image is not there or is
   * another.
   */
  createVmm(machine: MachineDescription, drives: readonly DriveOffer[], terms: EventPayload): VmmParts;
  /** What the new recording says of the machine, where this host's VMM half is not all that the source's was. */
  machineHere?(machine: MachineDescription): MachineDescription;
}

export interface DestinationOptions {
  readonly channel: MigrationChannel;
  readonly digester: Digester;
  readonly host: DestinationHost;
  readonly caches?: CacheOptions;
}

/** A VM that is ours now. */
export interface ReceivedVm {
  readonly recorder: Recorder;
  readonly journal: OwnedJournal;
  readonly epoch: number;
  readonly paused: boolean;
  readonly session: SessionTerms;
  readonly drives: readonly DriveOffer[];
  /** Where the VM came from. */
  readonly source: string;
}

/** A VM of which this side has everything, and which is not ours yet. */
interface PreparedVm {
  readonly recorder: Recorder;
  readonly journal: OwnedJournal;
  readonly handOver: HandOver;
  readonly hello: Hello;
}

/** What the source has said of the VM up to the hand-over. */
interface Received {
  readonly handOver: HandOver;
  readonly observed: ObservedContract;
}

export class MigrationDestination {
  readonly #options: DestinationOptions;
  #journal: OwnedJournal | undefined;
  #vmm: VmmParts | undefined;
  /** undefined: one like the source's. */
  #host: HostReference | undefined;
  /** The epoch for which this side has committed that it is prepared. */
  #preparedFor: number | undefined;

  constructor(options: DestinationOptions) {
    this.#options = options;
  }

  /** From here on the source may have given the VM away: giving up leaves that in doubt. */
  get isPrepared(): boolean {
    return this.#preparedFor !== undefined;
  }

  /**
   * Receives one VM; undefined when the source only asked. Throws MigrationRefusedError, MigrationFailedError (nothing
   * is left here), MigrationInDoubtError (the recording is left, closed, and decides nothing by itself).
   */
  async receive(): Promise<ReceivedVm | undefined> {
    const { channel } = this.#options;
    try {
      const hello = await this.#expect("hello");
      const machine = await this.#answer(hello);
      if (machine === undefined) return undefined;
      const prepared = await this.#prepare(hello);
      return await this.#take(prepared);
    } catch (error) {
      return await this.#giveUp(error);
    } finally {
      channel.close();
    }
  }

  async #giveUp(error: unknown): Promise<never> {
    const { channel, host } = this.#options;
    const isRefused = error instanceof MigrationRefusedError;
    if (this.#preparedFor !== undefined && !(error instanceof SourceAbortedError)) {
      this.#journal?.close();
      throw new MigrationInDoubtError("destination", this.#preparedFor, reasonOf(error), error);
    }
    if (!isRefused && !(error instanceof SourceAbortedError))
      await channel.send(messagePayload({ kind: "abort", reason: reasonOf(error) })).catch(() => undefined);
    if (this.#journal !== undefined) host.discard(this.#journal);
    if (isRefused) throw error;
    await this.#ignoreTheRest();
    throw new MigrationFailedError(reasonOf(error), error);
  }

  /** A source that is still sending would find the connection broken, and never read why. */
  async #ignoreTheRest(): Promise<void> {
    try {
      for (;;) await this.#options.channel.receive();
    } catch {
      // It has read it, and has gone.
    }
  }

  async #send(message: MigrationMessage): Promise<void> {
    await this.#options.channel.send(messagePayload(message));
  }

  async #receive(): Promise<MigrationMessage> {
    const message = readMessage(await this.#options.channel.receive());
    if (message.kind === "abort") throw new SourceAbortedError(`the source gave up: ${message.reason}`);
    return message;
  }

  async #expect<Kind extends MigrationMessage["kind"]>(kind: Kind): Promise<MessageOf<Kind>> {
    const message = await this.#receive();
    if (message.kind !== kind) throw new ProtocolError(`the source said ${message.kind} where ${kind} was due`);
    return message as MessageOf<Kind>;
  }

  /** Accepts or refuses. undefined: the source only wanted to know. */
  async #answer(hello: Hello): Promise<true | undefined> {
    const { host } = this.#options;
    const { reasons, contract } = this.#examine(hello);
    if (reasons.length > 0) {
      await this.#send({ kind: "refuse", reasons, contract });
      if (hello.isExplaining) return undefined;
      throw new MigrationRefusedError(reasons, compareContracts(hello.contract, contract));
    }
    const { recordingId: recording, path, name, processId } = host;
    await this.#send({ kind: "accept", recording, path, name, processId, contract });
    return hello.isExplaining ? undefined : true;
  }

  /** What stands against this VM, and what this host offers it. */
  #examine(hello: Hello): { readonly reasons: readonly string[]; readonly contract: readonly ContractItem[] } {
    const { host } = this.#options;
    const reasons: string[] = [];
    let contract: readonly ContractItem[] = [];
    try {
      const description = parseMachine(hello.header.machine);
      contract = this.#offer(hello, description, (reason) => reasons.push(reason));
      host.checkJournal(hello.header);
    } catch (error) {
      reasons.push(reasonOf(error));
    }
    return { reasons, contract };
  }

  /** The VM is set up here by the commands that a VMM would give, before anything moves. */
  #offer(hello: Hello, description: MachineDescription, object: (reason: string) => void): readonly ContractItem[] {
    const { host, digester, caches } = this.#options;
    const architecture = host.architectureNamed(hello.header.architecture);
    const machine = new Machine({ architecture, digester, machine: description, ...(caches && { caches }) });
    this.#host = host.hostFor?.(architecture);
    const { made, remark } = judgeConfiguration({
      ...{ architecture, machine: description, control: hello.control, host: this.#host },
    });
    machine.kernel.configure(restoreControlState(made.control).architecture);
    const { kernel } = machine;
    const here = host.machineHere?.(description) ?? description;
    const offered = contractOf({
      ...{ architecture, machine: here, control: made.control, kernel, formatVersion: host.formatVersion },
      devices: this.#createVmm(hello, description, object)?.half.devices?.(),
    });
    const isKnown = this.#vmm !== undefined;
    // Without a board nobody can say what devices it would have; why there is none is said.
    const devices = isKnown ? [] : hello.contract.filter(({ name }) => name.startsWith(deviceItem("")));
    const contract = remark([...offered, ...devices], hello.contract);
    const blocking = blockingReasons(compareContracts(hello.contract, contract));
    blocking.forEach(object);
    if (blocking.length === 0) made.differences.forEach((difference) => object(`configuration: ${difference}`));
    return contract;
  }

  #createVmm(hello: Hello, description: MachineDescription, object: (reason: string) => void): VmmParts | undefined {
    try {
      this.#vmm = this.#options.host.createVmm(description, hello.drives, hello.terms);
    } catch (error) {
      object(reasonOf(error));
    }
    return this.#vmm;
  }

  async #prepare(hello: Hello): Promise<PreparedVm> {
    const base = await this.#expect("base");
    const journal = this.#createJournal(hello, base);
    await this.#receiveBase(base, journal);
    const { digester, host, caches } = this.#options;
    const architecture = host.architectureNamed(hello.header.architecture);
    const replayer = new Replayer({ architecture, digester, reader: journal, ...(caches && { caches }) });
    const handOver = await this.#followTail(journal, replayer);
    this.#checkConfiguration(replayer.machine);
    const recorder = this.#adopt(journal, replayer, handOver);
    this.#commitPrepared(recorder, journal, { handOver, observed: base.observed });
    await this.#send({ kind: "prepared", epoch: handOver.epoch });
    return { recorder, journal, handOver, hello };
  }

  #createJournal(hello: Hello, { snapshot, chain }: Base): OwnedJournal {
    const { host } = this.#options;
    const { id, architecture, machine, quirks } = hello.header;
    const { seq, exitNumber, icount } = snapshot;
    const parent: RecordingParent = { id, path: hello.path, chain, seq, exitNumber, icount, why: "migration" };
    const { recordingId, formatVersion, createdBy } = host;
    const { revision } = host.architectureNamed(architecture);
    const journal = host.createJournal({
      ...{ id: recordingId, formatVersion, createdBy, architecture, quirks, parent },
      machine: host.machineHere === undefined ? machine : machinePayload(host.machineHere(parseMachine(machine))),
      architectureRevision: revision,
    });
    this.#journal = journal;
    return journal;
  }

  async #receiveBase({ snapshot }: Base, journal: OwnedJournal): Promise<void> {
    const missing = missingPages(snapshot.pageHashes, journal);
    await this.#send({ kind: "need", hashes: missing });
    for (let left = missing.length / PAGE_HASH_BYTES; left > 0;) {
      const message = await this.#expect("pages");
      this.#storePages(message, journal);
      left -= message.hashes.length / PAGE_HASH_BYTES;
    }
    journal.addSnapshot(snapshot, "normal");
  }

  #storePages({ hashes, contents }: MessageOf<"pages">, journal: OwnedJournal): void {
    for (let index = 0; index * PAGE_HASH_BYTES < hashes.length; index++) {
      const content = contents.slice(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
      const hash = hashAt(hashes, index);
      if (!sameBytes(contentHash(content, this.#options.digester), hash))
        throw new ProtocolError(`page ${toHex(hash)} is not what its hash says`);
      journal.storePage(toHex(hash), content);
    }
  }

  /** Replays what the source does, as it does it, up to the hand-over. */
  async #followTail(journal: OwnedJournal, replayer: Replayer): Promise<HandOver> {
    const batch = new EventBatch();
    let replays = true;
    for (;;) {
      const message = await this.#receive();
      switch (message.kind) {
        case "pages":
          this.#storePages(message, journal);
          break;
        case "events":
          readBatchPayload(message.batch, batch);
          journal.append(batch, "normal");
          if (replays) catchUp(replayer);
          break;
        case "standing":
          replays = message.by === "replay";
          break;
        case "sync":
          await this.#send({ kind: "replayed", round: message.round, icount: replayer.machine.icount });
          break;
        case "handOver":
          this.#checkTail(journal, message);
          if (message.snapshot !== undefined) this.#goTo(message.snapshot, journal, replayer);
          this.#checkState(replayer, message);
          return message;
        default:
          throw new ProtocolError(`the source said ${message.kind} while it ran`);
      }
    }
  }

  /** The whole state of this moment came in the place of replaying the last events. */
  #goTo(snapshot: Snapshot, journal: OwnedJournal, replayer: Replayer): void {
    journal.addSnapshot(snapshot, "normal");
    replayer.restore(snapshot);
    catchUp(replayer);
  }

  #checkTail(journal: OwnedJournal, { seq }: HandOver): void {
    const { firstSeq } = journal.end;
    if (firstSeq !== seq + 1) throw new ProtocolError(`event:${seq} is the last, event:${firstSeq - 1} has come`);
  }

  #checkState({ machine }: Replayer, handOver: HandOver): void {
    for (const field of ["exitNumber", "icount", "guestTimeNs", "exitPending"] as const) {
      if (machine[field] !== handOver[field])
        throw new MigrationFailedError(`${field} is ${handOver[field]} at the source and ${machine[field]} here`);
    }
    const digest = machine.digest();
    if (!sameBytes(digest, handOver.digest))
      throw new MigrationFailedError(
        `guest digest is sha256:${toHex(handOver.digest)} at the source and sha256:${toHex(digest)} here`,
      );
  }

  /** An operator may have changed it since the two have said hello. */
  #checkConfiguration({ architecture, description, control }: Machine): void {
    const subject = { architecture, machine: description, control: plainControlState(control), host: this.#host };
    const [reason, ...more] = refusalsOfConfiguration(subject);
    if (reason !== undefined) throw new MigrationFailedError([reason, ...more].join("; "));
  }

  #adopt(journal: OwnedJournal, replayer: Replayer, handOver: HandOver): Recorder {
    const { digester, caches } = this.#options;
    const { machine } = replayer;
    if (this.#vmm === undefined) throw new ProtocolError("nothing was accepted");
    const { session, vmmSections, nextSnapshot } = handOver;
    const recorder = Recorder.adopt(
      {
        architecture: machine.architecture,
        digester,
        writer: journal,
        vmm: this.#vmm,
        cadence: session.cadence,
        scriptState: session.script,
        interactive: session.interactive,
        ...(caches && { caches }),
      },
      machine,
      vmmSections,
      nextSnapshot,
      handOver.paused || handOver.exitPending,
    );
    const digest = vmmDigest(recorder.live.saveVmm(), digester);
    if (!sameBytes(digest, handOver.vmmDigest))
      throw new MigrationFailedError(
        `VMM digest is sha256:${toHex(handOver.vmmDigest)} at the source and sha256:${toHex(digest)} here`,
      );
    return recorder;
  }

  /** Durable: from here on this file is enough to go on with, as soon as the source's says that it moved. */
  #commitPrepared(recorder: Recorder, journal: OwnedJournal, { handOver, observed }: Received): void {
    const { epoch, digest } = handOver;
    const { id, parent } = journal.header;
    const step = { epoch, owner: parent?.id ?? id, state: OwnershipState.prepared };
    const row = ownershipRow(id, step, preparedDetail(handOver, observed, this.#host));
    recorder.commitRow(CoreKind.ownershipPrepared, { epoch, digest }, (batch) => journal.appendOwnership(row, batch));
    this.#preparedFor = epoch;
  }

  async #take({ recorder, journal, handOver, hello }: PreparedVm): Promise<ReceivedVm> {
    const { epoch } = await this.#expect("moved");
    if (epoch !== handOver.epoch) throw new ProtocolError(`the source moved in epoch ${epoch}, not ${handOver.epoch}`);
    commitTaken(recorder, journal, epoch);
    settleHost(recorder, journal.ownership());
    // The VM is ours whether or not the source hears of it.
    await this.#send({ kind: "taken", epoch }).catch(() => undefined);
    const { paused, session } = handOver;
    return { recorder, journal, epoch, paused, session, drives: hello.drives, source: hello.path };
  }
}

/** The source said that it keeps the VM. */
class SourceAbortedError extends Error {
  override readonly name = "SourceAbortedError";
}

function catchUp(replayer: Replayer): void {
  replayer.refresh();
  replayer.advance();
}

/** Pages that a journal does not have, each once. */
function missingPages(pageHashes: Uint8Array, journal: OwnedJournal): Uint8Array {
  const missing = new Map<string, Uint8Array>();
  for (let index = 0; index * PAGE_HASH_BYTES < pageHashes.length; index++) {
    const hash = hashAt(pageHashes, index);
    if (isAllZero(hash)) continue;
    const name = toHex(hash);
    if (!missing.has(name) && !journal.hasPage(name)) missing.set(name, hash);
  }
  const joined = new Uint8Array(missing.size * PAGE_HASH_BYTES);
  [...missing.values()].forEach((hash, index) => joined.set(hash, index * PAGE_HASH_BYTES));
  return joined;
}

/** What going on from the file alone needs beside the recording itself. */
function preparedDetail(handOver: HandOver, observed: ObservedContract, host: HostReference | undefined): EventPayload {
  const { seq, exitNumber, icount, digest, paused, vmmSections, nextSnapshot } = handOver;
  // Devices come back by running their half again from the snapshot; bytes that none of them has taken would not.
  const inputs = vmmSections.find(({ name }) => name === INPUTS_SECTION)?.bytes ?? null;
  return {
    seq,
    exitNumber,
    icount,
    digest,
    paused,
    nextSnapshot,
    inputs,
    observed: observedPayload(observed),
    ...(host && { host: { ...host } }),
  };
}

export function commitTaken(recorder: Recorder, journal: OwnedJournal, epoch: number): void {
  const { id, parent } = journal.header;
  const row = ownershipRow(id, { epoch, owner: id, state: OwnershipState.taken }, {});
  recorder.commitRow(CoreKind.ownershipTaken, { epoch, from: parent?.id ?? "" }, (batch) =>
    journal.appendOwnership(row, batch),
  );
}
