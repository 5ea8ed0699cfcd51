import { afterEach, beforeEach, describe, expect, it } from "@jest/globals";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clearOutput } from "./new-recording.js";

describe("a new recording", () => {
  let directory: string;
  let path: string;
  const argv = ["record", "a guest.img", "-o", "vm.hvj"];
  const content = (name: string): string | undefined =>
    existsSync(join(directory, name)) ? readFileSync(join(directory, name), "utf8") : undefined;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "hvjournal-"));
    path = join(directory, "vm.hvj");
    writeFileSync(path, "older");
    writeFileSync(`${path}-wal`, "older log");
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("moves an older one of the default name aside, with its write-ahead log", () => {
    writeFileSync(`${path}.old`, "oldest");
    clearOutput({ path, isNamed: false, force: false, argv });
    expect([content("vm.hvj"), content("vm.hvj-wal")]).toEqual([undefined, undefined]);
    expect([content("vm.hvj.old"), content("vm.hvj.old-wal")]).toEqual(["older", "older log"]);
  });

  it("leaves a file alone that -o names, unless it is forced", () => {
    expect(() => clearOutput({ path, isNamed: true, force: false, argv })).toThrow(
      `can't record to ${path}: the file exists`,
    );
    expect(content("vm.hvj")).toBe("older");
    clearOutput({ path, isNamed: true, force: true, argv });
    expect([content("vm.hvj"), content("vm.hvj-wal"), content("vm.hvj.old")]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});
