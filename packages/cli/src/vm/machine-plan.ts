/**
 * A machine as a list of items, each by a key of its own: an option of `record`, a drive, a command before the first
 * instruction. Two machines are compared item by item, and one can be made with some of the other's.
 */
import {
  type Architecture,
  type ControlCommand,
  firstCommandsOf,
  isPlainMap,
  type MachineDescription,
  type PlainValue,
  toHex,
} from "@hvjournal/core";
import { architectureNamed } from "../architectures.js";
import { CliError, UsageError } from "../cli-error.js";
import { type Arguments, listOption, stringOption } from "../commands/command.js";
import { isBuiltinName } from "@hvjournal/vmm";
import { loadHandlerFile } from "../handlers/handler-file.js";
import { recordedHandlers } from "../handlers/recorded-handlers.js";
import { nodeDigester } from "../host/node-digester.js";
import { rtcText } from "../output/board-text.js";
import { parseU64 } from "../sizes.js";
import {
  CONTROL_OPTIONS,
  controlCommands,
  MACHINE_OPTIONS,
  newMachine,
  type NewMachine,
  openDrives,
  parseMemory,
  readNamed,
  rtcBase,
} from "./machine-options.js";
import { hostNamed, hostOption, isHostVendor } from "./host-option.js";
import type { OpenRecording } from "./open-recording.js";
import {
  checkRecordedFile,
  recordedDrives,
  type RecordedFile,
  recordedFile,
  verifyWithHandlers,
} from "./recorded-machine.js";

export interface PlanItem {
  readonly key: string;
  /** The option by which `record` takes it. */
  readonly option: string;
  /** The option's text, or its texts where they belong together, or the command that it stands for. */
  readonly value: string | readonly string[] | ControlCommand;
  /** Equal for what is the same machine: content of files, numbers however they are written. */
  readonly identity: string;
  /** For people. */
  readonly shown: string;
  /** The same where `shown` has only names of files: with what tells two of one name apart. */
  readonly shownContent?: string;
  /** A file that the recorded machine was made from has not been looked at: it must be what it was. */
  readonly recordedSha256?: string;
  /** What the recorded machine had of an option that may be repeated: it must be what it was. */
  readonly isRecorded?: boolean;
}

export type MachinePlan = ReadonlyMap<string, PlanItem>;

type MachineOption = keyof typeof MACHINE_OPTIONS;

const MEBIBYTE = 2 ** 20;
const SHOWN_HASH_DIGITS = 8;
const FILE_OPTIONS: readonly string[] = ["kernel", "initrd"];
/** The guest itself: with another one, exits and all that follows may be others. */
const GUEST_OPTIONS: readonly string[] = ["kernel", "initrd", "drive", "flat"];
const CONTROL_OPTION_NAMES: readonly string[] = CONTROL_OPTIONS.map(([option]) => option);

/** The options of `record` that say what a machine is. */
export const MACHINE_OPTION_NAMES: readonly string[] = [...Object.keys(MACHINE_OPTIONS), "drive"];

export function isGuestItem({ option }: PlanItem): boolean {
  return GUEST_OPTIONS.includes(option);
}

/** One use of an option that may be repeated, and what makes another text the same: the content of its file, say. */
export interface RecordedText {
  readonly text: string;
  readonly identity: string;
}

/** What a recorded machine says of each option of `record`, in the option's own words; the KVM surface is in its events. */
export const RECORDED_OPTIONS: Readonly<
  Record<
    Exclude<MachineOption, (typeof CONTROL_OPTIONS)[number][0]>,
    (description: MachineDescription) => string | readonly RecordedText[] | undefined
  >
