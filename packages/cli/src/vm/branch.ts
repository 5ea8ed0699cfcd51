/** `record --from FILE[@POSITION]`: a VM that goes on from a moment of a recording, in a recording of its own. */
import {
  type Architecture,
  eachEvent,
  EventKinds,
  formatPosition,
  type Goal,
  HotKind,
  journalCursor,
  type Machine,
  type MachineDescription,
  machinePosition,
  parseMachine,
  type RecordingParent,
  Replayer,
  ROW_EVENT,
  sameBytes,
  seek,
  type Snapshot,
  Verifier,
  type VmmParts,
  shellCommand,
} from "@hvjournal/core";
import { openRecording, type RecordingReader, type RecordingWriter } from "@hvjournal/journal";
import { architectureNamed } from "../architectures.js";
import { CliError } from "../cli-error.js";
import type { Arguments } from "../commands/command.js";
import { ExitStatus } from "../exit-status.js";
import { machineWithHandlers } from "../handlers/recorded-handlers.js";
import { nodeDigester } from "../host/node-digester.js";
import { checkNotMoved } from "../migration/continue-recording.js";
import { checkReached, fileAtPosition, findPlace } from "./open-recording.js";
import { recordedBoard } from "./recorded-machine.js";

const PAGE_HASH_BYTES = 16;

/** Where the new recording begins. */
export interface Branch {
  readonly architecture: Architecture;
  readonly description: MachineDescription;
  readonly parent: RecordingParent;
  /** Full; its pages are still in the parent. */
  readonly snapshot: Snapshot;
  /** To run on with. */
  readonly vmm: VmmParts;
  /** Stores the snapshot and its pages as the base of the new recording. */
  storeBase(writer: RecordingWriter): void;
  close(): void;
}

/** Throws CliError, PositionError, DivergenceError when the recording does not run as it did, and what the journal throws. */
export async function openBranch(text: string, args: Arguments): Promise<Branch> {
  const { file, position = { at: "end" } } = fileAtPosition(text);
  const reader = openRecording(file);
  try {
    const architecture = architectureNamed(reader.header.architecture);
    const description = parseMachine(reader.header.machine);
    const replayer = new Replayer({ architecture, digester: nodeDigester, reader });
    const place = findPlace(formatPosition(position), reader, "full");
    checkReached(seek(replayer, place.goal), place, replayer, file);
    checkNotMoved(file, reader, replayer.machine);
    // What lies behind was answered by the handlers of then.
    const { handler: _, ...asRecorded } = args;
    const moment: Moment = { reader, file, architecture, machine: replayer.machine, seq: replayer.nextSeq - 1 };
    const { snapshot, content } = await fullSnapshot(moment, () =>
      recordedBoard(description, { args: asRecorded, boots: false }),
    );
    return {
      architecture,
      description: machineWithHandlers(description, args),
      parent: parentAt(moment),
      snapshot,
      vmm: recordedBoard(description, { args, boots: false, replacesHandlers: true }),
      storeBase(writer) {
        storePages(snapshot, content, writer);
        writer.addSnapshot(snapshot, "full");
      },
      close: () => reader.close(),
    };
  } catch (error) {
    reader.close();
    throw error;
  }
}

interface Moment {
  readonly reader: RecordingReader;
  readonly file: string;
  readonly architecture: Architecture;
  /** Stands at the moment, guest half only. */
  readonly machine: Machine;
  /** The last event that has taken effect there. */
  readonly seq: number;
}

type PageContent = (hash: string) => Uint8Array;

interface FullSnapshot {
  readonly snapshot: Snapshot;
  readonly content: PageContent;
}

/** The recording's own where it has one of this moment; else the VMM half runs again from the last one before. */
async function fullSnapshot(moment: Moment, board: () => VmmParts): Promise<FullSnapshot> {
  const { reader, machine, seq } = moment;
  const heads = reader.snapshots().filter((head) => head.kind === "full" && head.seq <= seq);
  const nearest = heads.at(-1);
  if (nearest === undefined)
    throw new CliError(`${moment.file} has no full snapshot up to event:${seq}`, { code: "no-snapshot" });
  const snapshot = reader.loadSnapshot(nearest.number);
  const content: PageContent = (hash) => reader.loadPage(hash);
  const isSameGuest = sameBytes(snapshot.digest, machine.digest());
  // The new recording's events begin behind this moment, and so does its base.
  if (isSameGuest && isQuietSince(nearest.seq, moment)) return { snapshot: { ...snapshot, seq }, content };
  return rerun(moment, snapshot, isSameGuest ? { seq } : goalOf(machine, snapshot), board());
}

