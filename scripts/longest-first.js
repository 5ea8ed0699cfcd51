/**
 * The order in which Jest starts test files: a long one that begins last leaves a processor idle behind all others. Jest knows
 * what files took where it has run them before; in a fresh clone it goes by their sizes, and files of a few lines boot Linux.
 */
import Sequencer from "@jest/test-sequencer";

/** What takes a minute and more, longest first, by how the path ends. */
const LONG = [
  "migration/migration.built.test.ts",
  "cli/linux-commands.built.test.ts",
  "migration/killed-migration.built.test.ts",
  "cli/handlers.built.test.ts",
  "migration/cancelled-migration.built.test.ts",
  "cli/transcripts.built.test.ts",
  "cli/examples.built.test.ts",
];

function rank({ path }) {
  const index = LONG.findIndex((end) => path.endsWith(end));
  if (index >= 0) return index;
  return path.endsWith(".built.test.ts") ? LONG.length : LONG.length + 1;
}

export default class LongestFirst extends Sequencer {
  sort(tests) {
    return super.sort(tests).sort((a, b) => rank(a) - rank(b));
  }
}
