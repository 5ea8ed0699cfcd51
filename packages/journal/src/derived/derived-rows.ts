/**
 * The rows that people query, made from the batches. 64-bit quantities are SQLite integers, so
 * they read as signed: 0xffff800008a41c30 is -140737343603664, and printf('%x', pc) shows it as it is.
 */
import {
  CoreKind,
  EventBatch,
  EXIT_WORD_COUNT,
  type ExitFrame,
  ExitWord,
  FinishedBy,
  HotKind,
  KvmExit,
  ROW_EVENT,
  type RowEvent,
  systemEventOf,
} from "@hvjournal/core";
import { readEventKinds } from "../store/header-table.js";
import type { RecordingTables } from "../store/recording-tables.js";
import { type ExitNames, kvmExitName } from "./exit-names.js";

export type SqlValue = number | bigint | string | Uint8Array | null;
export type SqlRow = SqlValue[];

const { asIntN } = BigInt;
/** `info` of an MMIO exit: this bit for a write, the length below it. */
const MMIO_WRITE = 0x100;
const MMIO_LENGTH_MASK = 0xff;

function sqlU64(low: number, high: number): number | bigint {
  if (high === 0) return low;
  return asIntN(64, (BigInt(high) << 32n) | BigInt(low));
}

/** An exit whose answer may still come. */
interface OpenExit {
  readonly number: number;
  readonly seq: number;
  readonly icount: number;
  readonly frame: Uint32Array;
  /** The result, and what else a call gave back: x0 to x3. */
  readonly answer: (number | bigint | null)[];
}

/** In the syndrome of HVC and SMC. */
const IMMEDIATE_MASK = 0xffff;

/** Registers of a call's answer, by their column. */
const ANSWER_REGISTERS: Readonly<Record<string, number>> = { x0: 0, x1: 1, x2: 2, x3: 3 };

export const EXIT_COLUMNS = [
  "nr", "seq", "icount", "vcpu", "reason", "kvm", "handled_by", "pc", "syndrome", "info", "rule",
  "gpa", "size", "is_write", "data", "arg0", "arg1", "arg2", "arg3", "answer", "answer1", "answer2", "answer3",
] as const; // prettier-ignore

function exitRow(exit: OpenExit, names: ExitNames): SqlRow {
  const { number, seq, icount, frame, answer } = exit;
  const word = (index: number): number => frame[index] ?? 0;
  const pair = (low: number): number | bigint => sqlU64(word(low), word(low + 1));
  const info = word(ExitWord.info);
  const kvmExit = word(ExitWord.kvmExit);
  const byVmm = isByVmm(frame);
  const isMmio = byVmm && kvmExit === KvmExit.mmio;
  const isWrite = (info & MMIO_WRITE) !== 0;
  const [answered = null, ...others] = answer;
  return [
    number,
    seq,
    icount,
    word(ExitWord.vcpu),
    names.reason(word(ExitWord.reason)),
    byVmm ? kvmExitName(kvmExit) : null,
    byVmm ? "VMM half" : "kernel half",
    pair(ExitWord.pcLow),
    pair(ExitWord.syndromeLow),
    info,
    word(ExitWord.rule),
    isMmio ? pair(ExitWord.arg0Low) : null,
    isMmio ? info & MMIO_LENGTH_MASK : null,
    isMmio ? Number(isWrite) : null,
    isMmio ? (isWrite ? pair(ExitWord.arg1Low) : answered) : null,
    pair(ExitWord.arg0Low),
    pair(ExitWord.arg1Low),
    pair(ExitWord.arg2Low),
    pair(ExitWord.arg3Low),
    answered,
    ...others,
  ];
}

function isByVmm(frame: ExitFrame): boolean {
  return frame[ExitWord.finishedBy] === FinishedBy.vmmHalf;
}

/** A hypercall of the guest, whoever finishes it. */
function isCall(frame: ExitFrame, names: ExitNames): boolean {
  const isForwarded = isByVmm(frame) && frame[ExitWord.kvmExit] === KvmExit.hypercall;
  return isForwarded || names.isHypercall(frame[ExitWord.reason] ?? 0);
}

/** The kernel half writes x0 to x3, but only x0 for an SMC with an immediate, which is no call of SMCCC. */
function givesAll(frame: ExitFrame, names: ExitNames): boolean {
  const name = names.reason(frame[ExitWord.reason] ?? 0);
  const hasImmediate = ((frame[ExitWord.syndromeLow] ?? 0) & IMMEDIATE_MASK) !== 0;
  return !isByVmm(frame) && (name.startsWith("HVC") || (name.startsWith("SMC") && !hasImmediate));
}

