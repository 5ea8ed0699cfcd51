/** How a machine and what comes to it from outside differ from another, as a list of changes of which some can be applied. */
import {
  type Architecture,
  type ControlCommand,
  nearestWord,
  type OutsideActs,
  outsideActs,
  type ScheduledAct,
} from "@hvjournal/core";
import { existsSync } from "node:fs";
import { UsageError } from "../cli-error.js";
import type { Arguments } from "../commands/command.js";
import { changeText, type ChangeText } from "../output/change-text.js";
import { applyFile, type ChangedBy } from "../vm/changed-machine.js";
import {
  applyChanges,
  commandItem,
  MACHINE_OPTION_NAMES,
  type MachineChange,
  type MachinePlan,
  planChanges,
  planWith,
  recordedPlan,
  relocated,
} from "../vm/machine-plan.js";
import type { OpenRecording } from "../vm/open-recording.js";

/** What a run is made of. */
export interface RunPlan {
  readonly plan: MachinePlan;
  /** Acts from outside, each lane in an order of its own. */
  readonly lanes: readonly (readonly ScheduledAct[])[];
}

export interface Differences {
  readonly texts: readonly ChangeText[];
  /** Of the recordings that the acts come from. */
  readonly acts: OutsideActs;
  with(applied: readonly number[]): RunPlan;
}

/** A command of the operator's that only one of two recordings has. */
interface CommandDifference {
  /** Lane of the recording that has it, and its place there. */
  readonly lane: 0 | 1;
  readonly at: number;
  readonly act: ScheduledAct;
  readonly command: ControlCommand;
}

/** GOOD and what `--with` says. Throws UsageError, and what reading a machine file throws. */
export async function differencesWith(
  good: OpenRecording,
  texts: readonly string[],
  output: ChangedBy["output"],
): Promise<Differences> {
  const recorded = recordedPlan(good);
  const plan = await planOfTexts(recorded, texts, { architecture: good.architecture, output });
  const acts = outsideActs(good.reader);
  return differences({ from: recorded, to: plan, acts, commands: [] }, good.architecture, [acts.acts]);
}

/** Two recordings: what they were made of, and what their operators did. */
export function differencesBetween(good: OpenRecording, bad: OpenRecording): Differences {
  const [goodActs, badActs] = [outsideActs(good.reader), outsideActs(bad.reader)];
  const commands = differentCommands(goodActs.acts, badActs.acts);
  // Of the bad one nothing happens but what is applied; its other acts say where that lies.
  const silent = badActs.acts.map((act): ScheduledAct => ({ ...act, act: { what: "nothing" } }));
  const acts = { ...goodActs, endNs: Math.max(goodActs.endNs, badActs.endNs) };
  const [from, to] = [recordedPlan(good), recordedPlan(bad)];
  return differences({ from, to, acts, commands }, good.architecture, [goodActs.acts, silent]);
}

interface Compared {
  readonly from: MachinePlan;
  readonly to: MachinePlan;
  readonly acts: OutsideActs;
  readonly commands: readonly CommandDifference[];
}

function differences(
  { from, to, acts, commands }: Compared,
  architecture: Architecture,
  lanes: RunPlan["lanes"],
): Differences {
  const changes = planChanges(from, to);
  const base = relocated(from, to);
  const all: readonly (MachineChange | CommandDifference)[] = [...changes, ...commands];
  return {
    texts: all.map((each) => ("lane" in each ? commandText(each, architecture) : changeText(each, architecture))),
    acts,
    with(applied) {
      const chosen = applied.map((index) => all[index]).filter((each) => each !== undefined);
      const machine = chosen.filter((each): each is MachineChange => !("lane" in each));
      const operator = chosen.filter((each): each is CommandDifference => "lane" in each);
      return { plan: applyChanges(base, machine), lanes: operator.reduce(withCommand, lanes) };
    },
  };
}

function withCommand(lanes: RunPlan["lanes"], { lane, at, act }: CommandDifference): RunPlan["lanes"] {
  const put: ScheduledAct = lane === 1 ? act : { ...act, act: { what: "nothing" } };
  return lanes.map((acts, index) => (index === lane ? acts.with(at, put) : acts));
}

function commandText({ lane, act, command }: CommandDifference, architecture: Architecture): ChangeText {
  const item = commandItem(command);
  const change = lane === 1 ? { before: undefined, after: item } : { before: item, after: undefined };
  const { what, how } = changeText(change, architecture);
  return { what: `ctl at event:${act.seq}  ${what}`, how };
}

/** What both operators did, in whatever order, is no difference. */
function differentCommands(good: readonly ScheduledAct[], bad: readonly ScheduledAct[]): CommandDifference[] {
  const [left, right] = [commandsAt(good, 0), commandsAt(bad, 1)];
  const onlyGood: CommandDifference[] = [];
  for (const each of left) {
    const same = right.findIndex(({ command }) => commandItem(command).identity === commandItem(each.command).identity);
    if (same < 0) onlyGood.push(each);
    else right.splice(same, 1);
  }
  return [...onlyGood, ...right];
}

function commandsAt(acts: readonly ScheduledAct[], lane: 0 | 1): CommandDifference[] {
  return acts.flatMap((act, at) => (act.act.what === "command" ? [{ lane, at, act, command: act.act.command }] : []));
}

async function planOfTexts(recorded: MachinePlan, texts: readonly string[], by: ChangedBy): Promise<MachinePlan> {
  let plan = recorded;
  for (const text of texts)
    plan = existsSync(text)
      ? await applyFile(plan, text, by)
      : planWith(plan, optionArguments(text), { architecture: by.architecture, isFile: false });
  return plan;
}

/** "smp=1", "--smp=1", "smccc-filter=0xc4000000+0x20=forward" */
function optionArguments(text: string): Arguments {
  const [, name, value] = /^(?:--)?([a-z][a-z-]*)=(.*)$/s.exec(text) ?? [];
  if (name !== undefined && value !== undefined && MACHINE_OPTION_NAMES.includes(name)) return { [name]: value };
  const meant = name === undefined ? undefined : nearestWord(name, MACHINE_OPTION_NAMES);
  const told = meant === undefined ? "" : `; did you mean ${meant}=?`;
  throw new UsageError(
    `--with ${text}: expected a machine file, and there is none of that name, or NAME=VALUE with an option of record that makes a machine${told}`,
    "hvjournal record --help",
  );
}
