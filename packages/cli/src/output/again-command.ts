/** The command line that makes a recorded run again: with the seed and the clock that it came to. */
import { shellCommand } from "@hvjournal/core";

export interface RunChoices {
  readonly seed: string;
  /** As --rtc takes it. */
  readonly rtc: string;
}

const CHOICES = ["--seed", "--rtc"];

/** undefined: `argv` says it all itself. */
export function againCommand(argv: readonly string[], { seed, rtc }: RunChoices): string | undefined {
  const isSaid = (name: string): boolean => argv.some((word) => word === name || word.startsWith(`${name}=`));
  if (isSaid("--seed") && isSaid("--rtc") && !argv.some((word) => /^(--rtc=)?base=now$|^--rtc=now$/.test(word)))
    return undefined;
  const kept = argv.filter((word, index) => !isChoice(word) && !CHOICES.includes(argv[index - 1] ?? ""));
  const overwrites = kept.some((word) => /^(-o|--output)/.test(word)) && !kept.includes("--force") ? ["--force"] : [];
  return shellCommand("hvjournal", ...kept, ...overwrites, "--seed", seed, "--rtc", rtc);
}

function isChoice(word: string): boolean {
  return CHOICES.some((name) => word === name || word.startsWith(`${name}=`));
}
