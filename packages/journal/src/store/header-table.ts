/** The recording's header and the kinds of its events. */
import type {
  BatchStart,
  EventKind,
  EventPayload,
  PlainValue,
  RecordingHeader,
  RecordingParent,
  Role,
} from "@hvjournal/core";
import type { Database } from "better-sqlite3";
import { headerLink } from "../batch/chain.js";
import { ByteCodingError } from "../canonical/byte-coding.js";
import { type CheckedValue, equalBytes, ROW_CHECK_BYTES, rowCheck, SHA256_BYTES } from "../canonical/hash.js";
import { decodePayload, encodePayload } from "../canonical/payload-coding.js";
import { JournalDamagedError } from "../errors.js";
import { type Connection, reading } from "./connection.js";
import { StoredFields, StoredValueError } from "./stored-fields.js";

/** The row that holds link 0; the others are what it covers. */
const CHAIN_KEY = "chain";
const ROLES: readonly Role[] = ["outside input", "vmm output", "observation", "bookkeeping"];

type HeaderRow = readonly [key: string, value: CheckedValue];

function headerRows(header: RecordingHeader): readonly HeaderRow[] {
  const rows: HeaderRow[] = [
    ["architecture", header.architecture],
    ["architecture_revision", header.architectureRevision],
    ["created_by", header.createdBy],
    ["format_version", header.formatVersion],
    ["id", header.id],
    ["machine", encodePayload(header.machine)],
  ];
  if (header.parent !== undefined) rows.push(["parent", encodePayload({ ...header.parent })]);
  rows.push(["quirks", encodePayload({ quirks: header.quirks })]);
  return rows;
}

/** Gives link 0. */
export function writeHeader(database: Database, header: RecordingHeader): Uint8Array {
  const rows = headerRows(header);
  const chain = headerLink(rows);
  const insert = database.prepare("INSERT INTO header VALUES(?, ?)");
  // SQLite has one way to say an integer; better-sqlite3 binds numbers above 2^31 as reals, which ANY would keep.
  for (const [key, value] of rows) insert.run(key, typeof value === "number" ? BigInt(value) : value);
  insert.run(CHAIN_KEY, chain);
  return chain;
}

function parentOf(payload: EventPayload): RecordingParent {
  const fields = new StoredFields(payload);
  return {
    id: fields.text("id"),
    path: fields.text("path"),
    chain: fields.text("chain"),
    seq: fields.count("seq"),
    exitNumber: fields.count("exitNumber"),
    icount: fields.count("icount"),
    why: fields.oneOf("why", ["migration", "branch"]),
  };
}

function textsOf(value: PlainValue | undefined): readonly string[] {
  if (!Array.isArray(value)) throw new StoredValueError("quirks", "a list", value);
  return value.map((item: PlainValue) => {
    if (typeof item !== "string") throw new StoredValueError("quirks", "a list of texts", item);
    return item;
  });
}

function checkedValue(value: unknown): CheckedValue {
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new StoredValueError("value", "text, an integer or bytes", value);
}

export interface StoredHeader {
  readonly header: RecordingHeader;
  /** Link 0. */
  readonly chain: Uint8Array;
}

export function readHeader(connection: Connection): StoredHeader {
  const { path, database } = connection;
  const place = { part: "header" };
  return reading(path, place, () => {
    const stored = database.prepare("SELECT key, value FROM header ORDER BY key").raw().all() as [unknown, unknown][];
    const rows = stored.map(([key, value]): HeaderRow => {
      if (typeof key !== "string") throw new StoredValueError("key", "text", key);
      if (typeof value === "number" && !Number.isSafeInteger(value))
        throw new StoredValueError("value", "an integer", value);
      return [key, checkedValue(value)];
    });
    const byKey = Object.fromEntries(rows);
    const fields = new StoredFields(byKey);
    const chain = headerLink(rows.filter(([key]) => key !== CHAIN_KEY));
    if (!equalBytes(chain, fields.bytes(CHAIN_KEY, SHA256_BYTES))) {
      throw new JournalDamagedError(path, "it is not what its hash says", place);
    }
    const header: RecordingHeader = {
      id: fields.text("id"),
      formatVersion: fields.count("format_version"),
      createdBy: fields.text("created_by"),
      architecture: fields.text("architecture"),
      architectureRevision: fields.count("architecture_revision"),
      machine: decodePayload(fields.bytes("machine")),
      quirks: textsOf(decodePayload(fields.bytes("quirks"))["quirks"]),
      parent: byKey["parent"] === undefined ? undefined : parentOf(decodePayload(fields.bytes("parent"))),
    };
    return { header, chain };
  });
}

/** Where the numbering of a recording begins: behind its parent's. */
export function recordingStart(header: RecordingHeader): BatchStart {
  const { parent } = header;
  if (parent === undefined) return { firstSeq: 1, exitNumber: 0, icount: 0 };
  return { firstSeq: parent.seq + 1, exitNumber: parent.exitNumber, icount: parent.icount };
}

/** Adds those that are not there yet; gives how many there are now. */
export function writeEventKinds(database: Database, kinds: readonly EventKind[]): number {
  const insert = database.prepare("INSERT OR IGNORE INTO event_kinds VALUES(?, ?, ?, ?, ?)");
  for (const { name, version, role, fields } of kinds) {
    const values = [name, version, role, fields.join("\n")];
    insert.run(...values, rowCheck("event_kinds", values));
  }
  return Number(database.prepare("SELECT count(*) FROM event_kinds").pluck().get());
}

const KINDS_PLACE = { part: "event kinds" };

function eventKind(path: string, row: unknown): EventKind {
  const fields = new StoredFields(row);
  const name = fields.text("kind");
  const names = fields.text("fields");
  const values = [name, fields.count("version"), fields.text("role"), names];
  if (!equalBytes(rowCheck("event_kinds", values), fields.bytes("row_check", ROW_CHECK_BYTES))) {
    throw new JournalDamagedError(path, `kind ${name} is not what was written`, KINDS_PLACE);
  }
  return {
    name,
    version: fields.count("version"),
    role: fields.oneOf("role", ROLES),
    fields: names === "" ? [] : names.split("\n"),
  };
}

/** `count` as the progress row says. */
export function readEventKinds(connection: Connection, count: number): readonly EventKind[] {
  const { path, database } = connection;
  return reading(path, KINDS_PLACE, () => {
    const rows = database.prepare("SELECT * FROM event_kinds ORDER BY kind, version").all();
    if (rows.length !== count) throw new JournalDamagedError(path, `${rows.length} of ${count} are there`, KINDS_PLACE);
    return rows.map((row) => eventKind(path, row));
  });
}

/** The format version that the header table names; throws when it can't be read. */
export function headerFormatVersion(connection: Connection): number {
  const { header } = readHeader(connection);
  if (header.formatVersion < 1) throw new ByteCodingError(`format version ${header.formatVersion} does not exist`);
  return header.formatVersion;
}
