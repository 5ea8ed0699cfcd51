/**
 * The order in which Jest starts test files: a long one that begins last leaves a processor idle behind all others. Jest knows
 * what files took where it has run them before; in a fresh clone it goes by their sizes, and files of a few lines boot Linux.
 */
import Sequencer from "@jest/test-sequencer";

/** Of the tests that run what is built, what takes a minute and more, longest first, by how the path ends. */
const LONG = [
  "migration/migration.built.test.ts",
  "cli/linux-commands.built.test.ts",
  "migration/killed-migration.built.test.ts",
  "cli/handlers.built.test.ts",
  "migration/cancelled-migration.built.test.ts",
  "cli/transcripts.built.test.ts",
  "cli/examples.built.test.ts",
];

/** Of those that need no build, what would be the last of all by its size, behind which nothing is left to do. */
const LONG_UNIT = [
  "debian/linux-amd64.test.ts",
  "core/src/migration/migration.test.ts",
  "bisect/register-search.test.ts",
  "debian/linux.test.ts",
  "arm64/simd-instructions.test.ts",
  "bisect/bisect-guests.test.ts",
  "fuzz/campaign.test.ts",
];

const ORDER = [...LONG, ".built.test.ts", ...LONG_UNIT];

function rank({ path }) {
  const index = ORDER.findIndex((end) => path.endsWith(end));
  return index >= 0 ? index : ORDER.length;
}

export default class LongestFirst extends Sequencer {
  sort(tests) {
    return super.sort(tests).sort((a, b) => rank(a) - rank(b));
  }
}
