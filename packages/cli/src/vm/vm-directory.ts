/** Where running VMs are found: one socket each in a directory that only its user can enter. */
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, type Server, type Socket } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { basename, join, resolve } from "node:path";
import { CliError, UsageError } from "../cli-error.js";

export type Environment = Readonly<Record<string, string | undefined>>;

const SOCKET_SUFFIX = ".sock";
const PRIVATE_DIRECTORY = 0o700;
const PRIVATE_FILE = 0o600;
/** What is left is mode 0600. */
const PRIVATE_SOCKET_UMASK = 0o177;
/** `sun_path` of unix(7), with its final zero byte. */
const SOCKET_PATH_BYTES_MAX = 107;
/** For the shell from which the same command is tried again. */
const NEW_RUNTIME_DIRECTORY = "export XDG_RUNTIME_DIR=$(mktemp -d)";
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/** Throws UsageError for a name that can't be a file's, or that reads as something else. */
export function checkVmName(name: string): string {
  if (NAME.test(name)) return name;
  throw new UsageError(`'${name}' is no name for a VM: letters, digits, '_', '.' and '-' are possible`);
}

/** The name that a VM has when nobody gives it one: its recording's. */
export function nameOfRecording(path: string): string {
  return basename(path).replace(/\.hvj$/, "");
}

/** A name for a VM that goes on from this recording, and whose own file is not there yet. */
export function freshName(path: string): string {
  const name = nameOfRecording(path);
  for (let number = 2; ; number++) if (!existsSync(`${name}-${number}.hvj`)) return `${name}-${number}`;
}

/** Made where it is not there. Throws CliError when it is not this user's alone. */
export function vmDirectory(environment: Environment): string {
  const { XDG_RUNTIME_DIR: runtime } = environment;
  const { uid } = userInfo();
  const path =
    runtime === undefined || runtime === "" ? join(tmpdir(), `hvjournal-${uid}`) : join(runtime, "hvjournal");
  mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY });
  const status = lstatSync(path);
  if (!status.isDirectory() || (uid >= 0 && status.uid !== uid))
    throw new CliError(`can't keep control sockets in ${path}: it is not a directory of this user's`, {
      code: "vm-directory",
      next: NEW_RUNTIME_DIRECTORY,
    });
  if ((status.mode & 0o077) !== 0) chmodSync(path, PRIVATE_DIRECTORY);
  return path;
}

function checkedSocketPath(path: string): string {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
  throw new CliError(`can't make the socket ${path}: its name has more than ${SOCKET_PATH_BYTES_MAX} bytes`, {
    code: "socket",
    next: NEW_RUNTIME_DIRECTORY,
  });
}

/** Of a VM by its name, or a socket by its path. */
export function controlSocketPath(environment: Environment, vm: string): string {
  if (vm.includes("/")) return vm;
  return checkedSocketPath(join(vmDirectory(environment), checkVmName(vm) + SOCKET_SUFFIX));
}

/** Where an instance that was started for a move waits for it. */
export function receiveSocketPath(environment: Environment, name: string): string {
  return checkedSocketPath(join(vmDirectory(environment), `${checkVmName(name)}.receive`));
}

/** Where an instance in the background says what it has to say. */
export function instanceLogPath(environment: Environment, name: string): string {
  return join(vmDirectory(environment), `${checkVmName(name)}.log`);
}

/** Where a VM whose name is not its recording's keeps the recording's path, for when it is gone. */
function recordingNotePath(environment: Environment, name: string): string {
  return join(vmDirectory(environment), `${checkVmName(name)}.recording`);
}

export function noteRecording(environment: Environment, name: string, recording: string): void {
  const path = recordingNotePath(environment, name);
  if (name === nameOfRecording(recording)) rmSync(path, { force: true });
  else writeFileSync(path, resolve(recording), { mode: PRIVATE_FILE });
}

/** Of the last VM of this name; where nothing was noted, a VM has its recording's name. */
export function notedRecording(environment: Environment, name: string): string {
  try {
    return readFileSync(recordingNotePath(environment, name), "utf8");
  } catch {
    return `${name}.hvj`;
  }
}

export function namesOfSockets(environment: Environment): string[] {
  return readdirSync(vmDirectory(environment))
    .filter((name) => name.endsWith(SOCKET_SUFFIX))
    .map((name) => name.slice(0, -SOCKET_SUFFIX.length))
    .sort();
}

/** Of connect(2): no socket, nobody behind it, or somebody who is just leaving. */
const NOBODY: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED", "ENOTSOCK", "ECONNRESET", "EPIPE"]);

/** undefined: nobody listens there. */
export function tryConnect(path: string): Promise<Socket | undefined> {
  return new Promise((keep, reject) => {
    const socket = createConnection(path);
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      keep(socket);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (NOBODY.has(error.code ?? "")) keep(undefined);
      else reject(new CliError(`can't connect to ${path}: ${error.message}`, { code: "socket", cause: error }));
    });
  });
}

/** A socket that nobody else can connect to, from its first moment on. */
export function listenPrivately(server: Server, path: string): void {
  const before = process.umask(PRIVATE_SOCKET_UMASK);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
}

/** Makes room for a socket: what a process that was killed has left goes; one that is alive stays. */
export async function isSocketAlive(path: string): Promise<boolean> {
  const socket = await tryConnect(path);
  if (socket !== undefined) {
    socket.destroy();
    return true;
  }
  rmSync(path, { force: true });
  return false;
}
