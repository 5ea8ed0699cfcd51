import { chmodSync, mkdirSync, statfsSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { joinedPackages } from "./scripts/test-modules.js";

/**
 * Where tests keep their recordings. Each is synchronized several times, and two workers that wait for a disk leave the
 * processors idle; so they go to memory, where the host has enough of it as a file system.
 */
const MEMORY = "/dev/shm";
const MEMORY_BYTES_MIN = 6 * 2 ** 30;
const cacheDirectory = join(tmpdir(), "hvjournal-jest");

function hasMemoryFileSystem() {
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize >= MEMORY_BYTES_MIN;
  } catch {
    return false;
  }
}

if (process.env.TMPDIR === undefined && hasMemoryFileSystem()) {
  process.env.TMPDIR = join(MEMORY, `hvjournal-tests-${process.getuid?.() ?? 0}`);
  mkdirSync(process.env.TMPDIR, { recursive: true });
  // As of /tmp: some tests read a recording as another user.
  chmodSync(process.env.TMPDIR, 0o1777);
}

/**
 * Tests run from TypeScript source, so they need no build: `@swc/jest` strips
 * the types and the `source` export condition leads `@hvjournal/*` to `src/index.ts`. Most of what is imported by such a
 * name is joined before, from the same sources, by `scripts/test-modules.js`.
 * `tsc -b` is what checks types.
 *
 * @type {import("jest").Config}
 */
const fromSource = {
  roots: ["<rootDir>/packages"],
  cacheDirectory,
  extensionsToTreatAsEsm: [".ts"],
  transform: {
    "\\.ts$": [
      "@swc/jest",
      { jsc: { target: "es2022", parser: { syntax: "typescript" } }, module: { type: "es6" }, sourceMaps: "inline" },
    ],
  },
  // Source files import each other as `./name.js`, the name they have once built.
  moduleNameMapper: { "^(\\.{1,2}/.*)\\.js$": "$1", ...joinedPackages },
  globalSetup: "<rootDir>/scripts/test-modules.js",
  modulePathIgnorePatterns: ["/dist/"],
  // Jest adds `import` or `require` by itself; naming either here breaks its own CommonJS modules.
  testEnvironmentOptions: { customExportConditions: ["source", "node", "node-addons"] },
};

/**
 * - `unit`: a part beside its source.
 * - `built`: starts the command line as a process, or worker threads, from `dist`.
 * - `slow`: minutes; only by `npm run test:slow`.
 *
 * @type {import("jest").Config}
 */
export default {
  projects: [
    {
      ...fromSource,
      displayName: "unit",
      testMatch: ["**/src/**/*.test.ts"],
      testPathIgnorePatterns: ["/node_modules/", "\\.(built|slow)\\.test\\.ts$"],
    },
    { ...fromSource, displayName: "built", testMatch: ["**/src/**/*.built.test.ts"] },
    { ...fromSource, displayName: "slow", testMatch: ["**/src/**/*.slow.test.ts"] },
  ],
  // Jest's own choice on two cores is one worker. Tests of what is built wait for guests' clocks and for
  // processes to begin and end: a third worker has the processors then.
  maxWorkers: Math.max(3, availableParallelism() - 1),
  // What a file has loaded stays in its process, and each guest's memory makes the collector walk through all of it: beyond
  // this a fresh process costs less. Measured on packages/cpu-arm64: 100 s of CPU time, and 155 s with 1 GB.
  workerIdleMemoryLimit: "200MB",
  testSequencer: "<rootDir>/scripts/longest-first.js",
  testTimeout: 60_000,
  reporters: ["default", "<rootDir>/scripts/count-reporter.js"],
};
