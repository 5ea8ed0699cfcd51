/** Deciding a move that was cut: from the two recordings, or by the operator's force. */
import { resolve } from "node:path";
import {
  CoreKind,
  endingOf,
  EventBatch,
  type OwnershipRow,
  ownershipRow,
  OwnershipState,
  resolveOwnership,
  standingOf,
  shellCommand,
  shellWord,
} from "@hvjournal/core";
import { continueRecording, holdsNothing, openRecording, type RecordingWriter } from "@hvjournal/journal";
import { existsSync } from "node:fs";
import { architectureNamed } from "../architectures.js";
import { CliError } from "../cli-error.js";
import type { CommandContext } from "../commands/command.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { runningVms } from "../vm/control-client.js";
import { spawnDetached } from "../vm/detached.js";
import { nameOfRecording } from "../vm/vm-directory.js";
import { kindsOf } from "./continue-recording.js";

/** For so long a destination may take to see that the connection has broken. */
const RECEIVING_MS = 10_000;
const POLL_MS = 50;

/** One of the recordings of a move. */
export interface MoveFile {
  readonly path: string;
  readonly side: { readonly header: RecordingWriter["header"]; readonly rows: readonly OwnershipRow[] };
  readonly state: string;
  /** Its last event. */
  readonly seq: number;
  readonly exitNumber: number;
}

/** The recording of this name, with .hvj or without. */
export function fileNamed(text: string): string {
  return existsSync(text) || text.endsWith(".hvj") ? text : `${text}.hvj`;
}

export function readFile(text: string): MoveFile {
  const path = fileNamed(text);
  const reader = openRecording(path);
  try {
    const { state, firstSeq, exitNumber } = reader.end;
    return { path, side: { header: reader.header, rows: reader.ownership() }, state, seq: firstSeq - 1, exitNumber };
  } finally {
    reader.close();
  }
}

export function openWriter({ path, side }: MoveFile): RecordingWriter {
  const architecture = architectureNamed(side.header.architecture);
  return continueRecording(path, { kinds: kindsOf(architecture), evenSealed: true });
}

/** The row, with the event of the same step. */
export function commit(
  writer: RecordingWriter,
  row: OwnershipRow,
  kind: { readonly name: string; readonly version: number },
  payload: { readonly [field: string]: string | number },
): void {
  const { firstSeq, exitNumber, icount } = writer.end;
  const batch = new EventBatch();
  batch.begin({ firstSeq, exitNumber, icount });
  batch.appendRow({ seq: firstSeq, kind: kind.name, version: kind.version, vcpu: -1, icount, exitNumber, payload });
  writer.appendOwnership(row, batch);
}

/** `migrate --resolve SRC DST`. */
export async function resolveMove(
  src: string,
  dst: string,
  drives: readonly string[],
  context: CommandContext,
): Promise<ExitCode> {
  await receivedOrGivenUp(dst, context);
  const source = readFile(src);
  const path = fileNamed(dst);
  if (!existsSync(path) || holdsNothing(path)) {
    checkNeverLeft(source, path);
    return staysAt(source, path, `the move never reached ${path}`, context);
  }
  const destination = readFile(dst);
  const verdict = resolveOwnership(source.side, destination.side);
  if (verdict.owner === "source") {
    if (verdict.abandon) abandon(destination, source);
    return staysAt(source, path, "it never said that it moved", context);
  }
  if (source.state !== "sealed") sealed(source);
  if (verdict.take) take(destination, verdict.epoch);
  await goOnThere(destination, drives, context);
  return ExitStatus.done;
}

function staysAt(source: MoveFile, destination: string, why: string, { output }: CommandContext): ExitCode {
  output.line(`${source.path} owns the VM: ${why}`);
  output.note(`next: hvjournal migrate ${shellWord(source.path)} ${nameOfRecording(destination)}`);
  return ExitStatus.done;
}

