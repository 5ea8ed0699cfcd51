/** A failed test's recording is worth more than its message: it can be replayed. */
import { expect } from "@jest/globals";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join, relative } from "node:path";
import { repositoryRoot } from "./repository.js";

/** SQLite's own files beside a recording that was not closed. */
const companions = ["", "-wal", "-shm", "-journal"];

/** The first name in `directory` that is free: test, test-2, test-3 ... */
function freeName(directory: string, stem: string): string {
  let name = `${stem}.hvj`;
  for (let i = 2; existsSync(join(directory, name)); i++) name = `${stem}-${i}.hvj`;
  return join(directory, name);
}

/**
 * Copies a recording to where temporary directories do not matter, and prints `kept: PATH`.
 *
 * @param recording path of a .hvj file, closed or not
 * @param directory where to; default: `kept/` at the top of the tree
 * @returns path of the copy, or undefined when there is no recording yet
 */
export function keepRecording(recording: string, directory = join(repositoryRoot, "kept")): string | undefined {
  if (!existsSync(recording)) return undefined;
  const title = expect.getState().currentTestName ?? "recording";
  const stem = title
    .replaceAll(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 100);
  mkdirSync(directory, { recursive: true });
  const copy = freeName(directory, stem.toLowerCase());
  for (const suffix of companions) {
    if (existsSync(recording + suffix)) copyFileSync(recording + suffix, copy + suffix);
  }
  process.stderr.write(`kept: ${relative(process.cwd(), copy)}\n`);
  return copy;
}

/** Runs the checks of a test; keeps the recordings that they are about when one of them fails. */
export async function keepOnFailure<Result>(
  recordings: readonly string[],
  checks: () => Result | Promise<Result>,
  directory?: string,
): Promise<Result> {
  try {
    return await checks();
  } catch (error) {
    for (const recording of recordings) keepRecording(recording, directory);
    throw error;
  }
}
