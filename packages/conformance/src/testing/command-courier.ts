/** The thread of `warm-command-line.ts` that waits for the process of `command-server.ts`, while the test's own stands still. */
import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { type MessagePort, workerData } from "node:worker_threads";
import { ANSWERS, type CommandRequest, type CommandResult, REQUESTS } from "./command-request.js";

export interface CourierData {
  readonly requests: MessagePort;
  /** Becomes 1, and wakes who waits for it, once the answer is there. */
  readonly answered: Int32Array;
  readonly environment: NodeJS.ProcessEnv;
  /** Standard error goes where standard output goes, in the order in which they are written. */
  readonly isJoined: boolean;
}

const { requests, answered, environment, isJoined } = workerData as CourierData;
const server = fileURLToPath(new URL("command-server.js", import.meta.url));
/** Files take what is printed at once, whoever reads it; a pipe would have to be emptied meanwhile. */
const directory = mkdtempSync(join(tmpdir(), "hvj-printed-"));
const stdoutPath = join(directory, "stdout");
const stderrPath = isJoined ? stdoutPath : join(directory, "stderr");
let child: ChildProcess | undefined;

function start(): ChildProcess {
  const [stdout, stderr] = [openSync(stdoutPath, "a"), openSync(stderrPath, "a")];
  const stdio: StdioOptions = ["ignore", stdout, stderr, "pipe", "pipe"];
  const started = spawn(process.execPath, [server], { env: environment, stdio });
  closeSync(stdout);
  closeSync(stderr);
  // Also where it ends between two command lines.
  started.once("exit", () => (child = undefined));
  return started;
}

/** The exit status; null: it was killed by a signal. */
function statusOf(request: CommandRequest): Promise<number | null> {
  const asked = (child ??= start());
  const [requestPipe, answerPipe] = [asked.stdio[REQUESTS] as Writable, asked.stdio[ANSWERS] as Readable];
  return new Promise((resolve) => {
    const told = (status: Buffer): void => {
      asked.off("exit", ended);
      resolve(Number(status.toString("latin1")));
    };
    const ended = (status: number | null): void => {
      answerPipe.off("data", told);
      resolve(status);
    };
    answerPipe.once("data", told);
    asked.once("exit", ended);
    requestPipe.write(`${JSON.stringify(request)}\n`);
  });
}

function takePrinted(path: string): string {
  const text = readFileSync(path, "utf8");
  truncateSync(path);
  return text;
}

requests.on("message", (request: CommandRequest | "close") => {
  if (request === "close") {
    child?.kill("SIGKILL");
    rmSync(directory, { recursive: true });
    process.exit();
  }
  void statusOf(request).then((status) => {
    const result: CommandResult = { status, stdout: takePrinted(stdoutPath), stderr: takePrinted(stderrPath) };
    requests.postMessage(result);
    Atomics.store(answered, 0, 1);
    Atomics.notify(answered, 0);
  });
});
