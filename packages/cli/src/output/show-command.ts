/** What shows a moment with all its registers, the code there, and the chain of callers. */
import { shellCommand } from "@hvjournal/core";

/** As it can be pasted into a shell. `symbolFiles`: those that the user has given. */
export function showCommand(path: string, position: string, symbolFiles: readonly string[] = []): string {
  const symbols = symbolFiles.flatMap((file) => ["--symbols", file]);
  return shellCommand("hvjournal", "show", path, position, "--stack", "--disas", "8", ...symbols);
}
