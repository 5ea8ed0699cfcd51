/** VMs that stand at the end of a recording: going on in it, and moving from it. */
import { resolve } from "node:path";
import {
  type Architecture,
  CoreKind,
  DEFAULT_CADENCE,
  endingOf,
  goOn,
  HOT_EVENT_KINDS,
  INPUTS_SECTION,
  type Machine,
  type MachineDescription,
  MigrationSource,
  type MigrationReport,
  type OwnershipRow,
  OwnershipState,
  parseMachine,
  PayloadFields,
  RecordedVm,
  type Recorder,
  sameBytes,
  settleHost,
  type SnapshotHead,
  type SessionTerms,
  type SourceProgress,
  standingOf,
  decodeCanonicalMap,
  shellCommand,
  shellWord,
} from "@hvjournal/core";
import { continueRecording, openRecording, type RecordingReader, type RecordingWriter } from "@hvjournal/journal";
import { architectureNamed } from "../architectures.js";
import { CliError } from "../cli-error.js";
import { type Arguments, listOption } from "../commands/command.js";
import { ExitStatus } from "../exit-status.js";
import { loadHandlers } from "../handlers/handler-option.js";
import { handlersDifference, recordedHandlers } from "../handlers/recorded-handlers.js";
import { nodeDigester } from "../host/node-digester.js";
import { type Instance, recordedDrivePaths } from "../vm/instance.js";
import { boardDevices } from "../vm/recorded-contract.js";
import { drivePaths, recordedBoard } from "../vm/recorded-machine.js";
import { freshName } from "../vm/vm-directory.js";
import type { MigrationAddress } from "./addresses.js";
import { driveOffers } from "./drive-offers.js";
import { withFaultPoints } from "./fault-point.js";
import { cancelWhenLeft, hostClock, openChannel } from "./migrate-instance.js";
import { type MigrationOptions, pacingOf } from "./migration-options.js";
import { type ReceiveOptions, sessionFor } from "./receive-vm.js";

/** For error messages: which recording a sealed one's VM went to. */
export function sealedError(path: string, act: string, rows: readonly OwnershipRow[]): CliError {
  const moved = rows.findLast(({ state }) => state === OwnershipState.moved);
  const { name, path: to, by } = moved?.detail ?? {};
  const where = typeof name === "string" && typeof to === "string" ? ` to ${name} (${to})` : "";
  const how = typeof by === "string" ? ` by ${by}` : "";
  const when = `in epoch ${moved?.epoch ?? "?"}`;
  return new CliError(`can't ${act} ${path}: it is sealed, its VM was moved${where} ${when}${how}`, {
    code: "vm-moved",
    status: ExitStatus.no,
    next: typeof name === "string" ? `hvjournal attach ${name}` : `hvjournal replay ${shellWord(path)}`,
  });
}

/** Throws CliError where the recording does not own its VM. */
export function checkOwner(path: string, act: string, reader: RecordingReader | RecordingWriter): number {
  const rows = reader.ownership();
  const standing = standingOf(reader.header, rows);
  switch (standing.is) {
    case "owner":
      return standing.epoch;
    case "moved":
      throw sealedError(path, act, rows);
    case "prepared":
      throw new CliError(`can't ${act} ${path}: whether its VM has moved here is in doubt`, {
        code: "migration-in-doubt",
        status: ExitStatus.error,
        next: resolveCommand(reader.header.parent?.path, path),
      });
    case "nobody":
      throw new CliError(`can't ${act} ${path}: its VM never came here`, { code: "not-owner", status: ExitStatus.no });
    default:
      return standing satisfies never;
  }
}

/**
 * The last moment of a VM that has moved goes on where it moved to: it would run twice from there. Every earlier one may
 * become a branch. Throws CliError.
 */
export function checkNotMoved(path: string, reader: RecordingReader, machine: Machine): void {
  const rows = reader.ownership();
  const standing = standingOf(reader.header, rows);
  if (standing.is !== "moved" && standing.is !== "prepared") return;
  const { digest } = standing.detail;
  const { icount, exitNumber } = reader.end;
  const isLast =
    digest instanceof Uint8Array
      ? sameBytes(digest, machine.digest())
      : machine.icount === icount && machine.exitNumber === exitNumber;
  if (!isLast) return;
  if (standing.is === "prepared") checkOwner(path, "record from the end of", reader);
  const { message, status, code, next } = sealedError(path, "record from the end of", rows);
  throw new CliError(message, {
    ...{ code, status, next: next ?? "hvjournal ps" },
    details: [`  an earlier moment of it may become a branch: record --from ${shellWord(`${path}@POSITION`)}`],
  });
}

