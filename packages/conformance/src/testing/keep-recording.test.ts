import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keepOnFailure } from "./keep-recording.js";

describe("a failing test's recording", () => {
  let directory: string;
  let recording: string;
  const kept = (): string => join(directory, "kept");

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "hvjournal-"));
    recording = join(directory, "vm.hvj");
    writeFileSync(recording, "events");
    writeFileSync(`${recording}-wal`, "open batch");
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("is copied with its write-ahead log under the test's name, and the failure goes on", async () => {
    const failing = keepOnFailure([recording], () => expect(1).toBe(2), kept());
    await expect(failing).rejects.toThrow("toBe");
    for (const name of readdirSync(kept()))
      expect(name).toMatch(/^a-failing-test-s-recording-is-copied.*\.hvj(-wal)?$/);
    const copies = readdirSync(kept()).map((name) => readFileSync(join(kept(), name), "utf8"));
    expect(copies).toEqual(["events", "open batch"]);
  });

  it("never overwrites an earlier one", async () => {
    for (let i = 0; i < 2; i++) {
      await expect(keepOnFailure([recording], () => Promise.reject(new Error("no")), kept())).rejects.toThrow("no");
    }
    expect(readdirSync(kept()).filter((name) => name.endsWith(".hvj"))).toHaveLength(2);
  });

  it("is left alone when the checks pass", async () => {
    await expect(keepOnFailure([recording], () => 7, kept())).resolves.toBe(7);
    expect(readdirSync(directory)).not.toContain("kept");
  });
});
