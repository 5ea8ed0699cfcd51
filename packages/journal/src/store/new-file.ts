/**
 * A file appears under a recording's name when its first commit is whole. Who is killed before leaves nothing there: an
 * empty file would be no recording, and would stand in the way of the next attempt.
 */
import type Database from "better-sqlite3";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, linkSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { JournalError, JournalExistsError, JournalWriteError } from "../errors.js";
import { type Connection, databasePath, openForWriting, writeFailure } from "./connection.js";
import { DATABASE_PAGE_BYTES } from "./schema.js";

/** What linking ends with where the file system has no links. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"]);

function onDisk(path: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (error instanceof JournalError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw new JournalExistsError(path);
    if (code === "ENOENT")
      throw new JournalWriteError(
        path,
        "its directory does not exist",
        "make it, or record elsewhere",
        undefined,
        error,
      );
    throw new JournalWriteError(path, message, "record to a place that can be written", undefined, error);
  }
}

/** `fill` runs in the first transaction. */
function writeDraft(draft: string, fill: (database: Database.Database) => void): void {
  const database = openForWriting(draft);
  try {
    database.pragma(`page_size = ${DATABASE_PAGE_BYTES}`);
    database.pragma("auto_vacuum = NONE");
    // A draft that fails is thrown away: nothing would be rolled back.
    database.pragma("journal_mode = MEMORY");
    database.pragma("synchronous = FULL");
    database.transaction(() => fill(database)).immediate();
  } finally {
    database.close();
  }
}

/** Unlike a renamed file, a linked one never takes the place of one that came meanwhile. */
function giveName(draft: string, path: string): void {
  try {
    linkSync(draft, path);
  } catch (error) {
    if (!NO_LINKS.has((error as NodeJS.ErrnoException).code)) throw error;
    if (existsSync(path)) throw new JournalExistsError(path);
    renameSync(draft, path);
  }
}

/**
 * What is left beside a file that is gone: a -wal or -journal with something in it. SQLite would take it for the next file's
 * own, which it damages. It is refused and not removed: nobody can read it alone, but its file may have been moved away and
 * come back, and then the last commits of that are here and nowhere else. A -shm is made anew from its -wal.
 */
export function leftOversOf(path: string): readonly string[] {
  if (existsSync(path)) return [];
  return ["-wal", "-journal"]
    .map((suffix) => path + suffix)
    .filter((file) => (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0);
}

/**
 * Makes a file where none is, whose first commit is what `fill` writes. Until `startWritingAhead` it is written once:
 * through a write-ahead log a kernel image would go twice. Throws JournalExistsError, JournalMissingError,
 * JournalWriteError.
 */
export function createForWriting(path: string, fill: (database: Database.Database) => void): Connection {
  const name = databasePath(path);
  if (existsSync(name)) throw new JournalExistsError(path);
  const [leftOver] = leftOversOf(name);
  if (leftOver !== undefined) throw new JournalExistsError(path, leftOver);
  const draft = `${name}.${randomBytes(4).toString("hex")}.new`;
  onDisk(path, () => closeSync(openSync(draft, "wx")));
  try {
    writeDraft(draft, fill);
    onDisk(path, () => giveName(draft, name));
    return { path, database: openForWriting(path), notes: [], walIsMissing: false, sharesWal: true };
  } catch (error) {
    throw writeFailure(path, error, undefined);
  } finally {
    rmSync(draft, { force: true });
  }
}
