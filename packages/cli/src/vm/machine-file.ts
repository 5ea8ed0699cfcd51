/** Placeholder. */
import { UsageError } from "../cli-error.js";
import type { Arguments } from "../commands/command.js";

export function machineFileArguments(path: string): Arguments {
  throw new UsageError(`${path}: no machine files yet`);
}
