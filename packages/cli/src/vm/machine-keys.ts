/** The keys of a machine file: every option of `record` by its long name, and in which form its value is written. */
import type { Arguments } from "../commands/command.js";

/**
 * How a key's value is written. All are texts once read, as the command line gives them.
 *
 * - `text`, `number`, `size`, `count`, `time`, `flag`: one value.
 * - `architecture`: one of the words that `--arch` takes.
 * - `path`, `moment`: a path, or FILE@POSITION, relative to the machine file.
 * - `paths`, `handlers` (a path, or builtin:NAME), `capabilities`, `ranges`, `pairs`, `drives`: of an option that may be repeated, one or a list. An item is the
 *   option's own text, or a map; `pairs` (NAME=VALUE) may be one map of them all.
 */
export type KeyForm =
  | "text"
  | "number"
  | "size"
  | "count"
  | "time"
  | "flag"
  | "architecture"
  | "path"
  | "moment"
  | "paths"
  | "handlers"
  | "capabilities"
  | "ranges"
  | "pairs"
  | "drives";

/** An option that `record` gets is a row here; the schema is made from it (`machine-schema.test.ts` says how). */
export const MACHINE_KEYS = {
  arch: "architecture",
  machine: "text",
  cpu: "text",
  smp: "number",
  memory: "size",
  kernel: "path",
  flat: "number",
  initrd: "path",
  append: "text",
  drive: "drives",
  host: "text",
  "host-vendor": "text",
  "exit-model": "text",
  cap: "capabilities",
  "smccc-filter": "ranges",
  handler: "handlers",
  "handler-timeout": "time",
  vmport: "text",
  "virtio-bus": "text",
  "firmware-reg": "pairs",
  policy: "pairs",
  hv: "text",
  cpuid: "pairs",
  "msr-filter": "pairs",
  xen: "text",
  "pvtime-ipa": "pairs",
  ioeventfd: "pairs",
  "hv-eventfd": "pairs",
  seed: "number",
  rtc: "text",
  symbols: "paths",
  from: "moment",
  output: "path",
  force: "flag",
  name: "text",
  detach: "flag",
  paused: "flag",
  headless: "flag",
  input: "path",
  until: "text",
  "fail-on": "text",
  timeout: "time",
  "host-timeout": "time",
  "exit-status": "flag",
  "snapshot-every": "count",
  index: "flag",
} as const satisfies Readonly<Record<string, KeyForm>>;

/** What a command line says and a machine file does not: where the file is, the kernel's word, what is printed how. */
export const COMMAND_LINE_ONLY: readonly string[] = ["config", "image", "json", "quiet", "color", "help", "version"];

export const ARCHITECTURE_WORDS: readonly string[] = ["arm64", "aarch64", "amd64", "x86_64"];

/** Whether an option of this form may be repeated: what a command line gives is added behind the file's. */
function isListForm(form: KeyForm): boolean {
  return ["paths", "handlers", "capabilities", "ranges", "pairs", "drives"].includes(form);
}

/** Whether an option of `record` may be repeated. */
export function isListOption(name: string): boolean {
  const form = (MACHINE_KEYS as Readonly<Record<string, KeyForm>>)[name];
  return form !== undefined && isListForm(form);
}

export const MACHINE_FILE = "vm.yaml";

/** A machine file that was read. */
export interface MachineFile {
  readonly path: string;
  /** By the options' long names; what may be repeated is a list. */
  readonly args: Arguments;
  /** "vm.yaml:3:7", where the file gives an option, of several uses the one with this value. */
  placeOf(option: string, value?: string): string | undefined;
}
