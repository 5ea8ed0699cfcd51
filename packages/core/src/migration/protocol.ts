/**
 * What the two ends of a move say to each other. All messages are plain data; the channel carries them in order.
 *
 *     source                                   destination
 *     hello: who, what machine, contract  ───►
 *                                         ◄─── accept | refuse
 *     base: a full snapshot               ───►
 *                                         ◄─── need: pages that are not there
 *     pages ...                           ───►
 *     events ..., sync                    ───►       (rounds, while the VM runs)
 *                                         ◄─── replayed
 *     [VM stands still]  standing, events ... ►
 *     handOver                            ───►
 *                                         ◄─── prepared          (durable)
 *     moved                (durable)      ───►
 *                                         ◄─── taken             (durable); the VM runs
 *
 * Either end may say `abort` up to `moved`.
 */
import type { EventPayload, PlainValue } from "../event/event-kind.js";
import { isPlainMap } from "../canonical/canonical-encoding.js";
import { PayloadError, PayloadFields } from "../canonical/payload-fields.js";
import type { RecordingHeader, Snapshot, SnapshotHead } from "../ports/journal-store.js";
import type { StateSection } from "../ports/state-section.js";
import { parseScriptState, scriptPayload, type ScriptState } from "../record/input-script.js";
import type { Cadence } from "../record/recorder.js";
import {
  observationPayload,
  type ObservedContract,
  observedPayload,
  readObservation,
  readObserved,
} from "../contract/observations.js";
import type { ContractItem, ItemRange, ItemRule } from "../ports/contract.js";

export const MIGRATION_PROTOCOL = 2;

/** Carries messages in order, each once. */
export interface MigrationChannel {
  /** Kept once the host has taken it; waits while the peer is slow. Rejects when the channel is closed. */
  send(message: EventPayload): Promise<void>;
  /** Rejects with ChannelClosedError when nothing more comes. */
  receive(): Promise<EventPayload>;
  close(): void;
  /** Bytes that went out, as the host counts them. */
  readonly bytesSent: number;
}

/** The peer is gone, or was sent away. */
export class ChannelClosedError extends Error {
  override readonly name: string = "ChannelClosedError";
}

/** All of it took longer than the operator allowed. */
export class ChannelTimeoutError extends ChannelClosedError {
  override readonly name = "ChannelTimeoutError";
}

/** Host time, for pacing alone: no event depends on it. */
export interface MigrationClock {
  nowMs(): number;
  /** Lets the host do what else is due: the guest's next slice among it. */
  yield(): Promise<void>;
}

/** The peer said something that makes no sense here. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

export interface DriveOffer {
  readonly id: string;
  readonly bytes: number;
  readonly readOnly: boolean;
  /** SHA-256 of the base image, hex. */
  readonly fingerprint: string;
  /** Where the source finds it. */
  readonly path: string;
}

export interface Hello {
  readonly kind: "hello";
  readonly header: RecordingHeader;
  /** Where the source's recording lies, for people. */
  readonly path: string;
  readonly formatVersion: number;
  readonly epoch: number;
  readonly contract: readonly ContractItem[];
  readonly control: EventPayload;
  readonly drives: readonly DriveOffer[];
  /** The host's own terms as they are now, where the VM runs: the VMM half is made by them. */
  readonly terms: EventPayload;
  /** Only to be told what would be said. */
  readonly isExplaining: boolean;
}

export interface Accept {
  readonly kind: "accept";
  /** `RecordingHeader.id` that the destination's recording will have. */
  readonly recording: string;
  readonly path: string;
  readonly name: string;
  readonly processId: number;
  readonly contract: readonly ContractItem[];
}

export interface Refuse {
  readonly kind: "refuse";
  readonly reasons: readonly string[];
  readonly contract: readonly ContractItem[];
}

export interface Base {
  readonly kind: "base";
  readonly snapshot: Snapshot;
  /** Chain head of the source at the snapshot, hex. */
  readonly chain: string;
  /** What the guest had asked for up to there. */
  readonly observed: ObservedContract;
}

/** What the session at the destination goes on with. */
export interface SessionTerms {
  readonly interactive: boolean;
  readonly cadence: Cadence;
  readonly script: ScriptState;
  /** The host's own terms: goals, time limits. */
  readonly host: EventPayload;
}

