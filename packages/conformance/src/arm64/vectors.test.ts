/** Committed results of QEMU: see `vectors.ts`. */
import { expect, it } from "@jest/globals";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { engineRunner } from "./engine-user.js";
import { failingVectors } from "./vectors.js";

it("A64 user code ends as it did under QEMU", () => {
  const text = readFileSync(join(import.meta.dirname, "vectors/user.txt"), "utf8");
  expect(text.split("\n").length).toBeGreaterThan(1600);
  expect(failingVectors(text, engineRunner())).toEqual([]);
});
