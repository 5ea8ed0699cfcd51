/** A recording as files: the main file and, where its writer did not come to close it, its -wal. */
import { renameSync, rmSync, statSync } from "node:fs";
import { JournalWriteError } from "./errors.js";
import { openForReading, settleFile } from "./store/connection.js";

const COMPANIONS = ["-wal", "-shm", "-journal"] as const;

function companionsOf(path: string): readonly string[] {
  return COMPANIONS.map((suffix) => path + suffix);
}

function onDisk(path: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    const advice = "check who may write to its directory";
    throw new JournalWriteError(path, (error as Error).message, advice, undefined, error);
  }
}

/**
 * Gives a recording another name, over what may have that name. A damaged file is moved as it is.
 * Throws JournalBusyError while any process has it open.
 */
export function moveRecording(from: string, to: string): void {
  const isOneFile = settleFile(from, "move");
  onDisk(from, () => {
    for (const companion of companionsOf(to)) rmSync(companion, { force: true });
    renameSync(from, to);
    if (isOneFile) return;
    // Together with what could not be brought into it.
    for (const suffix of COMPANIONS) {
      try {
        renameSync(from + suffix, to + suffix);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
  });
}

/**
 * Whether a regular file has nothing in it that could be lost: no bytes, or not one table. A process leaves such a file
 * that is killed as it makes a database.
 */
export function holdsNothing(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true) return false;
  if (found.size === 0) return true;
  try {
    const { database } = openForReading(path);
    try {
      return database.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() === 0;
    } finally {
      database.close();
    }
  } catch {
    // What can't be read may hold anything.
    return false;
  }
}

/** Removes what this process itself has begun and not come to use, open or not. */
export function discardRecording(path: string): void {
  for (const file of [path, ...companionsOf(path)]) rmSync(file, { force: true });
}

/** Removes a recording with all that belongs to it. Throws JournalBusyError while any process has it open. */
export function removeRecording(path: string): void {
  settleFile(path, "remove");
  onDisk(path, () => {
    rmSync(path);
    for (const companion of companionsOf(path)) rmSync(companion, { force: true });
  });
}
