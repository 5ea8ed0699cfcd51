/** `hvjournal`: reads the command line, runs one command, gives its exit status. */
import yargs, { type Argv } from "yargs";
import { UsageError } from "./cli-error.js";
import { joinPositions } from "./command-line.js";
import type { Arguments, Command, CommandContext } from "./commands/command.js";
import { COMMANDS } from "./commands/index.js";
import { ExitStatus, type ExitCode } from "./exit-status.js";
import { processOutput } from "./output/console-output.js";
import { reportError } from "./report-error.js";
import { productVersion } from "./version.js";

/** Runs one command line. Never throws. */
export async function main(argv: readonly string[]): Promise<ExitCode> {
  const { argv: words, command: runCommand } = joinPositions(argv);
  const output = processOutput({
    json: words.includes("--json"),
    quiet: words.includes("-q") || words.includes("--quiet"),
  });
  const context: CommandContext = { output, environment: process.env, runCommand };
  let status: ExitCode = ExitStatus.done;
  try {
    const parser = commandLine(words, context, (code) => {
      status = code;
    });
    await parser.parseAsync();
    return status;
  } catch (error) {
    return reportError(error, output);
  }
}

function commandLine(words: readonly string[], context: CommandContext, done: (status: ExitCode) => void): Argv {
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
    .option("json", { type: "boolean", describe: "one JSON object a line" })
    .option("quiet", { type: "boolean", alias: "q", describe: "no notes, no console" })
    .option("color", { type: "string", choices: ["auto", "always", "never"], describe: "colours on a terminal" })
    .strict()
    .demandCommand(1, "which command? see hvjournal --help")
    .exitProcess(false)
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message: string | null, error: Error | undefined) => {
      throw error ?? new UsageError(message ?? "wrong usage", "hvjournal --help");
    });
  for (const command of COMMANDS) addCommand(parser, command, context, done);
  return parser;
}

function addCommand(parser: Argv, command: Command, context: CommandContext, done: (status: ExitCode) => void): void {
  parser.command(
    command.usage,
    command.summary,
    (yargsOfCommand) => command.options(yargsOfCommand),
    async (args) => {
      done(await command.run(args as Arguments, context));
    },
  );
}
