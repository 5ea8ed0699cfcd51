import { availableParallelism } from "node:os";

/**
 * Tests run from TypeScript source, so they need no build: `@swc/jest` strips
 * the types and the `source` export condition leads `@hvjournal/*` to `src/index.ts`.
 * `tsc -b` is what checks types.
 *
 * @type {import("jest").Config}
 */
const fromSource = {
  roots: ["<rootDir>/packages"],
  extensionsToTreatAsEsm: [".ts"],
  transform: {
    "\\.ts$": [
      "@swc/jest",
      { jsc: { target: "es2022", parser: { syntax: "typescript" } }, module: { type: "es6" }, sourceMaps: "inline" },
    ],
  },
  // Source files import each other as `./name.js`, the name they have once built.
  moduleNameMapper: { "^(\\.{1,2}/.*)\\.js$": "$1" },
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
  // Jest's own choice on two cores is one worker.
  maxWorkers: Math.max(2, availableParallelism() - 1),
  // What a file has loaded stays in its process, and each guest's memory makes the collector walk through all of it: beyond
  // this a fresh process costs less. Measured on packages/cpu-arm64: 100 s of CPU time, and 155 s with 1 GB.
  workerIdleMemoryLimit: "200MB",
  testTimeout: 60_000,
  reporters: ["default", "<rootDir>/scripts/count-reporter.js"],
};