/** A VM that came here came from a recording. */
function resolveCommand(source: string | undefined, path: string): string {
  return source === undefined
    ? shellCommand("hvjournal", "info", path)
    : shellCommand("hvjournal", "migrate", "--resolve", source, path);
}

export function kindsOf({ control }: Architecture) {
  return [...HOT_EVENT_KINDS, ...Object.values(CoreKind), ...control.kinds];
}

/** A recorder at the very end of a recording that owns its VM. The writer is closed when it can't be made. */
export async function recorderAtEnd(
  writer: RecordingWriter,
  drives: readonly string[],
  handlers: Arguments = {},
): Promise<Recorder> {
  try {
    const architecture = architectureNamed(writer.header.architecture);
    const description = parseMachine(writer.header.machine);
    const recorder = await goOn({
      architecture,
      digester: nodeDigester,
      writer,
      createVmm: () => recordedBoard(description, { args: { ...handlers, drive: drives }, boots: false }),
      interactive: true,
    });
    restoreInputs(recorder, writer.ownership());
    settleHost(recorder, writer.ownership());
    return recorder;
  } catch (error) {
    writer.close();
    throw error;
  }
}

/** Bytes that came along with a move, where the VM has not run since. */
function restoreInputs(recorder: Recorder, rows: readonly OwnershipRow[]): void {
  const prepared = rows.findLast(({ state }) => state === OwnershipState.prepared);
  if (prepared === undefined) return;
  const { icount, exitNumber, inputs } = prepared.detail;
  const { machine, live } = recorder;
  if (icount !== machine.icount || exitNumber !== machine.exitNumber || !(inputs instanceof Uint8Array)) return;
  live.inputs.restore(new PayloadFields(INPUTS_SECTION, decodeCanonicalMap(inputs)).payload);
}

/** The machine that a recording describes does not change within it; one that the VM moves to describes its own. Throws CliError. */
function checkHandlers(path: string, description: MachineDescription, args: Arguments): void {
  const given = listOption(args, "handler");
  if (given.length === 0) return;
  const difference = handlersDifference(recordedHandlers(description), loadHandlers(given, args));
  if (difference === undefined) return;
  const others = given.flatMap((name) => ["--handler", name]);
  throw new CliError(`can't go on with ${path}: ${difference.text}; another one answers where the VM moves to`, {
    ...{ code: "machine-changed", status: ExitStatus.no },
    next: shellCommand("hvjournal", "migrate", path, freshName(path), ...others),
  });
}

/** `receive --continue`: the VM goes on in its own recording. */
export async function continueInstance({ name, path, drives, handlers, index }: ReceiveOptions): Promise<Instance> {
  const reader = openRecording(path);
  let architecture;
  try {
    checkOwner(path, "go on with", reader);
    checkHandlers(path, parseMachine(reader.header.machine), handlers);
    architecture = architectureNamed(reader.header.architecture);
  } finally {
    reader.close();
  }
  const journal = continueRecording(path, { kinds: kindsOf(architecture) });
  const { isPaused } = endingOf(journal);
  const recorder = await recorderAtEnd(journal, drives, handlers);
  const paths = recordedDrivePaths(recorder.machine.description);
  for (const [id, drive] of drivePaths(drives)) paths.set(id, resolve(drive));
  return { ...sessionFor(recorder, {}, isPaused), name, path, journal, drivePaths: paths, index };
}

export interface RecordedSource {
  readonly path: string;
  readonly drives: readonly string[];
}

export interface RecordedMove {
  readonly address: MigrationAddress;
  readonly options: MigrationOptions;
  readonly onProgress: (progress: SourceProgress) => void;
  /** Aborts, with the reason as a text, when nobody wants the move any more. */
  readonly left: AbortSignal;
}

