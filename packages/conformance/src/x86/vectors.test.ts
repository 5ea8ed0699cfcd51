/** Committed results of a host's CPU: see `vectors.ts`. */
import { describe, expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { vcpuRunner } from "./vcpu-runner.js";
import { failingVectors } from "./vectors.js";

describe.each([64, 32] as const)("vectors of %d bits", (bits) => {
  it.each(["general", "vector"])("of %s instructions end as they did on a host's CPU", (group) => {
    const path = join(import.meta.dirname, `vectors/${group}-${bits}.txt`);
    const lines = readFileSync(path, "utf8").split("\n");
    expect(lines.length).toBeGreaterThan(600);
    expect(failingVectors(bits, lines, vcpuRunner())).toEqual([]);
  });
});
