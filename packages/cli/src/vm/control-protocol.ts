/**
 * What is said on a VM's control socket: one JSON object a line. A client sends requests with an `id`; the VM sends any
 * number of events for it, then one answer.
 *
 *     {"version":1,"id":1,"request":"pause","at":"exit:412"}
 *     {"id":1,"event":{...}}
 *     {"id":1,"ok":{...}}    or    {"id":1,"error":{"code":...,"message":...,"status":1,"next":...}}
 */
import type { Readable } from "node:stream";
import { CliError } from "../cli-error.js";
import { isErrorCode } from "../error-codes.js";

export const CONTROL_VERSION = 1;
/** A line is at most this long. */
const LINE_BYTES_MAX = 4 * 1024 * 1024;
const LINE_FEED = 10;

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

export interface VmStatus extends JsonObject {
  readonly name: string;
  readonly processId: number;
  /** Absolute. */
  readonly recording: string;
  readonly state: "running" | "paused" | "receiving";
  /** Why it is paused, where nobody has asked for it: "handler failed". */
  readonly pausedBy?: string;
  /** The same with all that is known. */
  readonly pausedText?: string;
  /** Whose answer it stands still for, and to what: "late.mjs, HVC 0xc6000001". */
  readonly waitsFor?: string;
  readonly epoch: number;
  readonly exit: number;
  readonly icount: number;
  readonly timeNs: number;
  /** A position that can be pasted. */
  readonly at: string;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Calls `onLine` for each line that is a JSON object; `onBroken` once for anything else. */
export function readJsonLines(
  stream: Readable,
  onLine: (line: JsonObject) => void,
  onBroken: (reason: string) => void,
): void {
  let pending = Buffer.alloc(0);
  stream.on("data", (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    for (let end = pending.indexOf(LINE_FEED); end >= 0; end = pending.indexOf(LINE_FEED)) {
      const text = pending.subarray(0, end).toString();
      pending = pending.subarray(end + 1);
      let line: unknown;
      try {
        line = JSON.parse(text);
      } catch {
        return onBroken(`'${text.slice(0, 80)}' is no JSON`);
      }
      if (!isJsonObject(line)) return onBroken("a line is no JSON object");
      onLine(line);
    }
    if (pending.length > LINE_BYTES_MAX) onBroken(`a line is longer than ${LINE_BYTES_MAX} bytes`);
  });
}

export function jsonText(object: JsonObject): string {
  return `${JSON.stringify(object)}\n`;
}

/** An error as the other side prints it. */
export function errorJson(error: CliError): JsonObject {
  const { code, message, status, next, details } = error;
  return { code, message, status, details: [...details], ...(next === undefined ? {} : { next }) };
}

export function errorOfJson(error: JsonObject): CliError {
  const { code, message, status, next, details } = error;
  return new CliError(typeof message === "string" ? message : "the VM gave no reason", {
    code: isErrorCode(code) ? code : "control",
    ...(typeof status === "number" ? { status } : {}),
    ...(typeof next === "string" ? { next } : {}),
    details: Array.isArray(details) ? details.map(String) : [],
  });
}