/** Every exit with its answer, which may stand in a later batch. */
function* exits(tables: RecordingTables, names: ExitNames): Generator<OpenExit, void> {
  const { connection, progress } = tables;
  // Without that kind a recorder tells nothing of the other registers.
  const tellsAll = readEventKinds(connection, progress.kindCount).some(
    ({ name }) => name === CoreKind.callReturned.name,
  );
  let open: OpenExit | undefined;
  for (const batch of tables.batchesFrom(0, new EventBatch())) {
    let exit = 0;
    let handled = 0;
    let completed = 0;
    let row = 0;
    for (let index = 0; index < batch.count; index++) {
      const kind = batch.kinds[index];
      const icount = batch.icounts[index] ?? 0;
      if (kind === HotKind.exited) {
        if (open !== undefined) yield open;
        const frame = batch.exits.slice(exit * EXIT_WORD_COUNT, (exit + 1) * EXIT_WORD_COUNT);
        exit += 1;
        const number = batch.firstExitNumber + exit;
        open = { number, seq: batch.firstSeq + index, icount, frame, answer: [null, null, null, null] };
      } else if (kind === HotKind.exitHandled) {
        if (open !== undefined) {
          if (tellsAll && givesAll(open.frame, names)) open.answer.fill(0);
          open.answer[0] = sqlU64(batch.handled[handled * 2] ?? 0, batch.handled[handled * 2 + 1] ?? 0);
        }
        handled += 1;
      } else if (kind === HotKind.exitCompleted) {
        if (open !== undefined)
          open.answer[0] = sqlU64(batch.completed[completed * 2] ?? 0, batch.completed[completed * 2 + 1] ?? 0);
        completed += 1;
      } else if (kind === ROW_EVENT) {
        const event = batch.rows[row++];
        if (event !== undefined && open?.icount === icount && isCall(open.frame, names)) takeRegisters(open, event);
      }
    }
  }
  if (open !== undefined) yield open;
}

function takeRegisters({ answer, frame }: OpenExit, { kind, vcpu, payload }: RowEvent): void {
  if (vcpu !== frame[ExitWord.vcpu]) return;
  const { name, value, registers } = payload;
  const written =
    kind === CoreKind.callReturned.name
      ? Object.entries(registers ?? {})
      : kind === CoreKind.registerSet.name
        ? [[String(name), value] as const]
        : [];
  for (const [register, each] of written) {
    const column = ANSWER_REGISTERS[register];
    if (column !== undefined && typeof each === "bigint") answer[column] = asIntN(64, each);
  }
}

export function* exitRows(tables: RecordingTables, names: ExitNames): Generator<SqlRow, void> {
  for (const exit of exits(tables, names)) yield exitRow(exit, names);
}

export const HYPERCALL_COLUMNS = [
  "exit_nr", "seq", "icount", "vcpu", "reason", "handled_by", "function", "flags", "arg1", "arg2", "arg3", "rule", "answer", "pc",
  "answer1", "answer2", "answer3",
] as const; // prettier-ignore

/** Where it has another name there. */
const EXIT_COLUMN_OF: Readonly<Record<string, (typeof EXIT_COLUMNS)[number]>> = {
  exit_nr: "nr",
  function: "arg0",
  flags: "info",
};

/** `answer` to `answer3` are x0 to x3, null where nobody wrote them. */
export function* hypercallRows(tables: RecordingTables, names: ExitNames): Generator<SqlRow, void> {
  for (const exit of exits(tables, names)) {
    const { frame } = exit;
    if (!isCall(frame, names)) continue;
    const row = Object.fromEntries(exitRow(exit, names).map((value, index) => [EXIT_COLUMNS[index], value]));
    yield HYPERCALL_COLUMNS.map((column) => {
      if (column === "flags" && frame[ExitWord.kvmExit] === KvmExit.systemEvent)
        return systemEventOf(Number(row["info"])).flags;
      return row[EXIT_COLUMN_OF[column] ?? column] ?? null;
    });
  }
}

export const CONSOLE_COLUMNS = ["port", "line", "seq", "icount", "exit_nr", "text"] as const;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** A guest that never ends its line gets one row for so many bytes. */
const LINE_BYTES_MAX = 64 * 1024;

/** The line that a port is writing. */
interface OpenLine {
  number: number;
  readonly bytes: number[];
  seq: number;
  icount: number;
  exitNumber: number;
}

function consoleRow(port: number, line: OpenLine): SqlRow {
  const length = line.bytes.at(-1) === CARRIAGE_RETURN ? line.bytes.length - 1 : line.bytes.length;
  const text = new TextDecoder().decode(Uint8Array.from(line.bytes.slice(0, length)));
  return [port, line.number, line.seq, line.icount, line.exitNumber, text];
}

/** What the guest has written, line by line; each stands where its last byte was written. The last may lack its end. */
export function* consoleRows(tables: RecordingTables): Generator<SqlRow, void> {
  const open = new Map<number, OpenLine>();
  for (const batch of tables.batchesFrom(0, new EventBatch())) {
    let output = 0;
    let exitNumber = batch.firstExitNumber;
    for (let index = 0; index < batch.count; index++) {
      if (batch.kinds[index] === HotKind.exited) exitNumber += 1;
      if (batch.kinds[index] !== HotKind.outputProduced) continue;
      const [port = 0, offset = 0, length = 0] = batch.outputs.subarray(output * 3, output * 3 + 3);
      output += 1;
      const line = open.get(port) ?? { number: 1, bytes: [], seq: 0, icount: 0, exitNumber: 0 };
      open.set(port, line);
      for (const byte of batch.outputBytes.subarray(offset, offset + length)) {
        Object.assign(line, { seq: batch.firstSeq + index, icount: batch.icounts[index] ?? 0, exitNumber });
        if (byte !== LINE_FEED) line.bytes.push(byte);
        if (byte !== LINE_FEED && line.bytes.length < LINE_BYTES_MAX) continue;
        yield consoleRow(port, line);
        line.number += 1;
        line.bytes.length = 0;
      }
    }
  }
  for (const [port, line] of open) if (line.bytes.length > 0) yield consoleRow(port, line);
}
