import { afterAll } from "@jest/globals";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Paths for the recordings of one test file, which vanish behind its last test. */
export function recordingDirectory(): (name: string) => string {
  const directory = mkdtempSync(join(tmpdir(), "hvjournal-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return (name) => join(directory, `${name}.hvj`);
}
