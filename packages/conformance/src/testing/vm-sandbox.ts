/** The command line as processes, with control sockets and recordings of their own. */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EventCursor, HotKind, NO_EVENT, type EventBatch } from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
import { bareMetalImage } from "../guests/bare-metal.js";
import { hvjournalCommand } from "./repository.js";
import { WarmCommandLine } from "./warm-command-line.js";

/** A whole boot on a busy machine. */
const COMMAND_TIMEOUT_MS = 600_000;
const POLL_MS = 20;

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Kept once the command has written this; rejects when it ends without. */
  readonly says: (expression: RegExp) => Promise<RegExpExecArray>;
}

/** False once the process has written something more. */
function oneMore({ stdout, stderr }: ChildProcess): Promise<false> {
  const streams = [stdout, stderr];
  return new Promise((resolve) => {
    const came = (): void => {
      for (const stream of streams) stream?.off("data", came);
      resolve(false);
    };
    for (const stream of streams) stream?.once("data", came);
  });
}

export interface VmStatus {
  readonly name: string;
  readonly processId: number;
  readonly state: string;
  readonly pausedBy?: string;
  readonly waitsFor?: string;
  readonly exit: number;
  readonly icount: number;
}

function checked(words: readonly string[], finished: Finished): Finished {
  const { status, stdout, stderr } = finished;
  if (status !== 0) throw new Error(`hvjournal ${words.join(" ")}: status ${status}\n${stdout}\n${stderr}`);
  return finished;
}

export class VmSandbox {
  readonly entry: string = hvjournalCommand;
  readonly directory: string = mkdtempSync(join(tmpdir(), "hvj-"));
  readonly #environment: NodeJS.ProcessEnv = { ...process.env, XDG_RUNTIME_DIR: this.directory, NO_COLOR: "1" };
  readonly #warm: WarmCommandLine = new WarmCommandLine(this.#environment);
  readonly #children: ChildProcess[] = [];

  path(name: string): string {
    return join(this.directory, name);
  }

  run(...words: readonly string[]): Finished {
    if (!WarmCommandLine.takes(words)) return this.runWith({}, ...words);
    return this.#warm.run({ words, directory: this.directory }, COMMAND_TIMEOUT_MS);
  }

  /** As a process of its own, with more in its environment. */
  runWith(environment: Readonly<Record<string, string>>, ...words: readonly string[]): Finished {
    const { status, stdout, stderr } = spawnSync(process.execPath, [hvjournalCommand, ...words], {
      cwd: this.directory,
      env: { ...this.#environment, ...environment },
      encoding: "utf8",
      timeout: COMMAND_TIMEOUT_MS,
    });
    return { status, stdout, stderr };
  }

  /** Throws with what the command said unless its status is 0. */
  must(...words: readonly string[]): string {
    return checked(words, this.run(...words)).stdout;
  }

  /** The bare-metal guest in the background; idle time is skipped. */
  recordDetached(name: string, append: string, ...words: readonly string[]): void {
    this.#record(name, append, ["--detach", "--headless", ...words]);
  }

  /** The same, ready to be killed at a step of a move; see the command line's `fault-point.ts`. */
  recordDoomed(killedAt: string, name: string, append: string): void {
    this.#record(name, append, ["--detach"], { HVJOURNAL_TEST_KILL: killedAt });
  }

  /** In the background too; it idles at its own pace, and waits for what is typed. */
  recordInteractive(name: string, append: string, ...words: readonly string[]): void {
    this.#record(name, append, ["--detach", ...words]);
  }

  /** The same guest at one place from its start to its end. */
  recordWhole(name: string, append: string, ...words: readonly string[]): void {
    this.#record(name, append, ["--headless", "-q", ...words]);
  }

  #record(name: string, append: string, words: readonly string[], environment?: Record<string, string>): void {
    const fixed = ["--seed", "7", "--rtc", "base=2026-01-01", "--no-index", "--host-timeout", "600s"];
    const all = ["record", bareMetalImage, "--append", append, ...fixed, ...words, "-o", `${name}.hvj`];
    checked(all, environment === undefined ? this.run(...all) : this.runWith(environment, ...all));
  }

  start(...words: readonly string[]): Started {
    return this.startWith({}, ...words);
  }