> = {
  arch: ({ architecture }) => architecture,
  machine: ({ board }) => board,
  cpu: ({ cpuModel }) => cpuModel,
  smp: ({ vcpuCount }) => String(vcpuCount),
  memory: ({ memoryBytes }) =>
    memoryBytes % MEBIBYTE === 0 ? `${memoryBytes / MEBIBYTE}M` : `${memoryBytes / 2 ** 10}K`,
  kernel: ({ boardOptions }) => recordedFile("kernel", boardOptions["kernel"])?.name,
  flat: ({ boardOptions: { kernel } }) => numberText(isPlainMap(kernel) ? kernel["flatOffset"] : undefined),
  initrd: ({ boardOptions }) => recordedFile("initrd", boardOptions["initrd"])?.name,
  append: ({ boardOptions: { append } }) => (typeof append === "string" ? append : ""),
  host: ({ host }) => (host !== undefined && isHostVendor(host.name) ? undefined : host?.name),
  "host-vendor": ({ host }) => (host !== undefined && isHostVendor(host.name) ? host.name : undefined),
  "exit-model": ({ exitModel }) => exitModel.name,
  handler: (description) => {
    const handlers = recordedHandlers(description);
    if (handlers.length === 0) return undefined;
    return handlers.map(({ name, sha256 }) => ({ text: name, identity: sha256 ?? name }));
  },
  vmport: ({ boardOptions: { vmport } }) => (vmport === true ? "on" : "off"),
  "virtio-bus": ({ boardOptions: { virtioBus } }) => (virtioBus === "pci" ? "pci" : "mmio"),
  seed: ({ seed }) => String(seed),
  rtc: ({ boardOptions: { rtcBaseNs } }) => `base=${rtcText(typeof rtcBaseNs === "bigint" ? rtcBaseNs : 0n)}`,
};

/** Of these several uses belong together. */
const LIST_OPTIONS: readonly string[] = ["handler"];
const RECORDED_TEXT_OPTIONS: readonly string[] = Object.keys(RECORDED_OPTIONS).filter(
  (option) => !LIST_OPTIONS.includes(option),
);

function numberText(value: PlainValue | undefined): string | undefined {
  return typeof value === "number" ? `0x${value.toString(16)}` : undefined;
}

/** What makes two texts of an option the same; by default the text does. */
const IDENTITIES: Readonly<Record<string, (text: string) => string>> = {
  arch: (text) => architectureNamed(text).name,
  smp: (text) => String(Number(text)),
  memory: (text) => String(parseMemory(text)),
  flat: (text) => String(parseU64("--flat", text)),
  seed: (text) => String(parseU64("--seed", text)),
  rtc: (text) => String(rtcBase(text)),
  kernel: (text) => sha256OfFile("kernel", text),
  initrd: (text) => sha256OfFile("initrd", text),
  handler: (text) => (isBuiltinName(text) ? text : (loadHandlerFile(text).sha256 ?? text)),
};

function identityOf(option: string, text: string): string {
  return IDENTITIES[option]?.(text) ?? text;
}

function sha256OfFile(what: string, path: string): string {
  return toHex(nodeDigester.sha256(readNamed(what, path).bytes));
}

function shownFile(path: string, sha256: string): string {
  return `${path} (sha256:${sha256.slice(0, SHOWN_HASH_DIGITS)}…)`;
}

function textItem(option: string, value: string): PlanItem {
  const identity = identityOf(option, value);
  const shown = FILE_OPTIONS.includes(option) ? shownFile(value, identity) : value === "" ? '""' : value;
  return { key: option, option, value, identity, shown };
}

function driveItem(text: string, index: number): PlanItem {
  const [drive] = openDrives([text]);
  if (drive === undefined) throw new UsageError(`--drive ${text}: expected file=PATH[,readonly=on][,id=ID]`);
  const id = /(^|,)id=/.test(text) ? drive.id : `drive${index}`;
  const sha256 = drive.fingerprint();
  drive.close();
  return driveItemOf({ id, name: drive.path, readOnly: drive.readOnly, sha256 });
}

interface DriveOfPlan {
  readonly id: string;
  readonly name: string;
  readonly readOnly: boolean;
  readonly sha256: string;
}

function driveItemOf({ id, name, readOnly, sha256 }: DriveOfPlan): PlanItem {
  const value = `file=${name}${readOnly ? ",readonly=on" : ""},id=${id}`;
  const shown = `${shownFile(name, sha256)}${readOnly ? " readonly" : ""}`;
  return { key: `drive ${id}`, option: "drive", value, identity: `${sha256} ${readOnly}`, shown };
}

/** What a command sets, and not to which value: two commands that set the same thing have the same key. */
const VALUE_FIELDS: readonly string[] = ["value", "action", "args", "features", "reads", "writes", "ipa"];

/** Commands of which the last one holds, whatever it says. */
const WHOLE_COMMANDS: readonly string[] = ["xen"];

function plainKey(command: ControlCommand, isLeftOut: (field: string) => boolean): string {
  const names = Object.keys(command).sort();
  const fields = names.filter((field) => !isLeftOut(field)).map((field) => [field, command[field]] as const);
  return fields.map(([field, value]) => `${field}=${Array.isArray(value) ? value.join(",") : String(value)}`).join(" ");
}

