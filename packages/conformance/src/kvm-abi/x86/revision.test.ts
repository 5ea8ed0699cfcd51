/** What every guest is told, and the rows by which exits are recorded, belong to one `Architecture.revision`. */
import { amd64 } from "@hvjournal/cpu-x86";
import { expect } from "@jest/globals";
import { createHash } from "node:crypto";
import { type Row, testRows } from "./rows.js";

/** Where the digest differs, recordings of before replay otherwise: raise the revision, then write both here. */
const KNOWN = { revision: 2, digest: "f2663b735c4a8e68" };

/** Of an exit's row: what it says to people. */
const TEXTS: ReadonlySet<string> = new Set(["condition", "finishedBy"]);

function withoutTexts(key: string, value: unknown): unknown {
  return TEXTS.has(key) ? undefined : value;
}

const rows: readonly Row[] = [
  [
    "revision",
    "CPUID of a guest that nobody configured, and the exit models, are those of this revision",
    ({ vcpu }) => {
      const told = JSON.stringify([vcpu.getCpuid2(), amd64.exitModels], withoutTexts);
      expect({
        revision: amd64.revision,
        digest: createHash("sha256").update(told).digest("hex").slice(0, 16),
      }).toEqual(KNOWN);
    },
  ],
];

testRows("the revision of amd64", rows);
