/**
 * Before the tests: joins the packages that tests import by name into few modules. They are several hundred in source, and
 * Jest's loader reads, links and compiles each of them for every test file. Made anew, within a second, with each run, so
 * that tests run what the sources say. A package's own tests import it by path, and run its sources as they are.
 */
import { buildSync } from "esbuild";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

const packages = join(import.meta.dirname, "..", "packages");
const directory = join(import.meta.dirname, "..", "node_modules", ".cache", "hvjournal-test-modules");

/** One entry each; what two of them import is in modules that they share. `journal` loads a binary, and is left as it is. */
const JOINED = ["core", "cpu-arm64", "cpu-x86", "engine", "vmm"];

/** For Jest's `moduleNameMapper`. */
export const joinedPackages = { [`^@hvjournal/(${JOINED.join("|")})$`]: join(directory, "$1.mjs") };

function isCurrent({ path, contents }) {
  try {
    return readFileSync(path).equals(contents);
  } catch {
    return false;
  }
}

/** Another run of tests may read it meanwhile. */
function write({ path, contents }) {
  const written = `${path}.${process.pid}`;
  writeFileSync(written, contents);
  renameSync(written, path);
}

export default function joinPackages() {
  const { outputFiles } = buildSync({
    entryPoints: Object.fromEntries(JOINED.map((name) => [name, join(packages, name, "src", "index.ts")])),
    outdir: directory,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    platform: "node",
    target: "node20.19",
    format: "esm",
    conditions: ["source"],
    // Where a test fails, its stack names the sources.
    sourcemap: "linked",
    sourcesContent: false,
    logLevel: "warning",
    write: false,
  });
  mkdirSync(directory, { recursive: true });
  for (const file of outputFiles) if (!isCurrent(file)) write(file);
  const names = new Set(outputFiles.map(({ path }) => basename(path)));
  for (const name of readdirSync(directory)) if (!names.has(name)) rmSync(join(directory, name), { force: true });
}