/** Throws CliError where the source alone does not show that it owns the VM. */
function checkNeverLeft({ path, side }: MoveFile, destination: string): void {
  const standing = standingOf(side.header, side.rows);
  if (standing.is === "owner") return;
  const act = `can't resolve the move to ${destination}`;
  if (standing.is !== "moved")
    throw new CliError(`${act}: ${path} does not own a VM that it could have moved`, {
      ...{ code: "not-owner", status: ExitStatus.no, next: shellCommand("hvjournal", "info", path) },
    });
  const { path: to } = standing.detail;
  const where = typeof to === "string" ? ` (${to})` : "";
  throw new CliError(
    `${act}: ${path} moved its VM to recording ${standing.to}${where}, and nothing of it is in ${destination}`,
    {
      code: "lost",
      details: [
        `  where that recording is lost for good: ${shellCommand("hvjournal", "migrate", path, "--force-reclaim")}`,
      ],
      next: shellCommand("hvjournal", "info", path),
    },
  );
}

/** A destination that has been told that the VM moved, and takes it just now, decides by itself. */
async function receivedOrGivenUp(dst: string, { environment }: CommandContext): Promise<void> {
  const path = resolve(fileNamed(dst));
  for (const until = performance.now() + RECEIVING_MS; performance.now() < until;) {
    const vm = (await runningVms(environment)).find(({ recording }) => recording === path);
    if (vm?.state !== "receiving") return;
    await new Promise((kept) => setTimeout(kept, POLL_MS));
  }
  throw new CliError(`can't resolve the move to ${dst}: it is under way`, {
    code: "busy",
    status: ExitStatus.no,
    next: "hvjournal ps",
  });
}

/** The move will never be: what was prepared for it can't be taken later. */
export function abandon(destination: MoveFile, source: MoveFile): void {
  const writer = openWriter(destination);
  const standing = standingOf(destination.side.header, destination.side.rows);
  const epoch = "epoch" in standing ? standing.epoch : 0;
  const { id } = destination.side.header;
  const step = { epoch, owner: source.side.header.id, state: OwnershipState.abandoned };
  writer.appendOwnership(ownershipRow(id, step, {}));
  writer.finish("sealed", { index: false });
}

function sealed(source: MoveFile): void {
  const writer = openWriter(source);
  writer.finish("sealed", { index: true });
}

function take(destination: MoveFile, epoch: number): void {
  const writer = openWriter(destination);
  const { id, parent } = destination.side.header;
  const row = ownershipRow(id, { epoch, owner: id, state: OwnershipState.taken }, {});
  commit(writer, row, CoreKind.ownershipTaken, { epoch, from: parent?.id ?? "" });
  writer.close();
}

/** undefined: there is something to go on with. */
function stopOfGuest(path: string): string | undefined {
  const reader = openRecording(path);
  try {
    const { stop } = endingOf(reader);
    return stop?.byGuest === true ? `${stop.what} (${stop.by})` : undefined;
  } finally {
    reader.close();
  }
}

async function goOnThere(
  { path }: MoveFile,
  drives: readonly string[],
  { output, environment }: CommandContext,
): Promise<void> {
  const running = (await runningVms(environment)).find(({ recording }) => recording === resolve(path));
  if (running !== undefined) {
    output.line(`${path} owns the VM, and ${running.name} runs (pid ${running.processId})`);
    output.note(`next: hvjournal attach ${running.name}`);
    return;
  }
  const reader = readFile(path);
  const standing = standingOf(reader.side.header, reader.side.rows);
  if (standing.is === "moved") {
    output.line(`${path} took the VM, and it has moved on since`);
    output.note(`next: hvjournal info ${shellWord(path)}`);
    return;
  }
  const stop = stopOfGuest(path);
  if (stop !== undefined) {
    output.line(`${path} owns the VM, and its guest ${stop}`);
    output.note(`next: hvjournal replay ${shellWord(path)}`);
    return;
  }
  const name = nameOfRecording(path);
  const argv = ["receive", "--continue", "--name", name, "-o", path];
  for (const drive of drives) argv.push("--drive", drive);
  const instance = await spawnDetached(argv, { environment, name });
  instance.release();
  output.line(`${path} owns the VM: ${name} runs (pid ${instance.processId})`);
  output.note(`next: hvjournal attach ${name}`);
}
