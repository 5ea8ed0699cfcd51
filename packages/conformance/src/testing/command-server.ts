/**
 * A process of `warm-command-line.ts`: runs the command lines it is sent, one after the other. It is sent them through pipes:
 * to the command an IPC channel would be that of who has started it in the background.
 *
 * Files of handlers run here too. What one of them leaves behind that would go on beside the next command, such as a timer,
 * ends the process with the command's status, as it ends a process of the command's own.
 */
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { ANSWERS, type CommandRequest, REQUESTS } from "./command-request.js";
import { bundleLoader, hvjournalCommand } from "./repository.js";

interface Bundle {
  readonly main: (words: readonly string[]) => Promise<number>;
  readonly endProcess: (status: number) => Promise<void>;
}

const { loadBundle } = (await import(pathToFileURL(bundleLoader).href)) as { readonly loadBundle: () => Bundle };
const { main, endProcess } = loadBundle();

/** The watchdog of each command with handlers is a thread for as long as the process lives: 8 MiB. */
const WATCHED_MAX = 20;
/**
 * Of the event loop: what nobody awaits has thrown after one, and what the command has closed is closed after a few more. It
 * matters to no answer how many there are.
 */
const TURNS_MAX = 10;
/** A handler's file makes `process.exit` throw. */
const end = process.exit.bind(process);
let watched = 0;

/** What keeps the event loop going, such as timers and sockets: names, in an order that goes by nothing but them. */
function openResources(): string {
  return process.getActiveResourcesInfo().sort().join();
}

/** What a process of its own would have begun with. */
function begin({ words, directory }: CommandRequest): void {
  process.chdir(directory);
  process.env["XDG_RUNTIME_DIR"] = directory;
  process.argv = [process.execPath, hvjournalCommand, ...words];
}

for await (const line of createInterface({ input: new Socket({ fd: REQUESTS }) })) {
  const request = JSON.parse(line) as CommandRequest;
  begin(request);
  const before = openResources();
  const status = await main(request.words);
  for (let turn = 0; turn === 0 || (turn < TURNS_MAX && openResources() !== before); turn++)
    await new Promise((resolve) => setImmediate(resolve));
  watched += Number(request.words.includes("--handler"));
  // Where a handler's file has been loaded, this is the end of the process, with that status.
  if (openResources() !== before || watched > WATCHED_MAX) await endProcess(status);
  writeSync(ANSWERS, `${status}\n`);
}
// Nobody is left who could ask, whatever else the commands have begun.
end();
