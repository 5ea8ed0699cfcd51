/** Runs a command and measures it as `wait4` does: CPU time of the process itself and of what it waited for. */
import { spawnSync } from "node:child_process";

/** Node has no `wait4` for a single child; Python, which a build of better-sqlite3 needs anyway, has. */
const WAIT4 = `
import json, os, sys, time
begin = time.monotonic()
pid = os.fork()
if pid == 0:
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        sys.stderr.write(f"can't run {sys.argv[1]}: {error.strerror}\\n")
        os._exit(127)
_, status, usage = os.wait4(pid, 0)
wall = time.monotonic() - begin
code = os.waitstatus_to_exitcode(status)
measured = dict(status=code, wallSeconds=wall, cpuSeconds=usage.ru_utime + usage.ru_stime, residentBytesMax=usage.ru_maxrss * 1024)
os.write(3, json.dumps(measured).encode())
`;

export class BenchError extends Error {
  name = "BenchError";
}

/**
 * @param {readonly string[]} command program and arguments
 * @param {{ cwd?: string }} options
 * @returns {{ cpuSeconds: number, wallSeconds: number, residentBytesMax: number, output: string }}
 * @throws {BenchError} when the command can't be run or its exit status is not 0
 */
export function measure(command, { cwd } = {}) {
  const options = { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe", "pipe"], maxBuffer: 64 << 20 };
  const { output, error } = spawnSync("python3", ["-c", WAIT4, ...command], options);
  if (error) throw new BenchError(`can't run python3, which measures: ${error.message}`);
  const [, stdout, stderr, report] = output;
  if (report === "") throw new BenchError(`can't measure ${command.join(" ")}: ${stderr.trim()}`);
  const { status, ...measured } = JSON.parse(report);
  if (status !== 0) throw new BenchError(`${command.join(" ")} ended with status ${status}: ${stderr.trim()}`);
  return { ...measured, output: stdout };
}

/** First line of what a program says of its version; undefined: it is not there. */
export function programVersion(name) {
  const { error, stdout } = spawnSync(name, ["--version"], { encoding: "utf8" });
  return error === undefined ? stdout.split("\n")[0] : undefined;
}
