/** How a recording's bytes divide among what it holds. */
import type { RecordingReader } from "./recording-reader.js";
import { reading } from "./store/connection.js";

/** Bytes of stored content, without SQLite's own. */
export interface RecordingSizes {
  readonly events: number;
  /** With the pages that snapshots and large writes to the guest share. */
  readonly snapshots: number;
}

const EVENT_BYTES = `SELECT (SELECT coalesce(sum(length(bytes)), 0) FROM batch_columns)
  + (SELECT coalesce(sum(length(payload)), 0) FROM events)`;
const SNAPSHOT_BYTES = `SELECT (SELECT coalesce(sum(length(bytes)), 0) FROM page_packs)
  + (SELECT coalesce(sum(length(bytes)), 0) FROM snapshot_sections)
  + (SELECT coalesce(sum(length(page_changes)), 0) FROM snapshots)`;

export function recordingSizes(reader: RecordingReader): RecordingSizes {
  const { path, database } = reader.tables.connection;
  const sum = (query: string): number =>
    reading(path, { part: "file" }, () => Number(database.prepare(query).pluck().get()));
  return { events: sum(EVENT_BYTES), snapshots: sum(SNAPSHOT_BYTES) };
}
