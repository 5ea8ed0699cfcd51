/**
 * Makes a fresh clone ready to run: installs the locked dependencies and compiles the
 * packages. Needs Node, npm, python3, make and a C++ compiler (better-sqlite3 compiles
 * where it has no prebuilt binary). Does nothing that is already done.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..");
const stampPath = join(root, "node_modules", ".hvjournal-setup");
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
function run(what, command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2], env: environment() });
  if (error) fail(`can't ${what}: ${command}: ${error.message}`);
  if (status !== 0) fail(`can't ${what}: ${command} ${args.join(" ")} ended with status ${status}`);
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

function install() {
  const fingerprint = installFingerprint();
  if (existsSync(stampPath) && readFileSync(stampPath, "utf8") === fingerprint) return;
  const packageManager = manifest.packageManager.split("+")[0];
  process.stderr.write("installing dependencies (about a minute the first time)\n");
  const options = ["install", "--frozen-lockfile", "--config.confirmModulesPurge=false"];
  run("install the dependencies", "npx", ["-y", packageManager, ...options]);
  writeFileSync(stampPath, fingerprint);
}

checkNode();
install();
if (!process.argv.includes("--no-build")) {
  run("compile", process.execPath, [join("node_modules", "typescript", "bin", "tsc"), "-b"]);
  run("bundle the command", process.execPath, [join("scripts", "bundle.js")]);
}
