/** `hvjournal`: reads the command line, runs one command, gives its exit status. */
import yargs, { type Argv } from "yargs";
import { interrupted, UsageError } from "./cli-error.js";
import { joinPositions } from "./command-line.js";
import { type Arguments, type Command, type CommandContext, commandName } from "./commands/command.js";
import { COMMANDS } from "./commands/index.js";
import { type ExitCode, ExitStatus } from "./exit-status.js";
import { handlerFilesLoaded } from "./handlers/handler-file.js";
import { endNow, guardAgainstHandlers } from "./handlers/handler-process.js";
import { commandEpilogue } from "./help/command-help.js";
import { optionNames } from "./help/option-names.js";
import { nearestWord } from "@hvjournal/core";
import { useMemoryAdvice } from "@hvjournal/engine";
import { useLargePages } from "./host/large-pages.js";
import { CommandSignals } from "./host/stopping-signals.js";
import { type Output, processOutput } from "./output/console-output.js";
import { openPager, pagerCommand } from "./output/pager.js";
import { reportError } from "./report-error.js";
import { productVersion } from "./version.js";

export { prepareCode, usePreparedCode } from "./prepared-code.js";

useMemoryAdvice(useLargePages);

/** A signal ended the command where it waited for something, which may never come. */
let isLeft = false;

/** Runs one command line. Never throws. */
export async function main(argv: readonly string[]): Promise<ExitCode> {
  const signals = new CommandSignals();
  const { argv: words, command: runCommand } = joinPositions(helpWords(argv));
  const output = outputFor(words);
  guardAgainstHandlers((error) => reportError(error, output));
  const context: CommandContext = { output, environment: process.env, argv, runCommand };
  try {
    const chosen = await chooseCommand(words);
    const status = chosen === undefined ? ExitStatus.done : await runChosen(chosen, context, signals);
    await output.endPager();
    return status;
  } catch (error) {
    if (!isLeft) await output.endPager();
    return reportError(error, output, helpFor(words));
  } finally {
    signals.close();
  }
}

async function runChosen(
  { command, args }: ChosenCommand,
  context: CommandContext,
  signals: CommandSignals,
): Promise<ExitCode> {
  const leave = (signal: NodeJS.Signals): Error => {
    isLeft = true;
    return interrupted(commandName(command), signal);
  };
  await signals.unlessLeft(heldSignals(), leave);
  if (command.isEndedBySignals === true) signals.close();
  return signals.unlessLeft(command.run(args, context), leave);
}

/** Signals that came while the command was loaded have been heard. */
async function heldSignals(): Promise<void> {
  // The module is run where the event loop has asked the host already: it does so again between two turns.
  for (let turns = 0; turns < 2; turns++) await new Promise((resolve) => setImmediate(resolve));
}

/**
 * The command is over, and its process ends with this status: by itself, once everything that it began has come to its end.
 * What the file of a handler has begun nobody waits for: a timer that it keeps setting would hold up whoever waits for the
 * command. Nor does anybody for what a signal has left.
 */
export async function endProcess(status: ExitCode): Promise<void> {
  process.exitCode = status;
  if (!handlerFilesLoaded() && !isLeft) return;
  // What a pipe or a socket has been given is with the host's kernel by then; everything else was waited for.
  await new Promise((resolve) => setImmediate(resolve));
  endNow();
}

/** `help record` is `record --help`, `help` alone the help of all. */
function helpWords(argv: readonly string[]): readonly string[] {
  const [first, second] = argv;
  if (first !== "help") return argv;
  if (second === undefined) return ["--help"];
  return second !== "help" && commandNamed(second) !== undefined ? [second, "--help"] : argv;
}

function commandNamed(name: string | undefined): Command | undefined {
  return COMMANDS.find((command) => commandName(command) === name);
}

/** What explains how a command line is to be written. */
function helpFor(words: readonly string[]): string {
  const command = commandNamed(words.find((word) => !word.startsWith("-")));
  return command === undefined ? "hvjournal --help" : `hvjournal ${commandName(command)} --help`;
}