export function commandItem(command: ControlCommand): PlanItem {
  const [option = command.name] = CONTROL_OPTIONS.find(([, word]) => word === command.name) ?? [];
  const identity = plainKey(command, () => false);
  const isWhole = WHOLE_COMMANDS.includes(command.name);
  const key = plainKey(command, (field) => (isWhole ? field !== "name" : VALUE_FIELDS.includes(field)));
  return { key, option, value: command, identity, shown: identity };
}

/** The recorded machine with what an operator told it before its first instruction. */
export function recordedPlan({ description, reader }: Pick<OpenRecording, "description" | "reader">): MachinePlan {
  return planOf([...describedItems(description), ...firstCommandsOf(reader).map(commandItem)]);
}

function describedItems(description: MachineDescription): PlanItem[] {
  const options = Object.entries(RECORDED_OPTIONS).flatMap(([option, textOf]): PlanItem[] => {
    const text = textOf(description);
    if (text === undefined) return [];
    if (typeof text !== "string") return [{ ...listItem(option, text), isRecorded: true }];
    const file = FILE_OPTIONS.includes(option) ? recordedFile(option, description.boardOptions[option]) : undefined;
    return [file === undefined ? textItem(option, text) : fileItem(option, file)];
  });
  const drives = recordedDrives(description).map((drive) => ({
    ...driveItemOf(drive),
    recordedSha256: drive.sha256,
  }));
  return [...options, ...drives];
}

function fileItem(option: string, { name, sha256 }: RecordedFile): PlanItem {
  const shown = shownFile(name, sha256);
  return { key: option, option, value: name, identity: sha256, shown, recordedSha256: sha256 };
}

function planOf(items: readonly PlanItem[]): MachinePlan {
  return new Map(items.map((item) => [item.key, item]));
}

/**
 * The machine with options of `record` over it. Those that may be repeated are added; `isFile`: the lists of a machine file
 * take the place of the machine's own.
 */
export function planWith(
  plan: MachinePlan,
  args: Arguments,
  { architecture, isFile }: { readonly architecture: Architecture; readonly isFile: boolean },
): MachinePlan {
  const changed = new Map(plan);
  const replaceList = (option: string): void => {
    if (!isFile || args[option] === undefined) return;
    for (const [key, item] of changed) if (item.option === option) changed.delete(key);
  };
  for (const option of Object.keys(MACHINE_OPTIONS)) {
    if (CONTROL_OPTION_NAMES.includes(option) || args[option] === undefined) continue;
    const isList =
      LIST_OPTIONS.includes(option) || (Array.isArray(args[option]) && !RECORDED_TEXT_OPTIONS.includes(option));
    const item = isList
      ? listItem(
          option,
          listOption(args, option).map((text) => ({ text, identity: identityOf(option, text) })),
        )
      : textItem(option, stringOption(args, option) ?? "");
    changed.set(item.key, item);
  }
  const exitModel = exitModelOfHost(args, architecture);
  if (exitModel !== undefined) changed.set(exitModel.key, exitModel);
  replaceList("drive");
  for (const [index, text] of listOption(args, "drive").entries()) {
    const item = driveItem(driveText(text, plan), index);
    changed.set(item.key, item);
  }
  for (const option of CONTROL_OPTION_NAMES) {
    replaceList(option);
    for (const command of controlCommands({ [option]: args[option] }, architecture)) {
      const item = commandItem(command);
      changed.set(item.key, item);
    }
  }
  return changed;
}

/** A host that is chosen brings its exit model along, where that is not chosen too. */
function exitModelOfHost(args: Arguments, architecture: Architecture): PlanItem | undefined {
  const host = hostNamed(hostOption(args), architecture);
  if (host === undefined || args["exit-model"] !== undefined) return undefined;
  const name = architecture.contract?.exitModelOf?.(host);
  return name === undefined ? undefined : textItem("exit-model", name);
}

/** Of an option that may be repeated, and whose uses belong together. */
function listItem(option: string, texts: readonly RecordedText[]): PlanItem {
  const value = texts.map(({ text }) => text);
  const identity = texts.map((each) => each.identity).join(" ");
  const contents = texts.map((each) => (each.identity === each.text ? each.text : shownFile(each.text, each.identity)));
  return { key: option, option, value, identity, shown: value.join(" "), shownContent: contents.join(" ") };
}