/** Throws CliError where there is no VM that could go on: another file owns it, or the guest has ended. */
function checkMovable(path: string, reader: RecordingReader): void {
  checkOwner(path, "migrate", reader);
  const { stop } = endingOf(reader);
  if (stop?.byGuest !== true) return;
  throw new CliError(
    `can't migrate ${path}: its guest ${stop.what} (${stop.by}) at exit:${reader.end.exitNumber}, there is nothing to go on with`,
    { code: "guest-ended", status: ExitStatus.no, next: `hvjournal replay ${shellWord(path)}` },
  );
}

/** What `migrate` would refuse whatever the destination says, and what `--explain` can't know yet. Throws CliError. */
export function checkRecording({ path }: RecordedSource): void {
  const reader = openRecording(path);
  try {
    checkMovable(path, reader);
    if (endsWithFullSnapshot(reader)) return;
    throw new CliError(
      `can't explain a move of ${path}: it was not closed, so its last units have to run again before it can move, and --explain writes nothing`,
      { code: "not-closed", status: ExitStatus.no, next: shellCommand("hvjournal", "contract", path) },
    );
  } finally {
    reader.close();
  }
}

function lastFullSnapshot(reader: RecordingReader): SnapshotHead | undefined {
  return reader.snapshots().findLast(({ kind }) => kind === "full");
}

function endsWithFullSnapshot(reader: RecordingReader): boolean {
  const { icount, exitNumber, state } = reader.end;
  const last = lastFullSnapshot(reader);
  return state === "closed" && last?.icount === icount && last.exitNumber === exitNumber;
}

/** A recording whose VM may move: closed, with a full snapshot at its end. What broke off is brought to its end first. */
export async function prepareRecording({ path, drives }: RecordedSource, note: (text: string) => void): Promise<void> {
  const reader = openRecording(path);
  let architecture;
  try {
    checkMovable(path, reader);
    architecture = architectureNamed(reader.header.architecture);
    if (endsWithFullSnapshot(reader)) return;
    note(`${path} was not closed: its last units run again from snapshot:${lastFullSnapshot(reader)?.number ?? 0}`);
  } finally {
    reader.close();
  }
  const recorder = await recorderAtEnd(continueRecording(path, { kinds: kindsOf(architecture) }), drives);
  recorder.finish({ index: false, by: "migrate" });
}

function termsOf(): SessionTerms {
  const matcher = { window: "", sequence: [] };
  // How it was run is not in a recording: at a terminal, as most are.
  return { interactive: true, cadence: DEFAULT_CADENCE, script: { entries: [], matched: false, matcher }, host: {} };
}

async function withRecordedVm<Result>(
  source: RecordedSource,
  move: RecordedMove,
  act: (source: MigrationSource) => Promise<Result>,
): Promise<Result> {
  const { path, drives } = source;
  const reader = openRecording(path);
  const description = parseMachine(reader.header.machine);
  const paths = recordedDrivePaths(description);
  for (const [id, drive] of drivePaths(drives)) paths.set(id, resolve(drive));
  let vm: RecordedVm | undefined;
  try {
    vm = recordedVm(path, reader);
    const channel = await openChannel(move.address, move.options, move.left);
    const migration = new MigrationSource({
      vm,
      channel,
      clock: hostClock,
      digester: nodeDigester,
      path: resolve(path),
      drives: driveOffers(description, paths),
      pacing: pacingOf(move.options),
      onProgress: move.onProgress,
    });
    cancelWhenLeft(migration, move.left);
    return await act(migration);
  } finally {
    vm?.close();
    reader.close();
  }
}

function recordedVm(path: string, reader: RecordingReader): RecordedVm {
  const architecture = architectureNamed(reader.header.architecture);
  return new RecordedVm({
    architecture,
    digester: nodeDigester,
    reader,
    open() {
      reader.close();
      return withFaultPoints(continueRecording(path, { kinds: kindsOf(architecture) }));
    },
    leave: (journal) => journal.finish("closed", { index: true }),
    terms: termsOf(),
    devices: boardDevices(parseMachine(reader.header.machine)),
    isPaused: endingOf(reader).isPaused,
    index: true,
  });
}

export function migrateRecording(source: RecordedSource, move: RecordedMove): Promise<MigrationReport> {
  return withRecordedVm(source, move, (migration) => migration.run());
}

export function explainRecording(source: RecordedSource, move: RecordedMove): ReturnType<MigrationSource["explain"]> {
  return withRecordedVm(source, move, (migration) => migration.explain());
}