/** Read off before yargs, so that its errors come out as they should. */
function outputFor(words: readonly string[]): Output {
  const has = (...names: string[]): boolean => words.some((word) => names.includes(word));
  const asked = /^--color=(.*)$/.exec(words.find((word) => word.startsWith("--color=")) ?? "")?.[1];
  const color = asked ?? words[words.indexOf("--color") + 1] ?? "auto";
  const { NO_COLOR: noColor = "" } = process.env;
  const wantsColor = (stream: { readonly isTTY?: boolean }): boolean =>
    color === "always" || (color !== "never" && noColor === "" && stream.isTTY === true);
  const pager = process.stdout.isTTY ? pagerCommand(process.env) : undefined;
  return processOutput({
    json: has("--json"),
    quiet: has("-q", "--quiet"),
    color: wantsColor(process.stdout),
    colorErrors: wantsColor(process.stderr),
    openPager: pager === undefined ? undefined : () => openPager(pager, process.env),
  });
}

/** What the command line asks for. yargs formats its help behind every handler that returns, so its handlers throw it. */
class ChosenCommand extends Error {
  readonly command: Command;
  readonly args: Arguments;

  constructor(command: Command, args: Arguments) {
    super(command.usage);
    this.command = command;
    this.args = args;
  }
}

/** undefined: help or version has been printed. */
async function chooseCommand(words: readonly string[]): Promise<ChosenCommand | undefined> {
  refuseUnknownCommand(words);
  try {
    await commandLine(words).parseAsync();
    return undefined;
  } catch (error) {
    if (error instanceof ChosenCommand) return error;
    throw error;
  }
}

/** To yargs a word that is no command matters no more where there is `--help` behind it. */
function refuseUnknownCommand([word]: readonly string[]): void {
  if (word === undefined || word.startsWith("-") || commandNamed(word) !== undefined) return;
  const meant = nearestWord(word, COMMANDS.map(commandName));
  throw new UsageError(`Unknown command: ${word}${meant === undefined ? "" : `; did you mean ${meant}?`}`);
}

function commandLine(words: readonly string[]): Argv {
  const parser = yargs([...words])
    .scriptName("hvjournal")
    .usage("usage: $0 COMMAND [OPTIONS]")
    .version(productVersion())
    .parserConfiguration({
      "parse-numbers": false,
      "parse-positional-numbers": false,
      "dot-notation": false,
      "camel-case-expansion": false,
      "boolean-negation": true,
    })
    .option("json", { type: "boolean", describe: "one JSON object a line; of errors too: hvjournal help errors" })
    .option("quiet", { type: "boolean", alias: "q", describe: "no notes, no console" })
    .option("color", { type: "string", choices: ["auto", "always", "never"], describe: "colours on a terminal" })
    .strictCommands()
    .strictOptions()
    .demandCommand(1, "which command?")
    .exitProcess(false)
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message: string | null, error: Error | undefined) => {
      if (error !== undefined && error.name !== "YError") throw error;
      const told = message ?? error?.message ?? "wrong usage";
      throw new UsageError(withSuggestion(told, parser), helpFor(words));
    });
  for (const command of COMMANDS) addCommand(parser, command);
  return parser;
}

/** For a misspelt word, what may have been meant. */
function withSuggestion(message: string, parser: Argv): string {
  const [, what, word] = /^Unknown (command|argument)s?: ([^\s,]+)/.exec(message) ?? [];
  if (word === undefined) return message;
  // The first word was a command: this is one more than it takes.
  if (what === "command") return `unexpected word: ${word}`;
  const owners = COMMANDS.filter((command) => optionsOf(command).includes(word));
  if (owners.length > 0) return `${message}; it is an option of ${owners.map(commandName).join(", ")}`;
  const meant = nearestWord(word, optionNames(parser));
  return meant === undefined ? message : `${message}; did you mean --${meant}?`;
}

function optionsOf(command: Command): string[] {
  return optionNames(command.options(yargs([])));
}

function addCommand(parser: Argv, command: Command): void {
  parser.command(
    command.usage,
    command.summary,
    (yargsOfCommand) => command.options(yargsOfCommand).epilogue(commandEpilogue(commandName(command))),
    (args) => {
      throw new ChosenCommand(command, args as Arguments);
    },
  );
}
