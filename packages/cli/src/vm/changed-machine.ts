/** A recorded machine with options of `record`, or a machine file, over it. */
import type { Architecture } from "@hvjournal/core";
import { type Arguments, stringOption } from "../commands/command.js";
import type { Output } from "../output/console-output.js";
import { MACHINE_OPTION_NAMES, type MachinePlan, planWith } from "./machine-plan.js";

export interface ChangedBy {
  readonly architecture: Architecture;
  readonly output: Pick<Output, "note">;
}

/** `--config FILE` first, then the other options. Throws for files that are not there and options that make no sense. */
export async function applyOptions(plan: MachinePlan, args: Arguments, by: ChangedBy): Promise<MachinePlan> {
  const path = stringOption(args, "config");
  const based = path === undefined ? plan : await applyFile(plan, path, by);
  return planWith(based, args, { architecture: by.architecture, isFile: false });
}

/** What reads YAML takes longer to load than all else that a command needs. */
export async function applyFile(
  plan: MachinePlan,
  path: string,
  { architecture, output }: ChangedBy,
): Promise<MachinePlan> {
  const { machineFileArguments } = await import("./machine-file.js");
  const args = machineFileArguments(path);
  const others = Object.keys(args).filter((option) => !MACHINE_OPTION_NAMES.includes(option));
  if (others.length > 0)
    output.note(`note: of ${path}, ${others.join(", ")} say how a machine is recorded, not what it is: left out`);
  return planWith(plan, args, { architecture, isFile: true });
}

/** Files that are somewhere else than they were recorded, as `verify` takes them. */
export function plannedFiles(plan: MachinePlan): Arguments {
  const moved = [...plan.values()].filter(
    ({ recordedSha256, isRecorded }) => recordedSha256 === undefined && isRecorded !== true,
  );
  const of = (wanted: string): string[] =>
    moved.filter(({ option }) => option === wanted).flatMap(({ value }) => (Array.isArray(value) ? value : [value]));
  const [kernel, initrd, drive, handler] = ["kernel", "initrd", "drive", "handler"].map(of);
  return {
    ...(kernel?.[0] === undefined ? {} : { kernel: kernel[0] }),
    ...(initrd?.[0] === undefined ? {} : { initrd: initrd[0] }),
    ...(drive === undefined || drive.length === 0 ? {} : { drive }),
    ...(handler === undefined || handler.length === 0 ? {} : { handler }),
  };
}
