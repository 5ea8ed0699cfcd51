/** The argument vector before yargs sees it: positions of two words become one. */

const POSITION_WORDS: ReadonlySet<string> = new Set([
  "exit",
  "event",
  "icount",
  "time",
  "console",
  "hypercall",
  "snapshot",
]);

/** Options whose value is a POSITION, or a POSITION or EXPR. */
const POSITION_OPTIONS: ReadonlySet<string> = new Set(["--until", "--from", "--fail-on", "--at", "--good", "--bad"]);

/** Options without a value: what follows one is a word of its own. */
const FLAGS: ReadonlySet<string> = new Set([
  ...["--json", "--quiet", "-q", "--console", "--control", "--exits", "--inputs", "--hypercalls", "--reverse", "-p"],
  ...["--all", "--regs", "--stack", "--config", "--state", "--stat", "--host", "--patch"],
]);

/**
 * Joins `--until exit 4821` to `--until exit:4821`, and `show exit 4821` likewise: yargs has no option of one or two
 * words. What follows `--run` is a command of the user's and stays as it is.
 */
export function joinPositions(argv: readonly string[]): {
  readonly argv: string[];
  readonly command: readonly string[] | undefined;
} {
  const joined: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? "";
    if (word === "--run") return { argv: [...joined, "--run"], command: argv.slice(index + 1) };
    const next = argv[index + 1];
    if (index > 0 && next !== undefined && takesPosition(argv[index - 1] ?? "") && isOperand(word, next)) {
      joined.push(`${word}:${next}`);
      index += 1;
    } else joined.push(word);
  }
  return { argv: joined, command: undefined };
}

function takesPosition(before: string): boolean {
  return !before.startsWith("-") || POSITION_OPTIONS.has(before) || FLAGS.has(before);
}

/** Whether `next` completes the keyword `word` to a position: `exit HVC64`, `console /login:/`, but not `time > 5`. */
function isOperand(word: string, next: string): boolean {
  if (!POSITION_WORDS.has(word)) return false;
  if (word === "console") return next.startsWith("/");
  return /^\d/.test(next) || (word === "exit" && /^[A-Z][A-Za-z0-9_]*(#-?\d+)?$/.test(next));
}
