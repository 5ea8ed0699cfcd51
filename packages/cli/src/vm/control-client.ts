/** The client's side of a control socket. */
import type { Socket } from "node:net";
import { CliError } from "../cli-error.js";
import {
  CONTROL_VERSION,
  errorOfJson,
  isJsonObject,
  type JsonObject,
  jsonText,
  readJsonLines,
  type VmStatus,
} from "./control-protocol.js";
import { noVmError } from "./gone-vm.js";
import { controlSocketPath, type Environment, namesOfSockets, tryConnect } from "./vm-directory.js";

/** A promise: nothing more is read from the VM until it is kept. */
export type EventListener = (event: JsonObject) => void | Promise<void>;

interface OpenRequest {
  readonly onEvent: EventListener;
  readonly resolve: (ok: JsonObject) => void;
  readonly reject: (error: Error) => void;
}

function hasGone({ code }: NodeJS.ErrnoException): boolean {
  return code === "ECONNRESET" || code === "EPIPE";
}

export class ControlClient {
  readonly #socket: Socket;
  readonly #open = new Map<number, OpenRequest>();
  #nextId = 1;
  /** Kept once the VM has closed the connection. */
  readonly closed: Promise<void>;
  #failure: Error | undefined;

  constructor(socket: Socket, vm: string) {
    this.#socket = socket;
    readJsonLines(
      socket,
      (line) => this.#take(line),
      (reason) => this.#fail(new CliError(`${vm} does not speak as a VM does: ${reason}`, { code: "control" })),
    );
    socket.on("error", (cause: NodeJS.ErrnoException) => {
      // A process that ends with a request unread resets the connection.
      if (hasGone(cause)) this.#fail(new CliError(`${vm} has ended`, { code: "vm-ended", cause }));
      else this.#fail(new CliError(`the connection to ${vm} broke: ${cause.message}`, { code: "control", cause }));
    });
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
    socket.on("close", () => this.#fail(new CliError(`${vm} has ended`, { code: "vm-ended" })));
  }

  #take(line: JsonObject): void {
    const { id, event, ok, error } = line;
    const open = typeof id === "number" ? this.#open.get(id) : undefined;
    if (open === undefined || typeof id !== "number") return;
    if (isJsonObject(event)) this.#tell(open, event);
    if (ok === undefined && error === undefined) return;
    this.#open.delete(id);
    if (isJsonObject(ok)) open.resolve(ok);
    else open.reject(errorOfJson(isJsonObject(error) ? error : {}));
  }

  #tell({ onEvent }: OpenRequest, event: JsonObject): void {
    const taken = onEvent(event);
    if (taken === undefined) return;
    this.#socket.pause();
    void taken.finally(() => this.#socket.resume());
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#open.values()) reject(error);
    this.#open.clear();
    this.#socket.destroy();
  }

  request(request: string, body: JsonObject = {}, onEvent: EventListener = () => undefined): Promise<JsonObject> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      const id = this.#nextId++;
      this.#open.set(id, { onEvent, resolve, reject });
      this.#socket.write(jsonText({ version: CONTROL_VERSION, id, request, ...body }));
    });
  }

  async status(): Promise<VmStatus> {
    return (await this.request("status")) as VmStatus;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** undefined: no such VM runs. */
export async function findVm(environment: Environment, vm: string): Promise<ControlClient | undefined> {
  const socket = await tryConnect(controlSocketPath(environment, vm));
  return socket === undefined ? undefined : new ControlClient(socket, vm);
}

/** Throws CliError when no such VM runs. */
export async function connectVm(environment: Environment, vm: string): Promise<ControlClient> {
  const client = await findVm(environment, vm);
  if (client !== undefined) return client;
  throw noVmError(environment, vm);
}

/** Of every VM that answers, by name; `left`: nobody waits for it any more. */
export async function runningVms(environment: Environment, left?: AbortSignal): Promise<VmStatus[]> {
  const found: VmStatus[] = [];
  for (const name of namesOfSockets(environment)) {
    if (left?.aborted === true) break;
    const client = await findVm(environment, name);
    if (client === undefined) continue;
    left?.addEventListener("abort", () => client.close());
    try {
      found.push(await client.status());
    } catch {
      // It ended while it was asked.
    } finally {
      client.close();
    }
  }
  return found;
}