  /** With more in its environment. */
  startWith(environment: Readonly<Record<string, string>>, ...words: readonly string[]): Started {
    const child = spawn(process.execPath, [hvjournalCommand, ...words], {
      cwd: this.directory,
      env: { ...this.#environment, ...environment },
    });
    this.#children.push(child);
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const finished = new Promise<Finished>((resolve) =>
      child.once("close", (status) => resolve({ status, stdout, stderr })),
    );
    const says = async (expression: RegExp): Promise<RegExpExecArray> => {
      for (;;) {
        const found = expression.exec(stdout + stderr);
        if (found !== null) return found;
        const isOver = await Promise.race([finished.then(() => true), oneMore(child)]);
        if (isOver && !expression.test(stdout + stderr))
          throw new Error(`hvjournal ${words.join(" ")} ended without ${String(expression)}\n${stdout}\n${stderr}`);
      }
    };
    return { child, finished, says };
  }

  vms(): VmStatus[] {
    return this.must("ps", "--json")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as VmStatus);
  }

  vm(name: string): VmStatus | undefined {
    return this.vms().find((vm) => vm.name === name);
  }

  /** Comes back once the VM stands still; throws where it has ended. */
  async paused(name: string): Promise<VmStatus> {
    for (;;) {
      const vm = this.vm(name);
      if (vm === undefined) throw new Error(`${name} has ended before it paused`);
      if (vm.state === "paused") return vm;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Kills the process of a VM in the background; behind this there is none. */
  async kill(name: string): Promise<void> {
    const id = this.vm(name)?.processId;
    if (id === undefined) throw new Error(`no VM ${name} runs`);
    process.kill(id, "SIGKILL");
    await hasEnded(id, COMMAND_TIMEOUT_MS);
  }

  /** Comes back once the VM is gone; false: it still runs after `milliseconds`. */
  async gone(name: string, milliseconds = COMMAND_TIMEOUT_MS): Promise<boolean> {
    const id = this.vm(name)?.processId;
    return id === undefined || hasEnded(id, milliseconds);
  }

  open<Result>(name: string, look: (reader: RecordingReader) => Result): Result {
    const reader = openRecording(this.path(name));
    try {
      return look(reader);
    } finally {
      reader.close();
    }
  }

  /** Console output of the events behind `seq`. */
  console(name: string, seq = 0): string {
    return this.open(name, (reader) => consoleBehind(reader, seq));
  }

  /** Output across a move: a destination's recording begins with a copy of the source's last events. */
  joinedConsole(source: string, destination: string): string {
    return this.console(source) + this.console(destination, this.handOverSeq(destination));
  }

  /** The last event that came with the VM. */
  handOverSeq(destination: string): number {
    return this.open(destination, (reader) =>
      Number(reader.ownership().find(({ state }) => state === "prepared")?.detail["seq"]),
    );
  }

  /** Ends whatever was started here and still runs: a guest that never idles takes a processor from the tests behind it. */
  endAll(): void {
    for (const child of this.#children) if (child.exitCode === null) child.kill("SIGKILL");
    for (const { processId } of this.vms()) {
      try {
        process.kill(processId, "SIGKILL");
      } catch {
        // It has ended meanwhile.
      }
    }
  }

  close(): void {
    this.endAll();
    this.#warm.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** False: the process still runs after `milliseconds`. */
async function hasEnded(id: number, milliseconds: number): Promise<boolean> {
  for (const until = performance.now() + milliseconds; performance.now() < until;) {
    if (!isAlive(id)) return true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return false;
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch {
    return false;
  }
}

function consoleBehind(reader: RecordingReader, seq: number): string {
  const parts: Buffer[] = [];
  const source = (wanted: number, batch: EventBatch): boolean => {
    let isFound = false;
    reader.readBatches(wanted, batch, () => {
      isFound = true;
      return false;
    });
    return isFound && wanted < batch.nextSeq;
  };
  const first = Math.max(seq, reader.header.parent?.seq ?? 0) + 1;
  for (const cursor = new EventCursor(source, first); cursor.kind !== NO_EVENT; cursor.next())
    if (cursor.kind === HotKind.outputProduced && cursor.outputPort === 0) parts.push(Buffer.from(cursor.outputBytes));
  return Buffer.concat(parts).toString("latin1");
}
