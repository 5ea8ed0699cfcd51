import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Top of the source tree, from `src/testing` and from `dist/testing`. */
export const repositoryRoot = fileURLToPath(new URL("../../../..", import.meta.url));

const commandFiles = join(repositoryRoot, "packages", "cli", "bin");
export const hvjournalCommand = join(commandFiles, "hvjournal.js");
/** What `hvjournalCommand` loads. */
export const bundleLoader = join(commandFiles, "bundle.js");

const generatedDirectories = new Set([".git", "node_modules", "dist", "kept"]);

/** Every file that belongs to the source tree, by its path from the top, sorted. */
export function sourceFiles(directory = ""): string[] {
  const entries = readdirSync(join(repositoryRoot, directory), { withFileTypes: true });
  return entries
    .filter((entry) => !generatedDirectories.has(entry.name))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      return entry.isDirectory() ? sourceFiles(path) : [path];
    })
    .sort();
}
