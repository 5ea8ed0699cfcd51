/**
 * `hvjournal` for tests that ask what it does, prints and answers with, and not how its process begins and ends: one process
 * runs their command lines one after the other. Loading the command and making an engine take a fresh process a second.
 */
import { join } from "node:path";
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import type { CourierData } from "./command-courier.js";
import type { CommandRequest, CommandResult } from "./command-request.js";
import { repositoryRoot } from "./repository.js";

const COURIER = join(repositoryRoot, "packages", "conformance", "dist", "testing", "command-courier.js");

export class WarmCommandLine {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #isJoined: boolean;
  #courier: Pick<CourierData, "requests" | "answered"> | undefined;

  /** `isJoined`: what comes on standard error comes in `stdout` too, where it was written. */
  constructor(environment: NodeJS.ProcessEnv, isJoined = false) {
    this.#environment = environment;
    this.#isJoined = isJoined;
  }

  /** Whether a command line may run here: none that ends with its standard input, which is empty. */
  static takes([command]: readonly string[]): boolean {
    return command !== "attach" && command !== "receive";
  }

  /** Throws where it takes longer than `timeout` milliseconds. */
  run(request: CommandRequest, timeout: number): CommandResult {
    const { requests, answered } = (this.#courier ??= this.#start());
    Atomics.store(answered, 0, 0);
    requests.postMessage(request);
    Atomics.wait(answered, 0, 0, timeout);
    const received = receiveMessageOnPort(requests) as { readonly message: CommandResult } | undefined;
    if (received === undefined) {
      this.close();
      throw new Error(`hvjournal ${request.words.join(" ")}: no end within ${timeout} ms`);
    }
    const { status, stdout, stderr } = received.message;
    return { status, stdout, stderr };
  }

  close(): void {
    this.#courier?.requests.postMessage("close");
    this.#courier = undefined;
  }

  #start(): Pick<CourierData, "requests" | "answered"> {
    const { port1: requests, port2 } = new MessageChannel();
    const answered = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    const to = { environment: this.#environment, isJoined: this.#isJoined };
    const data: CourierData = { requests: port2, answered, ...to };
    new Worker(COURIER, { workerData: data, transferList: [port2], execArgv: [] }).unref();
    requests.unref();
    return { requests, answered };
  }
}
