/** `migrate --force-reclaim SRC [DST]`: the operator's recorded force. What the destination's file tells is looked at first. */
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import {
  CoreKind,
  eachEvent,
  EventKinds,
  HotKind,
  journalCursor,
  type OwnershipRow,
  ownershipRow,
  OwnershipState,
  ROW_EVENT,
  shellCommand,
  standingOf,
} from "@hvjournal/core";
import { openRecording } from "@hvjournal/journal";
import { architectureNamed } from "../architectures.js";
import { CliError } from "../cli-error.js";
import type { CommandContext } from "../commands/command.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { jsonLine } from "../output/console-output.js";
import { counted } from "../output/value-text.js";
import { runningVms } from "../vm/control-client.js";
import { freshName, nameOfRecording } from "../vm/vm-directory.js";
import { recorderAtEnd } from "./continue-recording.js";
import { abandon, commit, fileNamed, type MoveFile, openWriter, readFile } from "./resolve-move.js";

export interface Reclaim {
  readonly src: string;
  /** As the user wrote it. */
  readonly dst: string | undefined;
  /** `--lose`: the last event of the destination, which the user gives up. */
  readonly lose: string | undefined;
  readonly drives: readonly string[];
}

/** Where the VM went from SRC. */
interface Trail {
  /** Readable, the nearest first; each has moved its VM to the next. */
  readonly files: readonly MoveFile[];
  /** The recording behind the last of them that can't be looked at. */
  readonly unseen: { readonly id: string; readonly path: string | undefined } | undefined;
}

export async function forceReclaim(reclaim: Reclaim, context: CommandContext): Promise<ExitCode> {
  const source = readFile(reclaim.src);
  const { header, rows } = source.side;
  const standing = standingOf(header, rows);
  if (standing.is !== "moved")
    throw new CliError(`can't reclaim ${source.path}: its VM has not moved`, {
      code: "not-moved",
      status: ExitStatus.no,
      next: shellCommand("hvjournal", "info", source.path),
    });
  const trail = trailOf(source, reclaim.dst);
  await checkNoneRuns(source, trail, context);
  checkLost(source, trail, reclaim);
  const epochs = [source, ...trail.files].map(({ side }) => standingOf(side.header, side.rows));
  const epoch = Math.max(...epochs.map((each) => ("epoch" in each ? each.epoch : 0))) + 1;
  // The destination first: cut here, neither goes on, and the same command may be repeated.
  const last = trail.files.at(-1);
  if (last !== undefined) takeFrom(last, source, epoch);
  const detail = { lost: standing.to, ...(last === undefined ? {} : { path: resolve(last.path), seq: last.seq }) };
  const row = ownershipRow(header.id, { epoch, owner: header.id, state: OwnershipState.reclaimed }, detail);
  const writer = openWriter(source);
  commit(writer, row, CoreKind.ownershipReclaimed, { epoch, lost: standing.to });
  const recorder = await recorderAtEnd(writer, reclaim.drives);
  recorder.finish({ index: true, by: "migrate --force-reclaim" });
  tell(source, trail, epoch, context);
  return ExitStatus.done;
}

function trailOf(source: MoveFile, dst: string | undefined): Trail {
  const files: MoveFile[] = [];
  for (let from = source; ;) {
    const moved = standingOf(from.side.header, from.side.rows);
    // Back at the source: an attempt to reclaim it was cut.
    if (moved.is !== "moved" || moved.to === source.side.header.id) return { files, unseen: undefined };
    const { path: recorded } = moved.detail;
    const known = typeof recorded === "string" ? recorded : undefined;
    const path = from === source && dst !== undefined ? namedDestination(source, dst) : known;
    const file = path !== undefined && existsSync(path) ? readFile(path) : undefined;
    if (file?.side.header.id !== moved.to) {
      if (from === source && dst !== undefined && file !== undefined) throw another(source, file, moved.to, known);
      return { files, unseen: { id: moved.to, path } };
    }
    files.push(file);
    from = file;
  }
}

function namedDestination(source: MoveFile, dst: string): string {
  const path = fileNamed(dst);
  if (existsSync(path)) return path;
  throw new CliError(`can't reclaim ${source.path}: there is no recording ${path} to look at`, {
    code: "no-file",
    details: ["  where the destination's recording is lost for good, leave its name out"],
    next: shellCommand("hvjournal", "info", source.path),
  });
}

function another(source: MoveFile, { path }: MoveFile, to: string, known: string | undefined): CliError {
  const where = known === undefined ? "" : ` (${known})`;
  return new CliError(
    `can't reclaim ${source.path}: its VM was moved to recording ${to}${where}, and ${path} is another`,
    {
      code: "other-recording",
      status: ExitStatus.no,
      next: shellCommand("hvjournal", "info", path),
    },
  );
}

