/**
 * The rows that people query, made from the batches. 64-bit quantities are SQLite integers, so
 * they read as signed: 0xffff800008a41c30 is -140737343603664, and printf('%x', pc) shows it as it is.
 */
import { EventBatch, EXIT_WORD_COUNT, ExitWord, FinishedBy, HotKind, KvmExit, systemEventOf } from "@hvjournal/core";
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

interface Answer {
  readonly low: number;
  readonly high: number;
}

/** An exit whose answer may still come. */
interface OpenExit {
  readonly number: number;
  readonly seq: number;
  readonly icount: number;
  readonly frame: Uint32Array;
  answer: Answer | undefined;
}

export const EXIT_COLUMNS = [
  "nr", "seq", "icount", "vcpu", "reason", "kvm", "handled_by", "pc", "syndrome", "info", "rule",
  "gpa", "size", "is_write", "data", "arg0", "arg1", "arg2", "arg3", "answer",
] as const; // prettier-ignore

function exitRow(exit: OpenExit, names: ExitNames): SqlRow {
  const { number, seq, icount, frame, answer } = exit;
  const word = (index: number): number => frame[index] ?? 0;
  const pair = (low: number): number | bigint => sqlU64(word(low), word(low + 1));
  const info = word(ExitWord.info);
  const kvmExit = word(ExitWord.kvmExit);
  const byVmm = word(ExitWord.finishedBy) === FinishedBy.vmmHalf;
  const isMmio = byVmm && kvmExit === KvmExit.mmio;
  const isWrite = (info & MMIO_WRITE) !== 0;
  const answered = answer === undefined ? null : sqlU64(answer.low, answer.high);
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
  ];
}

/** Every exit with its answer, which may stand in a later batch. */
function* exits(tables: RecordingTables): Generator<OpenExit, void> {
  let open: OpenExit | undefined;
  for (const batch of tables.batchesFrom(0, new EventBatch())) {
    let exit = 0;
    let handled = 0;
    let completed = 0;
    for (let index = 0; index < batch.count; index++) {
      const kind = batch.kinds[index];
      if (kind === HotKind.exited) {
        if (open !== undefined) yield open;
        const frame = batch.exits.slice(exit * EXIT_WORD_COUNT, (exit + 1) * EXIT_WORD_COUNT);
        exit += 1;
        const number = batch.firstExitNumber + exit;
        open = { number, seq: batch.firstSeq + index, icount: batch.icounts[index] ?? 0, frame, answer: undefined };
      } else if (kind === HotKind.exitHandled) {
        if (open !== undefined)
          open.answer = { low: batch.handled[handled * 2] ?? 0, high: batch.handled[handled * 2 + 1] ?? 0 };
        handled += 1;
      } else if (kind === HotKind.exitCompleted) {
        if (open !== undefined)
          open.answer = { low: batch.completed[completed * 2] ?? 0, high: batch.completed[completed * 2 + 1] ?? 0 };
        completed += 1;
      }
    }
  }
  if (open !== undefined) yield open;
}

export function* exitRows(tables: RecordingTables, names: ExitNames): Generator<SqlRow, void> {
  for (const exit of exits(tables)) yield exitRow(exit, names);
}

export const HYPERCALL_COLUMNS = [
  "exit_nr", "seq", "icount", "vcpu", "reason", "handled_by", "function", "flags", "arg1", "arg2", "arg3", "rule", "answer", "pc",
] as const; // prettier-ignore

/** `answer` is null where the VMM half set the guest's registers itself: see the events RegisterSet behind it. */
export function* hypercallRows(tables: RecordingTables, names: ExitNames): Generator<SqlRow, void> {
  for (const exit of exits(tables)) {
    const { frame } = exit;
    const isVmmHypercall =
      frame[ExitWord.finishedBy] === FinishedBy.vmmHalf && frame[ExitWord.kvmExit] === KvmExit.hypercall;
    if (!isVmmHypercall && !names.isHypercall(frame[ExitWord.reason] ?? 0)) continue;
    const row = Object.fromEntries(exitRow(exit, names).map((value, index) => [EXIT_COLUMNS[index], value]));
    const { nr, seq, icount, vcpu, reason, handled_by, arg0, info, arg1, arg2, arg3, rule, answer, pc } = row as Record<
      (typeof EXIT_COLUMNS)[number],
      SqlValue
    >;
    const isSystemEvent = frame[ExitWord.kvmExit] === KvmExit.systemEvent;
    const flags = isSystemEvent ? systemEventOf(Number(info)).flags : info;
    yield [nr, seq, icount, vcpu, reason, handled_by, arg0, flags, arg1, arg2, arg3, rule, answer, pc];
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
