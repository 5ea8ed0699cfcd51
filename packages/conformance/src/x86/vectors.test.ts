/** Committed results of a host's CPU: see `vectors.ts`. */
import { describe, expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { vectorLines } from "../fuzz/vector-file.js";
import { vcpuRunner } from "./vcpu-runner.js";
import { failingVectors } from "./vectors.js";

/** "found": cases that have differed once. */
const FILES = [
  [64, "general"],
  [64, "vector"],
  [64, "found"],
  [32, "general"],
  [32, "vector"],
] as const;

describe("vectors", () => {
  it.each(FILES)("of %d bits, %s, end as they did on a host's CPU", (bits, group) => {
    const text = readFileSync(join(import.meta.dirname, `vectors/${group}-${bits}.txt`), "utf8");
    expect(vectorLines(text).length).toBeGreaterThan(group === "found" ? 0 : 600);
    expect(failingVectors(bits, text, vcpuRunner())).toEqual([]);
  });
});
