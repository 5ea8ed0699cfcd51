import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clearOutput } from "./new-recording.js";

/** "hvjl", as the journal's schema has it. */
const APPLICATION_ID = 0x6876_6a6c;

/** As much of a recording as tells that it is one (SQLite, "The Database Header"). */
const recordingHead = Buffer.alloc(100);
recordingHead.write("SQLite format 3\0");
recordingHead.writeUInt32BE(APPLICATION_ID, 68);

describe("a new recording", () => {
  let directory: string;
  let path: string;
  const argv = ["record", "a guest.img", "-o", "vm.hvj"];
  const content = (name: string): string | undefined =>
    existsSync(join(directory, name)) ? readFileSync(join(directory, name), "utf8") : undefined;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "hvjournal-"));
    path = join(directory, "vm.hvj");
    writeFileSync(path, recordingHead);
    writeFileSync(`${path}-wal`, "older log");
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("moves an older one of the default name aside, and nothing of it stays", () => {
    writeFileSync(`${path}.old`, "oldest");
    clearOutput({ path, isNamed: false, force: false, argv });
    expect([content("vm.hvj"), content("vm.hvj-wal")]).toEqual([undefined, undefined]);
    expect(content("vm.hvj.old")).toBe(recordingHead.toString());
  });

  it("leaves a file alone that -o names, unless it is forced", () => {
    expect(() => clearOutput({ path, isNamed: true, force: false, argv })).toThrow(
      `can't record to ${path}: the file exists`,
    );
    expect(content("vm.hvj")).toBe(recordingHead.toString());
    clearOutput({ path, isNamed: true, force: true, argv });
    expect([content("vm.hvj"), content("vm.hvj-wal"), content("vm.hvj.old")]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("is not made beside what is left of one whose own file is gone, unless that is forced", () => {
    rmSync(path);
    for (const isNamed of [true, false])
      expect(() => clearOutput({ path, isNamed, force: false, argv })).toThrow(
        `can't record to ${path}: ${path}-wal is left of a recording whose own file is gone`,
      );
    expect(content("vm.hvj-wal")).toBe("older log");
    clearOutput({ path, isNamed: true, force: true, argv });
    expect(content("vm.hvj-wal")).toBeUndefined();
  });

  it("overwrites nothing but recordings, forced or not", () => {
    writeFileSync(path, "a kernel, a drive, a thesis");
    expect(() => clearOutput({ path, isNamed: true, force: true, argv })).toThrow(
      `can't record to ${path}: it is no recording, and --force overwrites recordings only`,
    );
    expect(content("vm.hvj")).toBe("a kernel, a drive, a thesis");
    expect(() => clearOutput({ path: "/dev/null", isNamed: true, force: true, argv })).toThrow("it is no regular file");
    expect(() => clearOutput({ path: directory, isNamed: true, force: true, argv })).toThrow("it is no regular file");
    writeFileSync(path, "");
    clearOutput({ path, isNamed: true, force: true, argv });
    expect(content("vm.hvj")).toBeUndefined();
  });
});
