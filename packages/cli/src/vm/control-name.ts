/** The control socket that a recording VM gets, under the name that it was given or that its recording suggests. */
import type { CommandContext } from "../commands/command.js";
import { asCliError } from "../report-error.js";
import { ControlServer } from "./control-server.js";
import { isDetached } from "./detached.js";
import { checkVmName, nameOfRecording } from "./vm-directory.js";

export interface OwnControl {
  readonly name: string;
  readonly server: ControlServer;
}

/**
 * A name that was given must be free. One that nobody chose gives way to a VM that has it; a VM that can have no socket
 * runs without.
 */
export async function listenForControl(
  given: string | undefined,
  path: string,
  { environment, output }: CommandContext,
): Promise<OwnControl | undefined> {
  if (given !== undefined) {
    const name = checkVmName(given);
    return { name, server: await ControlServer.listen(environment, name, path) };
  }
  const name = nameOfRecording(path)
    .replaceAll(/[^A-Za-z0-9_.-]/g, "-")
    .replace(/^[.-]/, "_");
  for (const free of [name, `${name}-${process.pid}`]) {
    try {
      const server = await ControlServer.listen(environment, free, path);
      if (free !== name) output.note(`note: a VM named ${name} runs already, this one is ${free}`);
      return { name: free, server };
    } catch (error) {
      const told = asCliError(error);
      if (told.code === "name-taken") continue;
      if (isDetached(environment)) throw error;
      output.note(`note: ps, attach, ctl and migrate can't reach this VM: ${told.message}`);
      return undefined;
    }
  }
  return undefined;
}
