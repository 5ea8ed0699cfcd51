/** SQLite connections to recordings: what kind of file it is, how it is opened, what its failures mean. */
import Database from "better-sqlite3";
import {
  accessSync,
  chmodSync,
  closeSync,
  existsSync,
  constants,
  copyFileSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { ByteCodingError } from "../canonical/byte-coding.js";
import {
  JournalBusyError,
  JournalDamagedError,
  JournalError,
  JournalFormatError,
  JournalMissingError,
  type JournalPlace,
  type JournalPosition,
  JournalWriteError,
} from "../errors.js";
import { APPLICATION_ID, DATABASE_PAGE_BYTES, findSchemaDamage, FORMAT_VERSION } from "./schema.js";
import { findWalDamage } from "./wal-damage.js";
import { StoredValueError } from "./stored-fields.js";

/** How long a reader is waited for when a writer closes, in milliseconds. */
const CLOSE_TIMEOUT_MS = 200;
/** How long another process's short lock is waited for, in milliseconds. */
const LOCK_TIMEOUT_MS = 5000;

/** Something a reader should be told: the recording opens, and less of it than there might be. */
export interface JournalNote {
  readonly code: "wal-missing" | "wal-damaged" | "salvaged";
  readonly text: string;
}

/** An error of the host has its class in another realm where tests run, so it is known by its fields. */
function hostErrorCode(error: unknown, name?: string): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { code, name: found } = error as { readonly code?: unknown; readonly name?: unknown };
  return typeof code === "string" && (name === undefined || name === found) ? code : undefined;
}

export function sqliteCode(error: unknown): string | undefined {
  return hostErrorCode(error, "SqliteError");
}

function isZlibError(error: unknown): boolean {
  const code = hostErrorCode(error);
  return code !== undefined && (code.startsWith("Z_") || code === "ERR_BUFFER_TOO_LARGE");
}

/** What a failure while `place` was read means; errors that are no failure of the file come back as they are. */
export function readFailure(path: string, place: JournalPlace, error: unknown, replaysTo?: JournalPosition): unknown {
  if (error instanceof JournalError) return error;
  const code = sqliteCode(error);
  if (code?.startsWith("SQLITE_BUSY")) return new JournalBusyError(path, "read", error);
  if (code?.startsWith("SQLITE_CANTOPEN") || code === "SQLITE_PERM") {
    return new JournalMissingError(path, (error as Error).message, error);
  }
  const isDamage = code !== undefined || error instanceof ByteCodingError || error instanceof StoredValueError;
  if (!isDamage && !isZlibError(error)) return error;
  return new JournalDamagedError(path, (error as Error).message, place, replaysTo, error);
}

/** Runs `action`, whose failures concern `place`. */
export function reading<Result>(path: string, place: JournalPlace, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw readFailure(path, place, error);
  }
}

/** What a failure of a write means. */
export function writeFailure(path: string, error: unknown, committedTo: JournalPosition | undefined): unknown {
  if (error instanceof JournalError) return error;
  const code = sqliteCode(error);
  if (code === undefined) return error;
  if (code.startsWith("SQLITE_BUSY")) return new JournalBusyError(path, "write", error);
  if (code === "SQLITE_FULL" || code === "SQLITE_IOERR_WRITE") {
    return new JournalWriteError(
      path,
      "there is no room left",
      "free space on its disk, or record to another",
      committedTo,
      error,
    );
  }
  if (code.startsWith("SQLITE_READONLY") || code.startsWith("SQLITE_CANTOPEN")) {
    return new JournalWriteError(
      path,
      "it, or its directory, is read-only",
      "record to a place that can be written",
      committedTo,
      error,
    );
  }
  return new JournalWriteError(path, (error as Error).message, "check the disk it is on", committedTo, error);
}

/** The fields of a SQLite file's first 100 bytes that tell what it is. */
interface FileHead {
  readonly byteCount: number;
  readonly isSqlite: boolean;
  readonly hasApplicationId: boolean;
  readonly formatVersion: number;
  readonly pageBytes: number;
  /** Pages that the file has by its own account; 0 where it does not say. */
  readonly pageCount: number;
  readonly isWal: boolean;
}

const SQLITE_HEADER_BYTES = 100;
const SQLITE_MAGIC = "SQLite format 3\0";
const HeaderOffset = {
  pageSize: 16,
  writeVersion: 18,
  readVersion: 19,
  pageCount: 28,
  userVersion: 60,
  applicationId: 68,
} as const;
const WAL_VERSION = 2;
const RECORDING_BYTES_MAX = 2 ** 40;

