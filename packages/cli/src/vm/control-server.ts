/** A running VM's control socket. */
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import {
  formatPosition,
  machinePosition,
  MigrationFailedError,
  type MigrationReport,
  parsePosition,
  type Position,
} from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import { parseAddress } from "../migration/addresses.js";
import { explainInstance, isInDoubt, migrateInstance } from "../migration/migrate-instance.js";
import { explanationJson, optionsOfJson, reportJson } from "../migration/migration-options.js";
import { asCliError } from "../report-error.js";
import { AttachedConsole } from "./attached-console.js";
import { carryOutCommand } from "./control-command.js";
import {
  CONTROL_VERSION,
  errorJson,
  type JsonObject,
  jsonText,
  readJsonLines,
  type VmStatus,
} from "./control-protocol.js";
import { type Instance, receivingStatus, statusOf } from "./instance.js";
import { positionMoment, type SessionGoal } from "./live-goals.js";
import { SessionEndedError } from "./live-session.js";
import { controlSocketPath, type Environment, isSocketAlive, listenPrivately, noteRecording } from "./vm-directory.js";

const CONSOLE_PORT = 0;
/** For the last words to those who listen. */
const FAREWELL_MS = 1000;

type Answer = (event: JsonObject) => void;

/** Who asks for something that takes a while. */
interface Asker {
  readonly answer: Answer;
  /** Aborts when they go. */
  readonly signal: AbortSignal;
}

/** How the VM's presence ends, for those who are attached. */
export interface Farewell {
  readonly text: string;
  readonly next?: string;
  /** Exit status of the command that ran the VM. */
  readonly status?: number;
}

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;
  readonly #receiving: VmStatus;
  readonly #sockets = new Set<Socket>();
  readonly #attached = new Map<Socket, AttachedConsole>();
  #instance: Instance | undefined;
  #cancelMove: AbortController | undefined;
  #migration: Promise<void> | undefined;
  #isClosed = false;
  /** Where the VM has gone. */
  moved: MigrationReport | undefined;
  /** Ends the wait for a VM. False: it is just being taken over. */
  quitReceiving: (() => boolean) | undefined;

  private constructor(path: string, receiving: VmStatus) {
    this.#path = path;
    this.#receiving = receiving;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  /** Listens under the name of a VM that is to be recorded. Throws CliError when a VM of that name runs. */
  static async listen(environment: Environment, name: string, recording: string): Promise<ControlServer> {
    const path = controlSocketPath(environment, name);
    if (await isSocketAlive(path))
      throw new CliError(`a VM named ${name} runs already`, {
        code: "name-taken",
        next: `hvjournal attach ${name}`,
      });
    const control = new ControlServer(path, receivingStatus(name, recording));
    await new Promise<void>((resolve, reject) => {
      control.#server.once("listening", resolve);
      control.#server.once("error", reject);
      listenPrivately(control.#server, path);
    });
    noteRecording(environment, name, recording);
    return control;
  }

  /** The VM that the socket stands for; before, requests are refused. */
  serve(instance: Instance): void {
    this.#instance = instance;
    instance.session.onPausedBy.add((paused) => {
      for (const console of this.#attached.values()) console.tell({ paused });
    });
    instance.session.recorder.onOutput((port, bytes) => {
      if (port !== CONSOLE_PORT) return;
      for (const console of this.#attached.values()) console.show(bytes);
    });
  }

  /** Waits for a move that is under way: its session has ended by it. */
  async settle(): Promise<void> {
    await this.#migration;
  }

  /** The first farewell is the one that is said. */
  async close(farewell: Farewell): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#server.close();
    rmSync(this.#path, { force: true });
    for (const console of this.#attached.values()) console.end({ ...farewell });
    const open = [...this.#sockets];
    for (const socket of open) socket.end();
    const closed = Promise.all(open.map((socket) => new Promise((resolve) => socket.once("close", resolve))));
    const timer = new Promise((resolve) => setTimeout(resolve, FAREWELL_MS).unref());
    await Promise.race([closed, timer]);
    for (const socket of open) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.#attached.delete(socket);
    });
    readJsonLines(
      socket,
      (line) => void this.#take(socket, line),
      () => socket.destroy(),
    );
  }

  async #take(socket: Socket, line: JsonObject): Promise<void> {
    const { id } = line;
    if (typeof id !== "number") return void socket.destroy();
    const answer: Answer = (message) => {
      if (socket.writable) socket.write(jsonText({ id, ...message }));
    };
    try {
      if (line["version"] !== CONTROL_VERSION)
        throw new CliError(`this VM speaks control protocol ${CONTROL_VERSION}, not ${String(line["version"])}`, {
          code: "control-version",
          status: ExitStatus.untestable,
        });
      const ok = await this.#answer(line, answer, socket, id);
      if (ok !== undefined) answer({ ok });
    } catch (error) {
      const told = isOfEnd(error) ? new CliError(error.message, { code: "vm-ended" }) : error;
      answer({ error: errorJson(asCliError(told)) });
    }
  }

  /** undefined: the answer comes when the VM ends. */
  async #answer(line: JsonObject, answer: Answer, socket: Socket, id: number): Promise<JsonObject | undefined> {
    const instance = this.#instance;
    if (instance === undefined) return this.#answerWithoutVm(line["request"]);
    const { session } = instance;
    const { request } = line;
    switch (request) {
      case "status":
        return statusOf(instance);
      case "pause": {
        const goal = pauseGoal(instance, line["at"]);
        const paused = session.pauseAt(goal, leaving(socket));
        const { at, state } = statusOf(instance);
        if (goal !== undefined) answer({ event: { waitsFor: goal.text, since: at, state } });
        await paused;
        return statusOf(instance);
      }
      case "resume":
        await session.requestBeside(() => session.resume());
        return statusOf(instance);
      case "snapshot": {
        const { number } = await session.requestBeside(() => session.recorder.snapshotHere());
        return { ...statusOf(instance), snapshot: number };
      }
      case "quit":
        session.stop({ why: "interrupted", by: "ctl quit" });
        return statusOf(instance);
      case "control":
        return { lines: await carryOutCommand(instance, textOf(line, "word"), textOf(line, "text")) };
      case "attach":
        this.#attached.set(socket, new AttachedConsole(socket, id));
        answer({ event: { attached: true } });
        if (session.pausedBy !== undefined) answer({ event: { paused: session.pausedBy.text } });
        return undefined;
      case "input":
        session.type(Buffer.from(textOf(line, "bytes"), "base64"));
        return {};
      case "cancel-move":
        this.#cancelMove?.abort(textOf(line, "why"));
        return {};
      case "explain":
      case "migrate":
        return this.#move(instance, line, { answer, signal: leaving(socket) });
      default:
        throw new CliError(`a VM knows no request ${String(request)}`, { code: "control" });
    }
  }

  #answerWithoutVm(request: unknown): JsonObject {
    if (request === "status" || (request === "quit" && this.quitReceiving?.() === true)) return { ...this.#receiving };
    const what =
      request === "quit" && this.quitReceiving !== undefined ? "it is just being taken over" : "one is being received";
    throw new CliError(`there is no VM here yet: ${what}`, { code: "receiving" });
  }

  async #move(instance: Instance, line: JsonObject, { answer, signal }: Asker): Promise<JsonObject> {
    const to = textOf(line, "to");
    const address = parseAddress(to);
    if (address === undefined) throw new UsageError(`${to}: expected unix:, tcp:, exec: or ssh:`);
    const options = optionsOfJson(line);
    if (this.#migration !== undefined)
      throw new CliError(`${instance.name} is being moved already`, { code: "busy", status: ExitStatus.no });
    if (line["request"] === "explain") {
      return explanationJson(await explainInstance(instance, address, options, signal));
    }
    const cancelled = new AbortController();
    this.#cancelMove = cancelled;
    const moving = migrateInstance(instance, address, options, {
      signal: AbortSignal.any([signal, cancelled.signal]),
      onProgress: (progress) =>
        answer({
          event: { progress: progress.step, ...("behindMs" in progress ? { behindMs: progress.behindMs } : {}) },
        }),
    });
    this.#migration = moving.then(
      (report) => {
        this.moved = report;
      },
      (error: unknown) => {
        // What failed may be tried again; what is in doubt may not.
        if (!isInDoubt(error)) this.#migration = undefined;
      },
    );
    return reportJson(await moving);
  }
}