export interface HandOver {
  readonly kind: "handOver";
  readonly epoch: number;
  /** The last event. */
  readonly seq: number;
  readonly chain: string;
  readonly exitNumber: number;
  readonly icount: number;
  readonly guestTimeNs: number;
  readonly exitPending: boolean;
  /** The operator had paused it: it stays so. */
  readonly paused: boolean;
  readonly digest: Uint8Array;
  /** Over `vmmSections`. */
  readonly vmmDigest: Uint8Array;
  readonly vmmSections: readonly StateSection[];
  readonly nextSnapshot: number;
  readonly session: SessionTerms;
  /** The whole state of this moment, where that is cheaper than replaying the last events. */
  readonly snapshot: Snapshot | undefined;
}

export interface Simple<Kind extends string> {
  readonly kind: Kind;
}

export type MigrationMessage =
  | Hello
  | Accept
  | Refuse
  | Base
  | HandOver
  | { readonly kind: "need"; readonly hashes: Uint8Array }
  | { readonly kind: "pages"; readonly hashes: Uint8Array; readonly contents: Uint8Array }
  | { readonly kind: "events"; readonly batch: EventPayload }
  | { readonly kind: "sync"; readonly round: number }
  | { readonly kind: "replayed"; readonly round: number; readonly icount: number }
  /** The VM stands still; with a snapshot the events that come are stored, and not replayed. */
  | { readonly kind: "standing"; readonly by: "replay" | "snapshot" }
  | { readonly kind: "prepared"; readonly epoch: number }
  | { readonly kind: "moved"; readonly epoch: number }
  | { readonly kind: "taken"; readonly epoch: number }
  | { readonly kind: "abort"; readonly reason: string };

export type MessageOf<Kind extends MigrationMessage["kind"]> = Extract<MigrationMessage, { readonly kind: Kind }>;

function maps(fields: PayloadFields, name: string): PayloadFields[] {
  return fields.array(name).map((item) => {
    if (!isPlainMap(item)) throw new PayloadError(fields.what, name, "map", item);
    return new PayloadFields(`${fields.what}: ${name}`, item);
  });
}

function strings(fields: PayloadFields, name: string): string[] {
  return fields.array(name).map((item) => {
    if (typeof item !== "string") throw new PayloadError(fields.what, name, "string", item);
    return item;
  });
}

export function sectionsPayload(sections: readonly StateSection[]): PlainValue {
  return sections.map(({ name, version, bytes }) => ({ name, version, bytes }));
}

export function readSections(fields: PayloadFields, name: string): StateSection[] {
  return maps(fields, name).map((section) => ({
    name: section.string("name"),
    version: section.number("version"),
    bytes: section.bytes("bytes"),
  }));
}

export function snapshotPayload(snapshot: Snapshot): EventPayload {
  const { number, kind, seq, exitNumber, icount, guestTimeNs, digest, control, pageHashes } = snapshot;
  return {
    ...{ number, kind, seq, exitNumber, icount, guestTimeNs, digest, control, pageHashes },
    guestSections: sectionsPayload(snapshot.guestSections),
    vmmSections: sectionsPayload(snapshot.vmmSections),
  };
}

export function readSnapshotPayload(payload: EventPayload): Snapshot {
  const fields = new PayloadFields("snapshot", payload);
  const kind = fields.string("kind");
  if (kind !== "full" && kind !== "seek") throw new PayloadError("snapshot", "kind", "full or seek", kind);
  const head: SnapshotHead = {
    number: fields.number("number"),
    kind,
    seq: fields.number("seq"),
    exitNumber: fields.number("exitNumber"),
    icount: fields.number("icount"),
    guestTimeNs: fields.number("guestTimeNs"),
    digest: fields.bytes("digest"),
  };
  return {
    ...head,
    guestSections: readSections(fields, "guestSections"),
    vmmSections: readSections(fields, "vmmSections"),
    control: fields.map("control"),
    pageHashes: fields.bytes("pageHashes"),
  };
}