async function checkNoneRuns(source: MoveFile, { files, unseen }: Trail, context: CommandContext): Promise<void> {
  const paths = new Set([...files.map(({ path }) => resolve(path)), unseen?.path]);
  const running = (await runningVms(context.environment)).find(({ recording }) => paths.has(recording));
  if (running === undefined) return;
  throw new CliError(`can't reclaim ${source.path}: its VM runs as ${running.name} (pid ${running.processId})`, {
    code: "runs",
    status: ExitStatus.no,
    next: `hvjournal attach ${running.name}`,
  });
}

/** Throws CliError where the VM has done something since, which the user has not said to give up. */
function checkLost(source: MoveFile, { files, unseen }: Trail, { dst, lose }: Reclaim): void {
  const last = files.at(-1);
  const first = files[0];
  if (last === undefined || first === undefined) return;
  const { seq: handedOver } = standingDetail(source);
  const since = typeof handedOver === "number" ? handedOver : source.seq;
  const hasMovedOn = files.length > 1 || unseen !== undefined;
  if (!hasMovedOn && !goesBeyond(last, since)) return;
  const end = `event:${last.seq}`;
  if (lose === end) return;
  const exits = last.exitNumber - source.exitNumber;
  const beyond = unseen === undefined ? "" : `, and has moved on to recording ${unseen.id}`;
  const owns = unseen === undefined ? `${last.path} owns the VM, and` : last.path;
  const gone = `${owns} has gone on to exit:${last.exitNumber} (${end})${beyond}`;
  const lost = `${counted(exits, "exit")} of the VM would be lost`;
  const words = ["migrate", source.path, ...(dst === undefined ? [] : [first.path]), "--force-reclaim", "--lose", end];
  throw new CliError(`can't reclaim ${source.path}: ${gone}; ${lost}`, {
    code: "goes-on",
    status: ExitStatus.no,
    fields: { lose: end },
    details: [
      ...(lose === undefined ? [] : [`  --lose ${lose} is not where it stands`]),
      `  to give that up: ${shellCommand("hvjournal", ...words)}`,
    ],
    next:
      unseen === undefined
        ? shellCommand("hvjournal", "receive", "--continue", "-o", last.path)
        : shellCommand("hvjournal", "info", last.path),
  });
}

function standingDetail({ side }: MoveFile): OwnershipRow["detail"] {
  const standing = standingOf(side.header, side.rows);
  return "detail" in standing ? standing.detail : {};
}

/** Whether anything has happened behind an event, other than that somebody looked. */
function goesBeyond({ path }: MoveFile, seq: number): boolean {
  const reader = openRecording(path);
  try {
    const kinds = new EventKinds(architectureNamed(reader.header.architecture).control.kinds);
    let isBeyond = false;
    eachEvent(journalCursor(reader, seq + 1), { first: seq + 1, last: Infinity }, (cursor) => {
      if (cursor.kind === HotKind.digested) return true;
      isBeyond = cursor.kind !== ROW_EVENT || kinds.of(cursor.row).role !== "bookkeeping";
      return !isBeyond;
    });
    return isBeyond;
  } finally {
    reader.close();
  }
}

/** A destination's file that can be written never goes on any more. */
function takeFrom(file: MoveFile, source: MoveFile, epoch: number): void {
  const { header, rows } = file.side;
  const standing = standingOf(header, rows);
  if (standing.is === "prepared") return abandon(file, source);
  if (standing.is !== "owner") return;
  const { id: to } = source.side.header;
  const detail = { path: resolve(source.path), name: nameOfRecording(source.path), by: "migrate --force-reclaim" };
  const row = ownershipRow(header.id, { epoch, owner: to, state: OwnershipState.moved }, detail);
  const writer = openWriter(file);
  if (writer.end.firstSeq - 1 !== file.seq) {
    writer.close();
    throw new CliError(`can't reclaim ${source.path}: ${file.path} has just gone on`, {
      code: "goes-on",
      status: ExitStatus.no,
      next: shellCommand("hvjournal", "migrate", source.path, file.path, "--force-reclaim"),
    });
  }
  // One that broke off may stand in the midst of an answer: an event behind that would be none of the guest's future.
  if (file.state === "closed") commit(writer, row, CoreKind.ownershipMoved, { epoch, to });
  else writer.appendOwnership(row);
  writer.finish("sealed", { index: false });
}

function tell(source: MoveFile, { files, unseen }: Trail, epoch: number, { output }: CommandContext): void {
  const last = files.at(-1);
  if (output.json) {
    const lost = unseen?.id ?? last?.side.header.id;
    output.line(jsonLine({ recording: source.path, owner: source.side.header.id, epoch, lost, sealed: last?.path }));
    return;
  }
  const other = last === undefined ? `recording ${unseen?.id ?? ""}` : basename(last.path);
  output.line(`${source.path} owns the VM again, in epoch ${epoch}; ${other} does not any more`);
  if (unseen !== undefined) {
    const where = unseen.path === undefined ? "" : ` (${unseen.path} is not it)`;
    output.note(
      `note: recording ${unseen.id} could not be looked at${where}, and does not know of this: if it is found, it must not go on`,
    );
  }
  output.note(`next: ${shellCommand("hvjournal", "migrate", source.path, freshName(source.path))}`);
}
