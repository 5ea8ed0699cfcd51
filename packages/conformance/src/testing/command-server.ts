/**
 * A process of `warm-command-line.ts`: runs the command lines it is sent, one after the other. It is sent them through pipes:
 * to the command an IPC channel would be that of who has started it in the background.
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

/** What a process of its own would have begun with. */
function begin({ words, directory }: CommandRequest): void {
  process.chdir(directory);
  process.env["XDG_RUNTIME_DIR"] = directory;
  process.argv = [process.execPath, hvjournalCommand, ...words];
}

for await (const line of createInterface({ input: new Socket({ fd: REQUESTS }) })) {
  const request = JSON.parse(line) as CommandRequest;
  begin(request);
  const status = await main(request.words);
  // Where the command has loaded a file of a handler, this is the end of the process, with that status.
  await endProcess(status);
  writeSync(ANSWERS, `${status}\n`);
}
// Nobody is left who could ask, whatever else the commands have begun.
process.exit();