function headerPayload(header: RecordingHeader): EventPayload {
  const { id, formatVersion, createdBy, architecture, architectureRevision, machine, quirks } = header;
  return { id, formatVersion, createdBy, architecture, architectureRevision, machine, quirks };
}

/** The parent's own parent is nothing to its child. */
function readHeader(fields: PayloadFields): RecordingHeader {
  return {
    id: fields.string("id"),
    formatVersion: fields.number("formatVersion"),
    createdBy: fields.string("createdBy"),
    architecture: fields.string("architecture"),
    architectureRevision: fields.number("architectureRevision"),
    machine: fields.map("machine"),
    quirks: strings(fields, "quirks"),
    parent: undefined,
  };
}

function contractPayload(items: readonly ContractItem[]): PlainValue {
  // Which numbers were asked for is the source's to tell; ranges are compared at both ends.
  return items.map(({ observed, remark, range, asked: _asked, askedAs: _askedAs, ...rest }) => ({
    ...rest,
    ...(range === undefined ? {} : { range: { ...range, spaces: [...range.spaces] } }),
    ...(observed === undefined ? {} : { observed: observationPayload(observed) }),
    ...(remark === undefined ? {} : { remark: { ...remark } }),
  }));
}

const ITEM_RULES: readonly ItemRule[] = ["same", "at least", "hidden"];

function oneOf<const Word extends string>(fields: PayloadFields, name: string, words: readonly Word[]): Word {
  const text = fields.string(name);
  const found = words.find((word) => word === text);
  if (found === undefined) throw new PayloadError(fields.what, name, words.join(" or "), text);
  return found;
}

function readRange(range: PayloadFields): ItemRange {
  return {
    group: range.string("group"),
    spaces: strings(range, "spaces"),
    first: range.number("first"),
    last: range.number("last"),
    effect: range.string("effect"),
    ...(range.has("isRest") ? { isRest: range.boolean("isRest") } : {}),
  };
}

function readItem(item: PayloadFields): ContractItem {
  const optional = (name: "offered" | "advice" | "enough"): { readonly [Name in typeof name]?: string } =>
    item.has(name) ? { [name]: item.string(name) } : {};
  const remark = item.has("remark") ? new PayloadFields("contract: remark", item.map("remark")) : undefined;
  return {
    name: item.string("name"),
    value: item.string("value"),
    isObservable: item.boolean("isObservable"),
    ...optional("offered"),
    ...optional("advice"),
    ...optional("enough"),
    ...(item.has("rule") ? { rule: oneOf(item, "rule", ITEM_RULES) } : {}),
    ...(item.has("level") ? { level: item.number("level") } : {}),
    ...(item.has("observed")
      ? { observed: readObservation(new PayloadFields("contract: observed", item.map("observed"))) }
      : {}),
    ...(item.has("range") ? { range: readRange(new PayloadFields("contract: range", item.map("range"))) } : {}),
    ...(remark === undefined
      ? {}
      : { remark: { verdict: oneOf(remark, "verdict", ["fix", "warn", "block"]), text: remark.string("text") } }),
  };
}

function readContract(fields: PayloadFields): ContractItem[] {
  return maps(fields, "contract").map(readItem);
}

function sessionPayload({ interactive, cadence, script, host }: SessionTerms): EventPayload {
  return { interactive, cadence: { ...cadence }, script: scriptPayload(script), host };
}

function readSession(fields: PayloadFields): SessionTerms {
  const cadence = new PayloadFields("session: cadence", fields.map("cadence"));
  return {
    interactive: fields.boolean("interactive"),
    cadence: {
      digestEvery: cadence.number("digestEvery"),
      seekPointEvery: cadence.number("seekPointEvery"),
      fullSnapshotEvery: cadence.number("fullSnapshotEvery"),
    },
    script: parseScriptState(fields.map("script")),
    host: fields.map("host"),
  };
}