/** `ID=PATH` says where the image of a drive is that the machine has; anything else is a drive as `record` takes it. */
function driveText(text: string, plan: MachinePlan): string {
  const [, id = "", path = ""] = /^([^=,]+)=([^,]*)$/.exec(text) ?? [];
  const known = plan.get(`drive ${id}`);
  if (known !== undefined) return `file=${path}${known.identity.endsWith(" true") ? ",readonly=on" : ""},id=${id}`;
  if (id === "" || id === "file") return text;
  const ids = [...plan.values()]
    .filter(({ option }) => option === "drive")
    .map(({ key }) => key.slice("drive ".length));
  const has = ids.length === 0 ? "it has none" : `it has ${ids.join(", ")}`;
  throw new UsageError(`--drive ${text}: the recorded machine has no drive ${id}: ${has}`);
}

export interface MachineChange {
  readonly before: PlanItem | undefined;
  readonly after: PlanItem | undefined;
}

/** What of the two machines differs, in the order of the second one's items. */
export function planChanges(from: MachinePlan, to: MachinePlan): MachineChange[] {
  const added = [...to.values()]
    .map((after): MachineChange => ({ before: from.get(after.key), after }))
    .filter(({ before, after }) => before?.identity !== after?.identity);
  const removed = [...from.values()].filter(({ key }) => !to.has(key)).map((before) => ({ before, after: undefined }));
  return [...added, ...removed];
}

/** The first machine, with its files where the second one has the same ones. */
export function relocated(from: MachinePlan, to: MachinePlan): MachinePlan {
  return planOf(
    [...from.values()].map((item) => {
      const other = to.get(item.key);
      return other?.identity === item.identity ? other : item;
    }),
  );
}

export function applyChanges(plan: MachinePlan, changes: readonly MachineChange[]): MachinePlan {
  const changed = new Map(plan);
  for (const { before, after } of changes) {
    if (after !== undefined) changed.set(after.key, after);
    else if (before !== undefined) changed.delete(before.key);
  }
  return changed;
}

function isCommand(value: PlanItem["value"]): value is ControlCommand {
  return typeof value === "object" && !Array.isArray(value);
}

export function commandsOf(plan: MachinePlan): ControlCommand[] {
  return [...plan.values()].map(({ value }) => value).filter(isCommand);
}

/** As `record` would take them. */
function argumentsOf(plan: MachinePlan): Arguments {
  const args: Record<string, string | string[]> = {};
  for (const { option, value } of plan.values()) {
    if (isCommand(value)) continue;
    if (option === "drive") args[option] = [...listOption(args, option), String(value)];
    else args[option] = typeof value === "string" ? value : [...value];
  }
  return args;
}

/**
 * The machine itself. Throws CliError with status 128 for a file of the recorded machine that is gone or has become another,
 * and what `newMachine` throws. `options`: those beside the machine's own, such as how long a handler may take.
 */
export function machineOf(plan: MachinePlan, recording: string, options: Arguments = {}): NewMachine {
  for (const item of plan.values()) if (item.recordedSha256 !== undefined) checkFile(item, recording);
  const machine = newMachine({ ...options, ...argumentsOf(plan) });
  checkLists(plan, machine.description, recording);
  return { ...machine, commands: commandsOf(plan) };
}

function checkLists(plan: MachinePlan, description: MachineDescription, recording: string): void {
  const made = planOf(describedItems(description));
  const other = [...plan.values()].find(
    ({ key, identity, isRecorded }) => isRecorded === true && made.get(key)?.identity !== identity,
  );
  if (other === undefined) return;
  throw new CliError(`${other.option} ${other.shown} is not what was recorded; --${other.option} says what to take`, {
    code: "file-changed",
    next: verifyWithHandlers(recording, Array.isArray(other.value) ? other.value : []),
  });
}

function checkFile({ option, value, recordedSha256 = "", key }: PlanItem, recording: string): void {
  if (option === "kernel" || option === "initrd") {
    checkRecordedFile(option, { name: String(value), sha256: recordedSha256 }, recording);
    return;
  }
  const [drive] = openDrives([String(value)]);
  const found = drive?.fingerprint();
  drive?.close();
  if (found === recordedSha256) return;
  throw new CliError(
    `${key}: ${drive?.path ?? ""} is not the image that was recorded: sha256 ${found ?? ""}, recorded ${recordedSha256}; --drive ${key.slice("drive ".length)}=PATH says where it is now`,
    { code: "file-changed" },
  );
}
