/** House rules that neither the compiler nor the linters know. */
import { describe, expect, it } from "@jest/globals";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { repositoryRoot, sourceFiles } from "./testing/repository.js";

const files = sourceFiles();
const isText = /\.(ts|js|cjs|json|yaml|md|sh|S|c|h|ld)$|^\.ci\/run$|(^|\/)LICENSE$/;
const generated = new Set(["pnpm-lock.yaml"]);
const textFiles = files.filter((path) => isText.test(path) && !generated.has(path));
const sources = files.filter((path) => /^packages\/.*\/src\/.*\.ts$/.test(path));

function read(path: string): string {
  return readFileSync(join(repositoryRoot, path), "utf8");
}

/** `path:line: text` of each line that matches. */
function findLines(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split("\n")
      .map((line, index) => ({ line, where: `${path}:${index + 1}` }))
      .filter(({ line }) => pattern.test(line))
      .map(({ line, where }) => `${where}: ${line.trim()}`),
  );
}

describe("the source tree", () => {
  it("names files for their subject", () => {
    const nameless = /(^|-)(utils?|helpers?|common|misc)(-|\.|$)/;
    expect(sources.filter((path) => nameless.test(basename(path)))).toEqual([]);
  });

  it("names files in kebab-case", () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.(built|slow))?(\.test)?\.ts$/;
    expect(sources.filter((path) => !kebab.test(basename(path)))).toEqual([]);
  });

  it("has no marks of unfinished work", () => {
    // In two parts, or this file would find itself.
    const marks = new RegExp(`\\b(TO${"DO"}|FIX${"ME"}|XX${"X"}|HA${"CK"})\\b`);
    expect(findLines(textFiles, marks)).toEqual([]);
  });

  it("names no directory of one machine and no package registry", () => {
    const places = [`(^|[^\\w.$}*-])/(ho${"me"}|ro${"ot"}|wo${"rk"}|Use${"rs"})/\\w`];
    const hosts = ["npm" + "js", "deb" + "ian", "ubu" + "ntu", "yarn" + "pkg"].map((host) => `https?://[^ ]*${host}`);
    expect(findLines(textFiles, new RegExp([...places, ...hosts].join("|")))).toEqual([]);
  });

  it("states in test titles what is, not what ought to be", () => {
    const title = /\b(it|test|describe)(\.\w+)*(\([^"'`]*\))?\(\s*["'`].*\bshould\b/;
    const tests = sources.filter((path) => path.endsWith(".test.ts"));
    expect(findLines(tests, title)).toEqual([]);
  });
});

describe("ARCHITECTURE.md", () => {
  /** Rows of the table of invariants: those that start with a number. */
  const rows = existsSync(join(repositoryRoot, "ARCHITECTURE.md"))
    ? read("ARCHITECTURE.md")
        .split("\n")
        .filter((line) => /^\|\s*\d+\s*\|/.test(line))
    : [];

  it("numbers the invariants from 1 without a gap", () => {
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.map((row) => Number(row.split("|")[1]))).toEqual(rows.map((_, index) => index + 1));
  });

  it("names for each invariant tests that exist", () => {
    for (const row of rows) {
      const tests = row.match(/packages\/[\w./-]+\.test\.ts/g) ?? [];
      expect({ row, tests: tests.length }).not.toEqual({ row, tests: 0 });
      expect(tests.filter((path) => !existsSync(join(repositoryRoot, path)))).toEqual([]);
    }
  });
});

describe("documents", () => {
  it("link to files that exist", () => {
    const documents = textFiles.filter((path) => path.endsWith(".md"));
    const dangling = documents.flatMap((path) => {
      const targets = [...read(path).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map((match) => match[1] ?? "");
      const local = targets.filter((target) => !/^[a-z]+:/.test(target));
      const missing = local.filter((target) => !existsSync(join(repositoryRoot, dirname(path), target)));
      return missing.map((target) => `${path} -> ${target}`);
    });
    expect(dangling).toEqual([]);
  });
});