/** The VM has ended before what was asked of it was done; a move is given up by that before it takes place. */
function isOfEnd(error: unknown): error is Error {
  return (
    error instanceof SessionEndedError ||
    (error instanceof MigrationFailedError && error.cause instanceof SessionEndedError)
  );
}

/** Aborts when the other side goes. */
function leaving(socket: Socket): AbortSignal {
  const controller = new AbortController();
  socket.once("close", () => controller.abort("whoever asked for it has gone"));
  return controller.signal;
}

function textOf(line: JsonObject, field: string): string {
  const value = line[field];
  if (typeof value === "string") return value;
  throw new CliError(`the request ${String(line["request"])} lacks ${field}`, { code: "control" });
}

/** undefined: now, also where the VM stands there already. Throws UsageError and CliError for a moment that does not lie ahead. */
function pauseGoal({ name, session }: Instance, at: unknown): SessionGoal | undefined {
  if (typeof at !== "string") return undefined;
  const { machine } = session.recorder;
  const position = parsePosition(at);
  const moment = positionMoment(position, `--at ${at}`, machine);
  if (moment === undefined) throw new UsageError(`--at ${at}: the end comes by itself`);
  const standsThere = position.at === "exit" && position.number === machine.exitNumber && machine.exitPending;
  if (standsThere && position.unitsAfter === undefined) return undefined;
  if (isBehind(position, machine))
    throw new CliError(`${name} is at ${formatPosition(machinePosition(machine))} already: ${at} lies behind it`, {
      code: "passed",
      status: ExitStatus.no,
      next: `hvjournal ctl ${name} pause`,
    });
  return { name: "pause", text: at, ...moment };
}

function isBehind(position: Position, machine: Instance["session"]["recorder"]["machine"]): boolean {
  switch (position.at) {
    case "exit":
      return position.unitsAfter === undefined
        ? position.number <= machine.exitNumber
        : position.number < machine.exitNumber ||
            (position.number === machine.exitNumber &&
              !machine.exitPending &&
              machine.icount > machine.answeredIcount + position.unitsAfter);
    case "icount":
      return position.icount < machine.icount;
    case "time":
      return position.timeNs < machine.guestTimeNs;
    default:
      return false;
  }
}
