/** `hvjournal verify`: run a recording again with the VMM half live, as it was or with something changed. */
import { type Machine, parseExpression, type ParsedExpression, parseGuestTime, Verifier } from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { type ExitCode, ExitStatus } from "../exit-status.js";
import { HANDLER_TIMEOUT_OPTION, watchOptions } from "../handlers/handler-option.js";
import { nodeDigester } from "../host/node-digester.js";
import { changeLine } from "../output/change-text.js";
import type { Output } from "../output/console-output.js";
import { handlerFailure } from "../output/handler-failure-report.js";
import { momentText } from "../output/record-report.js";
import { counted } from "../output/value-text.js";
import { recordingOption, recordingPath } from "../recording-path.js";
import { symbolOptions, symbolsFromFiles } from "../symbols/symbol-files.js";
import { applyOptions, plannedFiles } from "../vm/changed-machine.js";
import { isGuestItem, type MachineChange, type MachinePlan, planChanges, recordedPlan } from "../vm/machine-plan.js";
import { type Answer, tellChecked } from "../vm/checked-answer.js";
import { withLongAct } from "../vm/long-act.js";
import { type OpenRecording, unfinishedNote, withRecording } from "../vm/open-recording.js";
import { recordedBoard } from "../vm/recorded-machine.js";
import { checkBeginsAtStart } from "../vm/rerun-recording.js";
import { verifyChanged } from "../vm/verify-changed.js";
import { type Arguments, type Command, type CommandContext, flagOption, stringOption, textOption } from "./command.js";
import { machineOptions } from "./record.js";

/** Units between two looks at the clock: where nearly all of them are exits, they take a tenth of a second. */
const SLICE_UNITS = 200_000;
const LEVELS = ["bits", "exits", "outcome"] as const;
export type VerifyLevel = (typeof LEVELS)[number];

export const verify: Command = {
  usage: "verify [recording]",
  summary: "run a recording again with the VMM half live, as it was or with something changed",
  options: (yargs) =>
    symbolOptions(machineOptions(recordingOption(yargs.positional("recording", { type: "string" }))))
      .usage(
        "usage: $0 verify [RECORDING] [--level bits|exits|outcome] [--expect EXPR] [OPTION OF THE MACHINE ...] [-o FILE]",
      )
      .option("level", textOption("bits: all that was recorded; exits: those that reach the VMM half; outcome: EXPR"))
      .option("expect", textOption("EXPR that must hold: --level outcome"))
      .option("config", { ...textOption("machine file with what is to be changed"), alias: "c" })
      .option("timeout", textOption("guest time that the run may take (twice the recorded run's, and 1s)"))
      .option("host-timeout", textOption("wall clock that it may take"))
      .option("output", { ...textOption("keep the new run as a recording"), alias: "o" })
      .option("force", flagOption("overwrite the recording that -o names"))
      .option("handler-timeout", HANDLER_TIMEOUT_OPTION),
  run: (args, context) => {
    const level = levelOption(args);
    const expect = stringOption(args, "expect");
    const expression = expect === undefined ? undefined : parseExpression(expect);
    const timeoutNs = timeOption(args, "timeout");
    const hostTimeoutNs = timeOption(args, "host-timeout");
    const hostTimeoutMs = hostTimeoutNs === undefined ? undefined : hostTimeoutNs / 1e6;
    const path = recordingPath(args, context);
    const verifyIt = async (recording: OpenRecording): Promise<ExitCode> => {
      const recorded = recordedPlan(recording);
      const plan = await applyOptions(recorded, args, {
        architecture: recording.architecture,
        output: context.output,
      });
      const changes = planChanges(recorded, plan);
      const chosen = chooseLevel({ level, changes, expression }, recording);
      if (chosen === "bits") return verifyBits(recording, { plan, timeoutNs, hostTimeoutMs, args, context });
      checkBeginsAtStart(recording, context.argv);
      return verifyChanged({
        ...{ recording, plan, changes, level: chosen, expression, timeoutNs, hostTimeoutMs, args, context },
      });
    };
    return withRecording(path, context, symbolsFromFiles(args), verifyIt, { isJudged: true });
  },
};

function levelOption(args: Arguments): VerifyLevel | undefined {
  const text = stringOption(args, "level");
  const level = LEVELS.find((each) => each === text);
  if (text !== undefined && level === undefined) throw new UsageError(`--level ${text}: ${LEVELS.join(", ")}`);
  return level;
}

