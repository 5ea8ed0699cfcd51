/** Where the other end of a move is: `unix:PATH`, `tcp:HOST:PORT`, `exec:COMMAND`, `ssh:HOST[/NAME]`, `-`. */
import { shellWord } from "@hvjournal/core";
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { Duplex, PassThrough, type Readable } from "node:stream";
import { CliError, UsageError } from "../cli-error.js";
import { isSocketAlive, listenPrivately } from "../vm/vm-directory.js";

export type MigrationAddress =
  | { readonly by: "unix"; readonly path: string }
  | { readonly by: "tcp"; readonly host: string; readonly port: number }
  | { readonly by: "exec"; readonly command: string }
  | { readonly by: "ssh"; readonly host: string; readonly name: string | undefined };

/** A VM's whole memory goes over it in clear. */
const LOOPBACK: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "::1", "[::1]"]);
const PORT_MAX = 65535;
/** Of what a command said before it failed. */
const LAST_WORDS_BYTES = 2048;

/** undefined: it is no address, but a name or a file. Throws UsageError. */
export function parseAddress(text: string): MigrationAddress | undefined {
  const [, scheme, rest = ""] = /^(unix|tcp|exec|ssh):(.+)$/.exec(text) ?? [];
  switch (scheme) {
    case "unix":
      return { by: "unix", path: rest };
    case "tcp":
      return parseTcp(text, rest);
    case "exec":
      return { by: "exec", command: rest };
    case "ssh": {
      const [host = "", name] = rest.split("/");
      return { by: "ssh", host, name };
    }
    default:
      return undefined;
  }
}

function parseTcp(text: string, rest: string): MigrationAddress {
  const colon = rest.lastIndexOf(":");
  const host = rest.slice(0, Math.max(0, colon));
  const port = Number(rest.slice(colon + 1));
  if (host === "" || !Number.isInteger(port) || port < 0 || port > PORT_MAX)
    throw new UsageError(`${text}: expected tcp:HOST:PORT`);
  if (!LOOPBACK.has(host))
    throw new UsageError(
      `${text}: a VM goes to another host only by ssh: or exec:, which encrypt and authenticate: ssh:${host}`,
    );
  return { by: "tcp", host: host.replace(/^\[|\]$/g, ""), port };
}

export interface Connection {
  readonly stream: Duplex;
  /** Between processes of this host: faster than any compression. */
  readonly isLocal: boolean;
}

export function connectAddress(address: MigrationAddress): Promise<Connection> {
  switch (address.by) {
    case "unix":
      return connected(createConnection(address.path), `unix:${address.path}`, true);
    case "tcp":
      return connected(
        createConnection({ host: address.host, port: address.port, noDelay: true }),
        `tcp:${address.host}:${address.port}`,
        true,
      );
    case "exec":
      return spawned("sh", ["-c", address.command]);
    case "ssh":
      return spawned("ssh", [
        "-o",
        "BatchMode=yes",
        "--",
        address.host,
        ["hvjournal receive --listen -", ...(address.name === undefined ? [] : [`--name ${address.name}`])].join(" "),
      ]);
    default:
      return address satisfies never;
  }
}

function connected(socket: Socket, name: string, isLocal: boolean): Promise<Connection> {
  return new Promise((resolve, reject) => {
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      resolve({ stream: socket, isLocal });
    });
    socket.once("error", (cause) =>
      reject(
        new CliError(`can't connect to ${name}: ${cause.message}`, {
          code: "connect",
          next: `hvjournal receive --listen ${shellWord(name)}`,
          cause,
        }),
      ),
    );
  });
}

function spawned(command: string, args: readonly string[]): Promise<Connection> {
  const child = spawn(command, args, { stdio: "pipe" });
  return new Promise((resolve, reject) => {
    child.once("spawn", () => resolve({ stream: streamOf(child, command), isLocal: false }));
    child.once("error", (cause) =>
      reject(new CliError(`can't run ${command}: ${cause.message}`, { code: "connect", cause })),
    );
  });
}

/** A command that fails ends the stream with an error that carries what it had to say. */
function streamOf(child: ChildProcess, command: string): Duplex {
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) throw new RangeError("a child without pipes");
  const [readable, writable] = [new PassThrough(), new PassThrough()];
  stdout.pipe(readable, { end: false });
  writable.pipe(stdin);
  // That it no longer reads says less than how it ends.
  stdin.on("error", () => undefined);
  const lastWords = keepLastWords(stderr);
  child.once("close", (status, signal) => {
    if (status === 0) return void readable.end();
    const how = signal === null ? `status ${status ?? 0}` : signal;
    readable.destroy(new Error([`${command} ended with ${how}`, ...lastWords()].join(": ")));
  });
  return Duplex.from({ readable, writable }) as Duplex;
}

/** Gives them when asked, in one line, where there are any. What comes is passed on as well. */
function keepLastWords(stderr: Readable): () => string[] {
  let words = "";
  stderr.setEncoding("utf8").on("data", (text: string) => {
    process.stderr.write(text);
    words = (words + text).slice(-LAST_WORDS_BYTES);
  });
  return () => {
    const lines = words.split("\n").filter((line) => line.trim() !== "");
    return lines.length === 0 ? [] : [lines.join("; ")];
  };
}

export interface Listener {
  /** As `migrate` takes it. */
  readonly address: string;
  /** The next that connects: one at a time, the others wait. undefined: `close` came first. */
  accept(): Promise<Connection | undefined>;
  close(): void;
}

/** Throws UsageError for an address that can't be listened at, CliError where somebody else does. */
export async function listenAt(text: string): Promise<Listener> {
  const address = parseAddress(text);
  if (address?.by === "unix") {
    if (await isSocketAlive(address.path))
      throw new CliError(`can't listen at ${text}: somebody does already`, {
        code: "listen",
        next: `hvjournal receive --listen ${shellWord(`${text}.2`)}`,
      });
    const server = createServer();
    await listening(server, text, () => listenPrivately(server, address.path));
    return listenerOf(server, `unix:${address.path}`, true, () => rmSync(address.path, { force: true }));
  }
  if (address?.by !== "tcp") throw new UsageError(`--listen ${text}: expected unix:PATH, tcp:HOST:PORT or -`);
  const server = createServer({ noDelay: true });
  await listening(server, text, () => server.listen(address.port, address.host));
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : address.port;
  return listenerOf(server, `tcp:${address.host}:${port}`, true, () => undefined);
}

function listening(server: Server, text: string, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("listening", () => resolve());
    server.once("error", (cause) =>
      reject(new CliError(`can't listen at ${text}: ${cause.message}`, { code: "listen", next: anyPort(text), cause })),
    );
    listen();
  });
}

/** What always works instead. */
function anyPort(text: string): string {
  return `hvjournal receive --listen ${text.startsWith("tcp:") ? text.replace(/:\d+$/, ":0") : "tcp:127.0.0.1:0"}`;
}

function listenerOf(server: Server, address: string, isLocal: boolean, remove: () => void): Listener {
  const waiting: Socket[] = [];
  let isClosed = false;
  let wake = (): void => undefined;
  server.on("connection", (stream) => {
    // Whoever gives up while it waits is found closed when its turn comes.
    stream.on("error", () => undefined);
    waiting.push(stream);
    wake();
  });
  return {
    address,
    close() {
      if (isClosed) return;
      isClosed = true;
      server.close();
      remove();
      for (const stream of waiting.splice(0)) stream.destroy();
      wake();
    },
    async accept() {
      for (;;) {
        const stream = waiting.shift();
        if (stream !== undefined) return { stream, isLocal };
        if (isClosed) return undefined;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}
