/** Errors about options that a machine file gives say where it gives them. */
import { ExpressionError, PositionError, shellCommand } from "@hvjournal/core";
import { BootError } from "@hvjournal/vmm";
import { CliError } from "../cli-error.js";
import { listOption, stringOption } from "../commands/command.js";
import { asCliError } from "../report-error.js";
import { isListOption, type MachineFile, MACHINE_KEYS } from "./machine-keys.js";
import type { RecordRequest } from "./record-request.js";

/** Runs what makes sense of the options; what it says of one that the file gives, it says with the place. */
export async function locatingOptions<Result>(request: RecordRequest, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw located(error, request);
  }
}

function located(error: unknown, { args, given, file }: RecordRequest): unknown {
  if (file === undefined) return error instanceof BootError ? asMachineFile(error, stringOption(args, "image")) : error;
  const use = error instanceof CliError ? namedUse(error, file) : conditionUse(error, file);
  // The command line goes before the file, and may say the same.
  if (use === undefined || (given[use.option] !== undefined && !isListOption(use.option))) return error;
  const { code, status, next, position, details, fields } = asCliError(error);
  return new CliError(`${use.place}: ${use.message}`, {
    ...{ code, status, details, fields, cause: error },
    ...(next === undefined ? {} : { next }),
    ...(position === undefined ? {} : { position }),
  });
}

/** Of what can't boot: it may have been meant as a machine file. */
function asMachineFile(error: BootError, image = ""): unknown {
  if (!/\.ya?ml$/.test(image)) return error;
  return new CliError(error.message, {
    code: "boot",
    next: shellCommand("hvjournal", "record", "--config", image),
    cause: error,
  });
}

interface LocatedMessage {
  readonly option: string;
  readonly place: string;
  readonly message: string;
}

/** Messages about an option begin with it, and with its value. */
function namedUse({ message }: CliError, file: MachineFile): LocatedMessage | undefined {
  const [, option = "", rest = ""] = /^--([a-z-]+) (.*)$/s.exec(message) ?? [];
  if (!Object.hasOwn(MACHINE_KEYS, option)) return undefined;
  const isMeant = (value: string): boolean => rest.startsWith(`${value}:`) || rest.startsWith(`${value} `);
  const value = listOption(file.args, option).find(isMeant);
  const place = value === undefined ? undefined : file.placeOf(option, value);
  return place === undefined ? undefined : { option, place, message: `${option} ${rest}` };
}

/** What can't be read of a POSITION or EXPR is told with all of it. */
function conditionUse(error: unknown, file: MachineFile): LocatedMessage | undefined {
  if (!(error instanceof ExpressionError || error instanceof PositionError)) return undefined;
  const text = error instanceof ExpressionError ? error.source : error.text;
  const option = ["until", "fail-on"].find((name) => listOption(file.args, name).includes(text));
  if (option === undefined) return undefined;
  const place = file.placeOf(option, text);
  return place === undefined ? undefined : { option, place, message: `${option}: ${asCliError(error).message}` };
}