/** In nanoseconds. Throws UsageError. */
export function timeOption(args: Arguments, option: string): number | undefined {
  const text = stringOption(args, option);
  if (text === undefined) return undefined;
  const ns = parseGuestTime(text);
  if (ns === undefined) throw new UsageError(`--${option} ${text}: expected a time such as 60s or 500ms`);
  return ns;
}

interface Asked {
  readonly level: VerifyLevel | undefined;
  readonly changes: readonly MachineChange[];
  readonly expression: ParsedExpression | undefined;
}

/** An EXPR says what is wanted; else all that a change leaves to compare. Throws UsageError for what can't be. */
function chooseLevel({ level, changes, expression }: Asked, { architecture }: OpenRecording): VerifyLevel {
  const guest = changes.find(({ before, after }) =>
    [before, after].some((item) => item !== undefined && isGuestItem(item)),
  );
  const byDefault =
    expression !== undefined ? "outcome" : changes.length === 0 ? "bits" : guest === undefined ? "exits" : "outcome";
  const chosen = level ?? byDefault;
  const [first] = changes;
  if (chosen === "bits" && first !== undefined)
    throw new UsageError(
      `--level bits compares a machine as it was, and this is changed: ${changeLine(first, architecture)}`,
    );
  if (chosen === "bits" && expression !== undefined)
    throw new UsageError("--level bits compares everything, --expect is for the levels exits and outcome");
  if (chosen !== "outcome" || expression !== undefined) return chosen;
  throw new UsageError(
    level === undefined && guest !== undefined
      ? `another guest (${changeLine(guest, architecture)}) makes other exits: --expect EXPR says what must hold, or --level exits compares them all the same`
      : "--level outcome: --expect EXPR says what must hold",
  );
}

interface BitsOptions {
  readonly plan: MachinePlan;
  readonly timeoutNs: number | undefined;
  readonly hostTimeoutMs: number | undefined;
  readonly args: Arguments;
  readonly context: CommandContext;
}

async function verifyBits(
  recording: OpenRecording,
  { plan, timeoutNs, hostTimeoutMs, args, context: { output } }: BitsOptions,
): Promise<ExitCode> {
  if (stringOption(args, "output") !== undefined)
    throw new UsageError("-o keeps a run that may be another: this one is what is recorded, bit for bit, or diverges");
  const { path, reader, architecture, description } = recording;
  const boots = reader.header.parent === undefined;
  const files = { ...watchOptions(args, path), ...plannedFiles(plan) };
  const vmm = recordedBoard(description, { args: files, boots, recording: path });
  const verifier = new Verifier({ architecture, digester: nodeDigester, reader, vmm });
  const goal = timeoutNs === undefined ? {} : { guestTimeNs: timeoutNs };
  const failure = (error: unknown): unknown => {
    const json = { recording: path, level: "bits", equal: false, exits: verifier.compared.exits };
    return handlerFailure(error, { recording, machine: verifier.machine, changes: [], json });
  };
  await withLongAct({ act: `verifying ${path}`, total: reader.end.icount, output, hostTimeoutMs }, async (act) => {
    await act.asking(verifier.live, async () => {
      for (;;) {
        const step = await throwingInstead(failure, () => verifier.step(SLICE_UNITS, goal));
        if (step === "equal") return;
        if (step === "reached") throw outOfTime(verifier.machine, recording);
        if (act.isTurnDue) await act.turn(verifier.machine);
      }
    });
    const unfinished = unfinishedNote(recording);
    if (unfinished !== undefined) output.note(`note: ${unfinished}`);
    await tellChecked(recording, equalAnswer(recording, verifier, output), { act, output });
  });
  return ExitStatus.done;
}

function equalAnswer(recording: OpenRecording, { compared }: Verifier, output: Output): Answer {
  const { path, reader } = recording;
  const { exits, digests } = compared;
  return {
    json: { recording: path, level: "bits", equal: true, exits, digests, end: reader.end.state },
    tell() {
      if (output.quiet) return;
      const counts = `${counted(exits, "exit")}, ${counted(digests, "digest")}`;
      output.line(`${path}: ${counts} and all that the VMM half did, equal`);
    },
  };
}

/** Rejects with what `instead` makes of an error. */
async function throwingInstead<Result>(
  instead: (error: unknown) => unknown,
  run: () => Result | Promise<Result>,
): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw instead(error);
  }
}

function outOfTime(machine: Machine, { path }: OpenRecording): CliError {
  return new CliError(`ran out of --timeout at ${momentText(machine)}: all was equal so far`, {
    code: "timeout",
    status: ExitStatus.timeout,
    fields: { recording: path, level: "bits", exit: machine.exitNumber, icount: machine.icount },
  });
}
