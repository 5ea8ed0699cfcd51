/**
 * `npm run bench`: measures what SPECIFICATION.md promises.
 *
 *     npm run bench -- [boot] [overhead] [replay] [seek] [size] [memory] [startup] [exits] [migrate]
 *                      [boot-amd64] [overhead-amd64] [replay-amd64] [size-amd64] [exits-amd64]
 *                                                 default: all
 *         --quick          few repetitions: for a first impression, and for CI
 *         --pairs N        interleaved runs of boot, replay, startup and exits (10); --overhead-pairs N (30); --seeks N (200);
 *                         --moves N (5)
 *         --seed N         of the exits that are sought
 *         --json           one object a line
 *
 * Times are CPU seconds of whole processes, start included, compared pairwise within this run. Exit status: 0 every
 * bound is met, 1 one is not, 128 a bench could not be run, 129 wrong usage.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BENCHES } from "./benches.js";
import { findingLine } from "./findings.js";
import { prepareGuest, QEMU } from "./guest-commands.js";
import { programVersion } from "./measured-process.js";

const USAGE = 129;
const FAILED = 128;
const OPTIONS = {
  quick: { type: "boolean", default: false },
  pairs: { type: "string" },
  "overhead-pairs": { type: "string" },
  seeks: { type: "string" },
  moves: { type: "string" },
  seed: { type: "string" },
  json: { type: "boolean", default: false },
};

function fail(status, message) {
  process.stderr.write(`error: ${message}\n`);
  process.exit(status);
}

function parseCommandLine() {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true });
  } catch (error) {
    return fail(USAGE, error.message);
  }
}

const { values, positionals } = parseCommandLine();

function count(option, normally, quickly) {
  const value = Number(values[option] ?? (values.quick ? quickly : normally));
  if (!Number.isInteger(value) || value < 1) fail(USAGE, `--${option} ${values[option]}: expected a number from 1`);
  return value;
}

function benchNames() {
  const unknown = positionals.find((name) => !Object.hasOwn(BENCHES, name));
  if (unknown !== undefined) fail(USAGE, `no bench ${unknown}: there are ${Object.keys(BENCHES).join(", ")}`);
  return positionals.length === 0 ? Object.keys(BENCHES) : positionals;
}

/** Progress, on a terminal only. */
function note(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K  ${text}`);
}

function clearNote() {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
}

function print(bench, finding) {
  process.stdout.write(values.json ? `${JSON.stringify({ bench, ...finding })}\n` : `${findingLine(finding)}\n`);
}

/** The guests of the architectures that are asked for, by architecture; bare-metal benches bring their own. */
async function prepareGuests(names, directory) {
  const guests = {};
  for (const { architecture } of names.map((name) => BENCHES[name]))
    if (architecture !== undefined) guests[architecture] ??= await prepareGuest(directory, architecture);
  return guests;
}

/** Gives the exit status. */
async function run(names, directory, options) {
  const guests = await prepareGuests(names, directory);
  if (!values.json) {
    const [processor] = cpus();
    const releases = Object.values(guests).map(({ release }) => release);
    const qemu = programVersion(QEMU) ?? `no ${QEMU}`;
    process.stdout.write(`${cpus().length} x ${processor?.model}, load ${loadavg()[0]?.toFixed(1)}\n`);
    process.stdout.write(`node ${process.versions.node}, guest linux ${releases.join(", ") || "none"}, ${qemu}\n`);
  }
  let status = 0;
  for (const name of names) {
    if (!values.json) process.stdout.write(`${name}\n`);
    try {
      const { run: bench, architecture } = BENCHES[name];
      const findings = bench({ guest: guests[architecture] ?? { directory }, note, ...options });
      clearNote();
      for (const finding of findings) print(name, finding);
      if (status === 0 && findings.some(({ isMet }) => isMet === false)) status = 1;
    } catch (error) {
      clearNote();
      process.stderr.write(`error: bench ${name}: ${error.message}\n`);
      status = FAILED;
    }
  }
  return status;
}

const names = benchNames();
const options = {
  pairs: count("pairs", 10, 2),
  overheadPairs: count("overhead-pairs", 30, 3),
  seeks: count("seeks", 200, 10),
  moves: count("moves", 5, 1),
  seed: count("seed", Date.now() % 2 ** 32, Date.now() % 2 ** 32),
};
const directory = mkdtempSync(join(tmpdir(), "hvjournal-bench-"));
try {
  process.exitCode = await run(names, directory, options);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