function readFileHead(path: string): FileHead {
  const bytes = new Uint8Array(SQLITE_HEADER_BYTES);
  let byteCount: number;
  try {
    if (statSync(path).isDirectory()) throw new JournalMissingError(path, "it is a directory");
    const file = openSync(path, "r");
    try {
      byteCount = fstatSync(file).size;
      readSync(file, bytes, 0, SQLITE_HEADER_BYTES, 0);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (error instanceof JournalError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    const reason =
      code === "ENOENT" ? "no such file" : code === "EACCES" ? "permission denied" : (error as Error).message;
    throw new JournalMissingError(path, reason, error);
  }
  const view = new DataView(bytes.buffer);
  return {
    byteCount,
    isSqlite: String.fromCharCode(...bytes.subarray(0, SQLITE_MAGIC.length)) === SQLITE_MAGIC,
    hasApplicationId: view.getUint32(HeaderOffset.applicationId) === APPLICATION_ID,
    formatVersion: view.getUint32(HeaderOffset.userVersion),
    pageBytes: view.getUint16(HeaderOffset.pageSize),
    pageCount: view.getUint32(HeaderOffset.pageCount),
    isWal: bytes[HeaderOffset.writeVersion] === WAL_VERSION || bytes[HeaderOffset.readVersion] === WAL_VERSION,
  };
}

/** Whether a regular file says of itself that it is a recording, whole or not. Throws JournalMissingError. */
export function isRecordingFile(path: string): boolean {
  return readFileHead(path).hasApplicationId;
}

/** SQLite's binding trims names. */
export function databasePath(path: string): string {
  const name = resolve(path);
  if (name.trim() !== name) throw new JournalMissingError(path, "a name that ends in white space can't be used");
  return name;
}

export interface Connection {
  readonly path: string;
  readonly database: Database.Database;
  readonly notes: JournalNote[];
  /** The file says WAL and its -wal holds nothing: what the last checkpoint left is all there is. */
  readonly walIsMissing: boolean;
  /** Byte of the -wal from which on it can't be read, though it goes on. */
  readonly walDamage?: number | undefined;
  /** The file itself, and not a copy, is open beside a write-ahead log. */
  readonly sharesWal: boolean;
  /** The file is shorter than it says, and was opened all the same. */
  readonly cutOff?: JournalDamagedError | undefined;
}

function checkKind(path: string, head: FileHead): void {
  if (!head.isSqlite && !head.hasApplicationId) {
    throw new JournalFormatError(
      path,
      `${path} is not a recording${head.byteCount === 0 ? ": it is empty" : ""}`,
      undefined,
    );
  }
  if (!head.isSqlite)
    throw new JournalDamagedError(path, "it does not begin as a SQLite file", { part: "file header, bytes 0..15" });
  if (head.hasApplicationId && head.pageBytes !== DATABASE_PAGE_BYTES) {
    throw new JournalDamagedError(path, `page size ${head.pageBytes} is not ${DATABASE_PAGE_BYTES}`, {
      part: "file header, bytes 16..17",
    });
  }
}

/** `isOurs` says whether the header table holds what format `FORMAT_VERSION` wrote: then a wrong mark is damage. */
export function checkMarks(connection: Connection, isOurs: () => boolean): void {
  const { path, database } = connection;
  const marks = reading(path, { part: "file header" }, () => ({
    applicationId: database.pragma("application_id", { simple: true }),
    formatVersion: database.pragma("user_version", { simple: true }),
  }));
  if (marks.applicationId === APPLICATION_ID && marks.formatVersion === FORMAT_VERSION) {
    const damage = reading(path, { part: "schema" }, () => findSchemaDamage(database));
    if (damage !== undefined) throw new JournalDamagedError(path, damage, { part: "schema" });
    return;
  }
  let ours = false;
  try {
    ours = isOurs();
  } catch {
    // Not even the header table can be read, so the marks are believed.
  }
  const wrong = marks.applicationId === APPLICATION_ID ? "user_version" : "application_id";
  if (ours) throw new JournalDamagedError(path, `${wrong} is not what was written`, { part: "file header" });
  if (marks.applicationId !== APPLICATION_ID)
    throw new JournalFormatError(path, `${path} is not a recording`, undefined);
  const version = Number(marks.formatVersion);
  throw new JournalFormatError(
    path,
    `can't tell what ${path} holds with this build: its format is ${version}, this build reads ${FORMAT_VERSION}`,
    version,
  );
}

function tryOpen(path: string): Database.Database {
  const database = new Database(path, { readonly: true, fileMustExist: true, timeout: LOCK_TIMEOUT_MS });
  try {
    database.pragma("query_only = ON");
    database.pragma("trusted_schema = OFF");
    // The first read opens the write-ahead log.
    database.prepare("SELECT count(*) FROM sqlite_schema").get();
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Bytes of the write-ahead log beside a recording; undefined without one. */
function walBytes(path: string): number | undefined {
  return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size;
}

/** Whether a commit without a write-ahead log is being written, or was left half written: then the file's length says nothing. */
function isAmidCommit(path: string): boolean {
  return (statSync(`${path}-journal`, { throwIfNoEntry: false })?.size ?? 0) > 0;
}

/** Makes SQLite read the file as it is, without a write-ahead log. */
function markAsRollback(copy: string): void {
  const file = openSync(copy, "r+");
  try {
    writeSync(file, Uint8Array.of(1, 1), 0, 2, HeaderOffset.writeVersion);
  } finally {
    closeSync(file);
  }
}

/**
 * What was cut off reads as zeros then, which no tree of SQLite's takes for its own; a shorter file it does not open. Far
 * more than any recording has is the header's own damage.
 */
function padTo(copy: string, byteCount: number): void {
  if (byteCount <= RECORDING_BYTES_MAX && statSync(copy).size < byteCount) truncateSync(copy, byteCount);
}

/** Undoes what a killed process had begun to write: who opens for reading only may not. */
function rollBack(copy: string): void {
  const database = new Database(copy, { fileMustExist: true });
  try {
    database.prepare("SELECT count(*) FROM sqlite_schema").get();
  } finally {
    database.close();
  }
}

/** The file itself; a copy where it was left amid a commit without a write-ahead log, as before a recording's first snapshot. */
function openShared(path: string): Database.Database {
  try {
    return tryOpen(path);
  } catch (error) {
    if (sqliteCode(error) !== "SQLITE_READONLY_ROLLBACK") throw error;
    return openCopy(path, "-journal");
  }
}

/**
 * A file in WAL mode can't be read where SQLite can't keep its -shm, and reading it leaves one behind where it
 * can. Then a copy is read, of which nothing stays: its files are unlinked once they are open.
 */
function openCopy(path: string, log: "-wal" | "-journal" | "", byteCountMin = 0): Database.Database {
  const directory = mkdtempSync(join(tmpdir(), "hvjournal-"));
  const copy = join(directory, "copy.hvj");
  try {
    for (const suffix of log === "" ? [""] : ["", log]) {
      copyFileSync(path + suffix, copy + suffix, constants.COPYFILE_FICLONE);
      // A copy has its original's mode, which may be read-only.
      chmodSync(copy + suffix, 0o600);
    }
    if (log === "-journal") rollBack(copy);
    if (log === "") markAsRollback(copy);
    padTo(copy, byteCountMin);
    return tryOpen(copy);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Whether SQLite could keep a -shm beside the file; it tries for seconds where it can't. */
function canShareMemory(path: string): boolean {
  if (existsSync(`${path}-shm`)) return true;
  try {
    accessSync(dirname(path), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * SQLite calls a file that is shorter than it says "malformed". It is so when it was cut off, and also when it is a copy
 * from the middle of a checkpoint, which writes the first page first: then the rest is in the -wal.
 */
function findCutOff(
  path: string,
  { hasApplicationId, pageBytes, pageCount, isWal }: FileHead,
  hasLog: boolean,
): JournalDamagedError | undefined {
  const bytesMin = pageBytes * pageCount;
  // Not as it was when the header was read: its writer may have closed it since.
  const byteCount = statSync(path).size;
  if (!hasApplicationId || byteCount >= bytesMin || hasLog) return undefined;
  const rest = isWal ? `; the rest was in ${path}-wal, which is missing` : "";
  const what = `it is cut off: it has ${byteCount} of ${bytesMin} bytes${rest}`;
  return new JournalDamagedError(path, what, { part: `byte ${byteCount}` });
}

/**
 * Opens for reading, wherever the file lies and whatever became of its -wal. Leaves nothing beside it. A file that was
 * cut off is opened when it is to be salvaged; else JournalDamagedError.
 */
export function openForReading(path: string, { salvage = false } = {}): Connection {
  const head = readFileHead(path);
  checkKind(path, head);
  const name = databasePath(path);
  const logBytes = head.isWal ? walBytes(name) : undefined;
  const cutOff = findCutOff(path, head, (logBytes ?? 0) > 0 || isAmidCommit(name));
  if (cutOff !== undefined && !salvage) throw cutOff;
  const walDamage = (logBytes ?? 0) > 0 ? findWalDamage(`${name}-wal`) : undefined;
  // Without a -wal there is no writer.
  const needsCopy = cutOff !== undefined || (head.isWal && (logBytes === undefined || !canShareMemory(name)));
  const database = reading(path, { part: "file" }, () => {
    if (!needsCopy) return openShared(name);
    return openCopy(name, logBytes === undefined ? "" : "-wal", head.pageBytes * head.pageCount);
  });
  return {
    path,
    database,
    notes: [],
    walIsMissing: head.isWal && (logBytes ?? 0) === 0,
    walDamage,
    sharesWal: head.isWal && !needsCopy,
    cutOff,
  };
}

/**
 * Closes what was opened for reading. A writer that finished meanwhile had to leave its write-ahead log to us:
 * the last to close makes it one file again, if it may.
 */
export function closeReading(connection: Connection, isFinished: () => boolean): void {
  const { path, database, sharesWal } = connection;
  let isLeft = false;
  try {
    isLeft = sharesWal && database.open && isFinished();
  } catch {
    // A file that can't be read is left as it is.
  }
  database.close();
  try {
    if (isLeft) leaveWal(databasePath(path));
  } catch {
    // Someone else has it open, or it is read-only: it reads as well with its empty log.
  }
}

/** Brings the write-ahead log into the file, which needs it for itself alone. */
function leaveWal(path: string): void {
  const database = new Database(path, { fileMustExist: true, timeout: 0 });
  try {
    database.pragma("journal_mode = DELETE");
  } finally {
    database.close();
  }
}

/** Makes one file of a recording that nobody has open; false when it is too damaged for that. Throws JournalBusyError. */
export function settleFile(path: string, act: string): boolean {
  try {
    leaveWal(databasePath(path));
    return true;
  } catch (error) {
    if (sqliteCode(error)?.startsWith("SQLITE_BUSY") === true) throw new JournalBusyError(path, act, error);
    return false;
  }
}

/** A write-ahead log of this length goes into the main file. */
const CHECKPOINT_BYTES = 1024 * 1024;
const WAL_FILE_BYTES_MAX = 16 * 1024 * 1024;

/** Without a write-ahead log so far: `startWritingAhead`. */
export function openForWriting(path: string, timeout = LOCK_TIMEOUT_MS): Database.Database {
  const database = new Database(databasePath(path), { fileMustExist: true, timeout });
  try {
    database.pragma("trusted_schema = OFF");
    database.pragma("cell_size_check = ON");
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function startWal(database: Database.Database): void {
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = NORMAL");
  database.pragma(`wal_autocheckpoint = ${CHECKPOINT_BYTES / DATABASE_PAGE_BYTES}`);
  database.pragma(`journal_size_limit = ${WAL_FILE_BYTES_MAX}`);
}

/** From now on a crash costs what was not committed, and others read while this process writes. */
export function startWritingAhead({ database }: Connection): void {
  startWal(database);
  // An empty -wal says that no writer is there.
  database.pragma(`user_version = ${FORMAT_VERSION}`);
}

/** Opens an existing recording that nobody else has open, and starts its write-ahead log. */
export function openToContinue(path: string, lockTimeoutMs = LOCK_TIMEOUT_MS): Connection {
  const head = readFileHead(path);
  checkKind(path, head);
  const walIsMissing = head.isWal && (walBytes(databasePath(path)) ?? 0) === 0;
  try {
    const database = openForWriting(path, lockTimeoutMs);
    try {
      // Leaving WAL needs the file for itself alone, and brings in what a killed writer had left.
      database.pragma("journal_mode = DELETE");
      startWal(database);
    } catch (error) {
      database.close();
      throw error;
    }
    return { path, database, notes: [], walIsMissing, sharesWal: true };
  } catch (error) {
    const code = sqliteCode(error);
    if (code?.startsWith("SQLITE_BUSY")) throw new JournalBusyError(path, "continue", error);
    if (code === "SQLITE_NOTADB" || code?.startsWith("SQLITE_CORRUPT"))
      throw readFailure(path, { part: "file" }, error);
    throw writeFailure(path, error, undefined);
  }
}

/**
 * Brings everything into the main file and closes. A reader that has the file open keeps the
 * write-ahead log alive; then it stays, empty, until that reader closes (`closeReading`).
 */
export function closeWriting(connection: Connection): void {
  const { database } = connection;
  try {
    database.pragma(`busy_timeout = ${CLOSE_TIMEOUT_MS}`);
    database.pragma("journal_mode = DELETE");
  } catch (error) {
    if (sqliteCode(error)?.startsWith("SQLITE_BUSY") !== true) throw error;
    database.pragma("wal_checkpoint(TRUNCATE)");
  } finally {
    database.close();
  }
}