/** A message as the channel carries it. */
export function messagePayload(message: MigrationMessage): EventPayload {
  switch (message.kind) {
    case "hello": {
      const { header, contract, drives, ...rest } = message;
      return {
        ...rest,
        protocol: MIGRATION_PROTOCOL,
        header: headerPayload(header),
        contract: contractPayload(contract),
        drives: drives.map((drive) => ({ ...drive })),
      };
    }
    case "accept":
    case "refuse":
      return { ...message, contract: contractPayload(message.contract) };
    case "base":
      return {
        ...{ kind: message.kind, chain: message.chain, snapshot: snapshotPayload(message.snapshot) },
        observed: observedPayload(message.observed),
      };
    case "handOver": {
      const { vmmSections, session, snapshot, ...rest } = message;
      return {
        ...rest,
        vmmSections: sectionsPayload(vmmSections),
        session: sessionPayload(session),
        snapshot: snapshot === undefined ? null : snapshotPayload(snapshot),
      };
    }
    default:
      return { ...message };
  }
}

function readHello(fields: PayloadFields): Hello {
  const protocol = fields.number("protocol");
  if (protocol !== MIGRATION_PROTOCOL)
    throw new ProtocolError(`the source speaks migration protocol ${protocol}, this build ${MIGRATION_PROTOCOL}`);
  return {
    kind: "hello",
    header: readHeader(new PayloadFields("hello: header", fields.map("header"))),
    path: fields.string("path"),
    formatVersion: fields.number("formatVersion"),
    epoch: fields.number("epoch"),
    contract: readContract(fields),
    control: fields.map("control"),
    drives: maps(fields, "drives").map((drive) => ({
      id: drive.string("id"),
      bytes: drive.number("bytes"),
      readOnly: drive.boolean("readOnly"),
      fingerprint: drive.string("fingerprint"),
      path: drive.string("path"),
    })),
    // An older source says nothing of them here.
    terms: fields.has("terms") ? fields.map("terms") : {},
    isExplaining: fields.boolean("isExplaining"),
  };
}

function readHandOver(fields: PayloadFields): HandOver {
  return {
    kind: "handOver",
    epoch: fields.number("epoch"),
    seq: fields.number("seq"),
    chain: fields.string("chain"),
    exitNumber: fields.number("exitNumber"),
    icount: fields.number("icount"),
    guestTimeNs: fields.number("guestTimeNs"),
    exitPending: fields.boolean("exitPending"),
    paused: fields.boolean("paused"),
    digest: fields.bytes("digest"),
    vmmDigest: fields.bytes("vmmDigest"),
    vmmSections: readSections(fields, "vmmSections"),
    nextSnapshot: fields.number("nextSnapshot"),
    session: readSession(new PayloadFields("session", fields.map("session"))),
    snapshot: fields.has("snapshot") ? readSnapshotPayload(fields.map("snapshot")) : undefined,
  };
}

/** Throws PayloadError for a message that is not whole, ProtocolError for one that nobody knows. */
export function readMessage(payload: EventPayload): MigrationMessage {
  const kind = new PayloadFields("migration message", payload).string("kind");
  const fields = new PayloadFields(`migration message ${kind}`, payload);
  switch (kind) {
    case "hello":
      return readHello(fields);
    case "accept":
      return {
        kind,
        recording: fields.string("recording"),
        path: fields.string("path"),
        name: fields.string("name"),
        processId: fields.number("processId"),
        contract: readContract(fields),
      };
    case "refuse":
      return { kind, reasons: strings(fields, "reasons"), contract: readContract(fields) };
    case "base":
      return {
        ...{ kind, chain: fields.string("chain"), snapshot: readSnapshotPayload(fields.map("snapshot")) },
        observed: readObserved(fields.map("observed")),
      };
    case "handOver":
      return readHandOver(fields);
    case "need":
      return { kind, hashes: fields.bytes("hashes") };
    case "pages":
      return { kind, hashes: fields.bytes("hashes"), contents: fields.bytes("contents") };
    case "events":
      return { kind, batch: fields.map("batch") };
    case "sync":
      return { kind, round: fields.number("round") };
    case "replayed":
      return { kind, round: fields.number("round"), icount: fields.number("icount") };
    case "standing":
      return { kind, by: fields.string("by") === "snapshot" ? "snapshot" : "replay" };
    case "prepared":
    case "moved":
    case "taken":
      return { kind, epoch: fields.number("epoch") };
    case "abort":
      return { kind, reason: fields.string("reason") };
    default:
      throw new ProtocolError(`unknown migration message ${kind}`);
  }
}
