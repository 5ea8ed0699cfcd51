/** The command line that makes a recorded run again: with the seed and the clock that it came to. */
import { shellCommand } from "@hvjournal/core";
import { type Arguments, flag, stringOption } from "../commands/command.js";

export interface RunChoices {
  readonly seed: string;
  /** As --rtc takes it. */
  readonly rtc: string;
}

const CHOICES = ["--seed", "--rtc"];

/** `args`: what `argv` comes to, with its machine file. undefined: they say it all themselves. */
export function againCommand(argv: readonly string[], { seed, rtc }: RunChoices, args: Arguments): string | undefined {
  const [givenSeed, givenRtc] = [stringOption(args, "seed"), stringOption(args, "rtc")];
  if (givenSeed !== undefined && givenRtc !== undefined && !/^(base=)?now$/.test(givenRtc)) return undefined;
  const kept = argv.filter((word, index) => !isChoice(word) && !CHOICES.includes(argv[index - 1] ?? ""));
  const overwrites = args["output"] !== undefined && !flag(args, "force") ? ["--force"] : [];
  return shellCommand("hvjournal", ...kept, ...overwrites, "--seed", seed, "--rtc", rtc);
}

function isChoice(word: string): boolean {
  return CHOICES.some((name) => word === name || word.startsWith(`${name}=`));
}