/** Whether nothing but digests and bookkeeping stands between an event and the moment: the VMM half is as it was, too. */
function isQuietSince(from: number, { reader, architecture, seq }: Moment): boolean {
  const kinds = new EventKinds(architecture.control.kinds);
  let isQuiet = true;
  eachEvent(journalCursor(reader, from + 1), { first: from + 1, last: seq }, (cursor) => {
    isQuiet =
      cursor.kind === HotKind.digested || (cursor.kind === ROW_EVENT && kinds.of(cursor.row).role === "bookkeeping");
    return isQuiet;
  });
  return isQuiet;
}

async function rerun(moment: Moment, from: Snapshot, goal: Goal, vmm: VmmParts): Promise<FullSnapshot> {
  const { reader, architecture, machine, seq } = moment;
  const verifier = new Verifier({ architecture, digester: nodeDigester, reader, vmm, from });
  await verifier.step(Infinity, goal);
  const guestSections = verifier.machine.saveSections();
  const digest = verifier.machine.digest(guestSections);
  if (!sameBytes(digest, machine.digest()))
    throw new CliError(
      `can't go live at ${formatPosition(machinePosition(machine))}: the VMM half was in the middle of an answer`,
      {
        code: "not-a-boundary",
        status: ExitStatus.no,
        next: shellCommand("hvjournal", "record", "--from", `${moment.file}@exit:${machine.exitNumber}`),
      },
    );
  const written = new Map<string, Uint8Array>();
  const store = {
    hasPage: (hash: string) => written.has(hash),
    storePage: (hash: string, bytes: Uint8Array) => void written.set(hash, bytes.slice()),
  };
  const snapshot: Snapshot = {
    number: from.number + 1,
    kind: "full",
    seq,
    exitNumber: machine.exitNumber,
    icount: machine.icount,
    guestTimeNs: machine.guestTimeNs,
    digest,
    guestSections,
    vmmSections: verifier.live.saveVmm(),
    control: verifier.machine.plainControl(),
    pageHashes: verifier.machine.pages.advance(nodeDigester, store),
  };
  return { snapshot, content: (hash) => written.get(hash) ?? reader.loadPage(hash) };
}

/** The moment at which a machine stands, as a goal behind a snapshot. */
function goalOf(machine: Machine, from: Snapshot): Goal {
  const { exitNumber, icount, answeredIcount } = machine;
  if (machine.exitPending) return { exitNumber };
  if (machine.skippedIcount === icount) return { guestTimeNs: machine.guestTimeNs };
  return from.exitNumber < exitNumber ? { exitNumber, unitsAfter: icount - answeredIcount } : { icount };
}

function parentAt({ reader, file, machine, seq }: Moment): RecordingParent {
  const { exitNumber, icount } = machine;
  return { id: reader.header.id, path: file, chain: chainBehind(reader, seq), seq, exitNumber, icount, why: "branch" };
}

/** The first link of the chain that covers event `seq`. */
function chainBehind(reader: RecordingReader, seq: number): string {
  for (let last = seq; last < reader.end.firstSeq; last++) {
    const chain = reader.chainAt(last);
    if (chain !== undefined) return chain;
  }
  return reader.end.chain;
}

function storePages(snapshot: Snapshot, content: PageContent, writer: RecordingWriter): void {
  const { pageHashes } = snapshot;
  for (let at = 0; at < pageHashes.length; at += PAGE_HASH_BYTES) {
    const bytes = pageHashes.subarray(at, at + PAGE_HASH_BYTES);
    if (bytes.every((byte) => byte === 0)) continue;
    const hash = Buffer.from(bytes).toString("hex");
    if (!writer.hasPage(hash)) writer.storePage(hash, content(hash));
  }
}
