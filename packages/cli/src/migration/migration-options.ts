/** What `migrate` was told about the way, and what comes back of it, in a form that goes over a control socket. */
import {
  type ContractComparison,
  type ContractDifference,
  type ContractItem,
  type MigrationReport,
  type AnsweredFunction,
  type MoveExplanation,
  type PacingOptions,
  parseGuestTime,
  toHex,
} from "@hvjournal/core";
import { UsageError } from "../cli-error.js";
import { type Arguments, stringOption } from "../commands/command.js";
import { parseSize } from "../sizes.js";
import type { JsonObject } from "../vm/control-protocol.js";

/** As QEMU's. */
const DOWNTIME_LIMIT_MS = 300;
const MILLISECOND_NS = 1e6;

export interface MigrationOptions {
  readonly downtimeLimitMs: number;
  readonly isThrottled: boolean;
  readonly maxTimeMs?: number;
  /** Given up after that. */
  readonly timeoutMs?: number;
  /** Bytes a second. */
  readonly bandwidth?: number;
}

export function migrationOptions(args: Arguments): MigrationOptions {
  const downtime = stringOption(args, "downtime-limit");
  const downtimeLimitMs = downtime === undefined ? DOWNTIME_LIMIT_MS : Number(downtime);
  if (!Number.isFinite(downtimeLimitMs) || downtimeLimitMs <= 0)
    throw new UsageError(`--downtime-limit ${downtime ?? ""}: expected milliseconds`);
  const timeoutMs = timeOption(args, "timeout");
  const maxTimeMs = timeOption(args, "max-time");
  const bandwidth = stringOption(args, "bandwidth");
  return {
    downtimeLimitMs,
    isThrottled: args["throttle"] !== false,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(maxTimeMs === undefined ? {} : { maxTimeMs }),
    ...(bandwidth === undefined ? {} : { bandwidth: parseSize("--bandwidth", bandwidth) }),
  };
}

function timeOption(args: Arguments, name: string): number | undefined {
  const text = stringOption(args, name);
  if (text === undefined) return undefined;
  const ns = parseGuestTime(text);
  if (ns === undefined || ns === 0) throw new UsageError(`--${name} ${text}: expected a time such as 60s or 500ms`);
  return ns / MILLISECOND_NS;
}

export function pacingOf({ downtimeLimitMs, isThrottled, maxTimeMs }: MigrationOptions): PacingOptions {
  return { downtimeLimitMs, isThrottled, ...(maxTimeMs === undefined ? {} : { maxTimeMs }) };
}

export function optionsJson(options: MigrationOptions): JsonObject {
  return { ...options };
}

export function optionsOfJson(json: JsonObject): MigrationOptions {
  const number = (name: string): number | undefined => {
    const value = json[name];
    return typeof value === "number" && Number.isFinite(value) && value > 0 ? value : undefined;
  };
  const [maxTimeMs, timeoutMs, bandwidth] = [number("maxTimeMs"), number("timeoutMs"), number("bandwidth")];
  return {
    downtimeLimitMs: number("downtimeLimitMs") ?? DOWNTIME_LIMIT_MS,
    isThrottled: json["isThrottled"] !== false,
    ...(maxTimeMs === undefined ? {} : { maxTimeMs }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(bandwidth === undefined ? {} : { bandwidth }),
  };
}

function itemJson(item: ContractItem | undefined): JsonObject | null {
  if (item === undefined) return null;
  const { observed, remark, range: _range, asked: _asked, askedAs: _askedAs, ...rest } = item;
  return { ...rest, observed: observed === undefined ? undefined : { ...observed }, remark: remark && { ...remark } };
}

export function differenceJson(difference: ContractDifference): JsonObject {
  const { name, verdict, source, destination, reason, advice = null } = difference;
  return { name, verdict, source: itemJson(source), destination: itemJson(destination), reason, advice };
}

export function contractJson({ equal, differences }: ContractComparison): JsonObject {
  return { equal, differences: differences.map(differenceJson) };
}

/** Registers in hex: JSON has no 64-bit numbers. */
function answeredJson({ number, count, exitNumber, registers }: AnsweredFunction): JsonObject {
  const hex = registers.map(([name, value]) => [name, `0x${value.toString(16)}`]);
  return { nr: number, count, exitNumber, registers: Object.fromEntries(hex) as JsonObject };
}

function callJson({ what, args, vcpu, exitNumber }: NonNullable<MigrationReport["pending"]>): JsonObject {
  return { what, args: args.map((value) => `0x${value.toString(16)}`), vcpu, exitNumber };
}

export function explanationJson({ contract, reasons, unknownUpTo, answered, pending }: MoveExplanation): JsonObject {
  return {
    ...{ contract: contractJson(contract), reasons: [...reasons], unknownUpTo, answered: answered.map(answeredJson) },
    pending:
      pending === undefined
        ? null
        : { ...callJson(pending), askedThere: pending.askedThere && [...pending.askedThere] },
  };
}

/** A report whose fields are plain JSON. */
export function reportJson(report: MigrationReport) {
  const { destination, contract, base, tail, handOver, pending } = report;
  return {
    destination: { ...destination },
    contract: contractJson(contract),
    base: { ...base },
    tail: { ...tail, behindMs: [...tail.behindMs] },
    handOver: { ...handOver, digest: toHex(handOver.digest) },
    pending: pending === undefined ? null : callJson(pending),
  };
}
