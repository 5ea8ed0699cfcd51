/**
 * Makes a fresh clone ready to run: installs the locked dependencies and compiles the
 * packages. Needs Node, npm, python3, make and a C++ compiler (better-sqlite3 compiles
 * where it has no prebuilt binary). Does nothing that is already done.
 *
 *   node scripts/setup.js [--types-only]     --types-only: what the fences need, neither the binary nor the bundle
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..");
const stampPath = join(root, "node_modules", ".hvjournal-setup");
/** SQLite, as C: what takes longest to compile. */
const nativePackage = "better-sqlite3";
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

function fail(message) {
  process.stderr.write(`error: ${message}\n`);
  process.exit(1);
}

/** Node's own headers, where they are installed beside it, so that compiling an addon need not download them. */
function environment() {
  const prefix = join(dirname(process.execPath), "..");
  const hasHeaders = existsSync(join(prefix, "include", "node", "node_version.h"));
  return hasHeaders ? { npm_config_nodedir: prefix, ...process.env } : process.env;
}

/** Runs a command with its output on stderr, so that stdout stays the caller's. */
async function run(what, command, args) {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", 2, 2], env: environment() });
  const [status] = await once(child, "close").catch((error) => fail(`can't ${what}: ${command}: ${error.message}`));
  if (status !== 0) fail(`can't ${what}: ${command} ${args.join(" ")} ended with status ${status}`);
}

function runPackageManager(what, args) {
  return run(what, "npx", ["-y", manifest.packageManager.split("+")[0], ...args]);
}

function checkNode() {
  const [, wantedMajor, wantedMinor] = /^>=(\d+)\.(\d+)$/.exec(manifest.engines.node);
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < Number(wantedMajor) || (major === Number(wantedMajor) && minor < Number(wantedMinor))) {
    fail(`node ${process.versions.node} is too old: hvjournal needs ${manifest.engines.node}`);
  }
}

/** What an install depends on, in one hash. */
function installFingerprint() {
  const hash = createHash("sha256").update(process.version);
  const packages = readdirSync(join(root, "packages")).sort();
  const manifests = packages.map((name) => join("packages", name, "package.json"));
  for (const path of ["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ...manifests]) {
    if (existsSync(join(root, path))) hash.update(path).update(readFileSync(join(root, path)));
  }
  return hash.digest("hex");
}

async function install() {
  const fingerprint = installFingerprint();
  if (existsSync(stampPath) && readFileSync(stampPath, "utf8") === fingerprint) return;
  process.stderr.write("installing dependencies (about a minute the first time)\n");
  const options = ["--frozen-lockfile", "--ignore-scripts", "--config.confirmModulesPurge=false"];
  await runPackageManager("install the dependencies", ["install", ...options]);
  writeFileSync(stampPath, fingerprint);
}

/** Whether its binary is there, whole, and for this Node. */
function loadsNativePackage() {
  try {
    createRequire(join(root, "packages", "cli", "package.json"))(`${nativePackage}/build/Release/better_sqlite3.node`);
    return true;
  } catch {
    return false;
  }
}

/** The one install script that is run, beside everything that does without the binary. */
async function compileNativePackage() {
  if (loadsNativePackage()) return;
  process.stderr.write(`compiling ${nativePackage} (a minute or two, once)\n`);
  await runPackageManager(`compile ${nativePackage}`, ["--recursive", "rebuild", nativePackage]);
}

function compilePackages() {
  return run("compile", process.execPath, [join("node_modules", "typescript", "bin", "tsc"), "-b"]);
}

checkNode();
await install();
if (process.argv.includes("--types-only")) {
  await compilePackages();
} else {
  await Promise.all([compileNativePackage(), compilePackages()]);
  await run("bundle the command", process.execPath, [join("scripts", "bundle.js")]);
}
