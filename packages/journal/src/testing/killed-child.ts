/**
 * A process that is killed before its recording has an event: node killed-child.js PATH WHERE.
 *
 *     creating   within the first commit
 *     filling    once pages of the first snapshot, which no commit has brought in yet, have reached the file
 */
import type { EventKind } from "@hvjournal/core";
import { statSync } from "node:fs";
import { createRecording } from "../recording-writer.js";
import { sampleHeader, sampleMemory } from "./sample-run.js";

const PAGES_MAX = 20_000;

function dies(): never {
  process.kill(process.pid, "SIGKILL");
  throw new Error("the process outlives SIGKILL");
}

function create(path: string): never {
  const kinds: EventKind[] = [{ name: "Exited", version: 1, role: "observation", fields: [] }];
  Object.defineProperty(kinds, 0, { get: dies });
  createRecording(path, sampleHeader(), { kinds });
  throw new Error("the recording was made without its kinds");
}

function fill(path: string): never {
  const writer = createRecording(path, sampleHeader());
  const before = statSync(path).size;
  for (const [hash, page] of sampleMemory(1, PAGES_MAX, 1).pages) {
    writer.storePage(hash, page);
    if (statSync(path).size > before) dies();
  }
  throw new Error(`${PAGES_MAX} pages fit in SQLite's cache`);
}

const [path, where] = process.argv.slice(2);
if (path === undefined || (where !== "creating" && where !== "filling"))
  throw new RangeError("usage: killed-child.js PATH creating|filling");
if (where === "creating") create(path);
else fill(path);
