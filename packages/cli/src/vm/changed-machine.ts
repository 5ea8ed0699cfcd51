/** A recorded machine with options of `record`, or a machine file, over it. */
import type { Architecture } from "@hvjournal/core";
import { type Arguments, stringOption } from "../commands/command.js";
import { type MachinePlan, planWith } from "./machine-plan.js";

/** `--config FILE` first, then the other options. Throws for files that are not there and options that make no sense. */
export async function applyOptions(
  plan: MachinePlan,
  args: Arguments,
  architecture: Architecture,
): Promise<MachinePlan> {
  const path = stringOption(args, "config");
  const based = path === undefined ? plan : await applyFile(plan, path, architecture);
  return planWith(based, args, { architecture, isFile: false });
}

/** What reads YAML takes longer to load than all else that a command needs. */
export async function applyFile(plan: MachinePlan, path: string, architecture: Architecture): Promise<MachinePlan> {
  const { machineFileArguments } = await import("./machine-file.js");
  return planWith(plan, machineFileArguments(path), { architecture, isFile: true });
}

/** Files that are somewhere else than they were recorded, as `verify` takes them. */
export function plannedFiles(plan: MachinePlan): Arguments {
  const moved = [...plan.values()].filter(({ recordedSha256 }) => recordedSha256 === undefined);
  const of = (wanted: string): string[] =>
    moved.filter(({ option }) => option === wanted).map(({ value }) => String(value));
  const [kernel, initrd, drive] = ["kernel", "initrd", "drive"].map(of);
  return {
    ...(kernel?.[0] === undefined ? {} : { kernel: kernel[0] }),
    ...(initrd?.[0] === undefined ? {} : { initrd: initrd[0] }),
    ...(drive === undefined || drive.length === 0 ? {} : { drive }),
  };
}
