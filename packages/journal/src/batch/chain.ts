/**
 * The hash chain. Link 0 covers the header, link n the batch n and its row events:
 *
 *     chain 0 = SHA256("hvjournal header 1", each header row in order of its key: key, value)
 *     chain n = SHA256(chain n-1, length of the columns varint, columns,
 *                      for each row event: 1 if vcpu is negative, else 0, as u8,
 *                                          |vcpu|, seq, icount, exit number, version varints,
 *                                          kind and payload as length varint and bytes)
 */
import { createHash } from "node:crypto";
import { ByteSink } from "../canonical/byte-coding.js";
import { type CheckedValue, sha256, writeCheckedValue } from "../canonical/hash.js";

/** A row event as it stands in the store. */
export interface StoredRow {
  readonly seq: number;
  readonly kind: string;
  readonly version: number;
  readonly vcpu: number;
  readonly icount: number;
  readonly exitNumber: number;
  readonly payload: Uint8Array;
}

const HEADER_TAG = "hvjournal header 1";

/** `rows` by key. */
export function headerLink(rows: readonly (readonly [key: string, value: CheckedValue])[]): Uint8Array {
  const sink = new ByteSink();
  sink.text(HEADER_TAG);
  for (const [key, value] of rows) {
    sink.text(key);
    writeCheckedValue(sink, value);
  }
  return sha256(sink.view());
}

const fields = new ByteSink(1024);

export function batchLink(before: Uint8Array, columns: Uint8Array, rows: readonly StoredRow[]): Uint8Array {
  const hash = createHash("sha256");
  fields.reset();
  fields.varint(columns.length);
  hash.update(before).update(fields.view()).update(columns);
  for (const row of rows) {
    fields.reset();
    fields.u8(row.vcpu < 0 ? 1 : 0);
    fields.varint(row.vcpu < 0 ? -row.vcpu : row.vcpu);
    fields.varint(row.seq);
    fields.varint(row.icount);
    fields.varint(row.exitNumber);
    fields.varint(row.version);
    fields.text(row.kind);
    fields.varint(row.payload.length);
    hash.update(fields.view()).update(row.payload);
  }
  return new Uint8Array(hash.digest());
}
