/** The argument vector before yargs sees it: positions of two words become one. */

/** Options whose value is a POSITION, or a POSITION or EXPR. */
const POSITION_OPTIONS: ReadonlySet<string> = new Set(["--until", "--from", "--fail-on", "--at", "--good", "--bad"]);
const POSITION_WORDS: ReadonlySet<string> = new Set([
  "exit",
  "event",
  "icount",
  "time",
  "console",
  "hypercall",
  "snapshot",
]);

/**
 * Joins `--until exit 4821` to `--until exit:4821`, and `show exit 4821` likewise. yargs has no option of one or two
 * words. What follows `--run` is a command of the user's and stays as it is.
 */
export function joinPositions(argv: readonly string[]): {
  readonly argv: string[];
  readonly command: string[] | undefined;
} {
  const joined: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] ?? "";
    if (word === "--run") return { argv: [...joined, "--run", "true"], command: argv.slice(index + 1) };
    const next = argv[index + 1];
    const behindOption = POSITION_OPTIONS.has(argv[index - 1] ?? "");
    const isPositional = index > 0 && !word.startsWith("-") && !(argv[index - 1] ?? "").startsWith("--");
    if (
      POSITION_WORDS.has(word) &&
      next !== undefined &&
      !next.startsWith("-") &&
      (behindOption || (isPositional && looksLikeOperand(word, next)))
    ) {
      joined.push(`${word}:${next}`);
      index += 1;
    } else joined.push(word);
  }
  return { argv: joined, command: undefined };
}

/** A positional `exit` is only a position when an operand of one follows it. */
function looksLikeOperand(word: string, next: string): boolean {
  if (word === "console") return next.startsWith("/");
  return /^[0-9#]/.test(next) || (word === "exit" && /^[A-Z]/.test(next));
}
