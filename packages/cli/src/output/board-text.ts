/** What a machine was made with, as rows for people. */
import { isPlainMap, type PlainValue } from "@hvjournal/core";
import { plainText, sizeText } from "./value-text.js";

export type Row = readonly [name: string, text: string];

const NS_PER_MS = 1_000_000n;

/** "2026-01-01T00:00:00Z" */
export function rtcText(baseNs: bigint): string {
  return new Date(Number(baseNs / NS_PER_MS)).toISOString().replace(".000Z", "Z");
}

/** One row for each option of a board, one for each of several drives. */
export function boardRows(options: Readonly<Record<string, PlainValue>>): Row[] {
  return Object.entries(options).flatMap(([name, value]): Row[] => {
    if (name === "rtcBaseNs" && typeof value === "bigint") return [["rtc", rtcText(value)]];
    if (name === "drives" && Array.isArray(value)) return value.map((drive: PlainValue) => ["drive", fileText(drive)]);
    if (name === "handlers" && Array.isArray(value))
      return value.map((handler: PlainValue) => ["handler", handlerText(handler)]);
    return [[name, fileText(value)]];
  });
}

/** "demo.ts, sha256:7cbb…", "builtin:psci" */
function handlerText(value: PlainValue): string {
  if (!isPlainMap(value)) return plainText(value);
  const { name, sha256 } = value;
  return `${plainText(name)}${typeof sha256 === "string" ? `, sha256:${sha256}` : ""}`;
}

/** "drive0 disk.img, 1.0 MiB, sha256:7cbb…"; other values as they are. */
function fileText(value: PlainValue): string {
  if (!isPlainMap(value)) return plainText(value);
  const { id, name, bytes, readOnly, sha256 } = value;
  if (typeof name !== "string" || typeof bytes !== "number") return plainText(value);
  const named = typeof id === "string" ? `${id} ${name}` : name;
  const parts = [named, sizeText(bytes), ...(readOnly === true ? ["read-only"] : [])];
  return [...parts, ...(typeof sha256 === "string" ? [`sha256:${sha256}`] : [])].join(", ");
}
