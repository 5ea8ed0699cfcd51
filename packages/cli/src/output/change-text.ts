/** How two machines differ, item by item, for people. */
import {
  type Architecture,
  type ControlCommand,
  type ControlContext,
  decideControl,
  describeControl,
  initialControlState,
  MEMORY_BYTES_MAX,
  VCPU_COUNT_MAX,
  type PlainValue,
} from "@hvjournal/core";
import type { MachineChange, PlanItem } from "../vm/machine-plan.js";
import { shortKind } from "./event-lines.js";
import { plainText } from "./value-text.js";

const NONE = "(none)";
/** A VM in which a command can be asked about that is not refused for what the machine has. */
const NEW_VM: ControlContext = {
  hasRun: false,
  hasVcpus: false,
  vcpuCount: VCPU_COUNT_MAX,
  memoryBase: 0,
  memoryBytes: MEMORY_BYTES_MAX,
};

/** What an item is, and from what to what it changes: "SmcccFilterSet  0xc4000000+0x20", "(none) -> forward". */
export interface ChangeText {
  readonly what: string;
  readonly how: string;
}

/** Lines of a report, below what a run again has come to. */
export function changedLines(changes: readonly ChangeText[]): string[] {
  return changes.map(({ what, how }) => `  changed    ${what}  ${how}`);
}

/** "SmcccFilterSet  0xc4000000+0x20  (none) -> forward", "smp  2 -> 1" */
export function changeLine(change: MachineChange, architecture: Architecture): string {
  const { what, how } = changeText(change, architecture);
  return `${what}  ${how}`;
}

export function changeText({ before, after }: MachineChange, architecture: Architecture): ChangeText {
  const [from, to] = [before, after].map((item) => (item === undefined ? undefined : itemText(item, architecture)));
  const what = (to ?? from)?.what ?? "";
  const [contentBefore, contentAfter] = [before?.shownContent, after?.shownContent];
  if (from?.value === to?.value && contentBefore !== undefined && contentAfter !== undefined)
    return { what, how: `${contentBefore} -> ${contentAfter}` };
  return { what, how: `${from?.value ?? to?.unset ?? NONE} -> ${to?.value ?? from?.unset ?? NONE}` };
}

interface ItemText {
  readonly what: string;
  readonly value: string;
  /** What holds where nothing is said of it. */
  readonly unset?: string | undefined;
}

function itemText({ key, value, shown }: PlanItem, architecture: Architecture): ItemText {
  if (typeof value === "string" || Array.isArray(value)) return { what: key, value: shown };
  return commandText(value as ControlCommand, architecture) ?? { what: key, value: shown };
}

/** As the event says it that the command would be in a new machine; undefined where the rules refuse it there. */
function commandText(command: ControlCommand, architecture: Architecture): ItemText | undefined {
  const decision = decideControl(architecture, initialControlState(architecture), command, NEW_VM);
  const [event] = "refused" in decision ? [] : decision.events;
  if (event === undefined) return undefined;
  const text = describeControl(architecture, event);
  const { new: now, old, name } = event.payload;
  const kind = shortKind(event.kind);
  const value = now === undefined ? text : settingText(now);
  const unset = old === undefined || old === null ? undefined : settingText(old);
  if (typeof name === "string") return { what: `${kind}  ${name}`, value, unset };
  // The event's own text is one of a change: its words for the values are the better ones.
  const told = / {2}(\S+) -> (\S+)$/.exec(text);
  if (told !== null && unset !== undefined)
    return { what: `${kind}  ${text.slice(0, told.index)}`, value: told[2] ?? value, unset: told[1] };
  const rest = text.endsWith(value) ? text.slice(0, -value.length).trimEnd() : text;
  return { what: `${kind}  ${rest}`.trimEnd(), value, unset };
}

function settingText(value: PlainValue): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value.join(",") || "none";
  return plainText(value);
}
