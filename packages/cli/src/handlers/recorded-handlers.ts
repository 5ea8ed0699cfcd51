/** The handlers of a recorded machine, loaded again; or others that take their place from here on. */
import { isPlainMap, type MachineDescription, PayloadFields, type PlainValue } from "@hvjournal/core";
import { type Arguments, listOption } from "../commands/command.js";
import { handlersPayload, type LoadedHandler, loadHandlers } from "./handler-option.js";

/** One handler as the machine description has it. */
export interface RecordedHandler {
  readonly name: string;
  /** Undefined for one that is built in. */
  readonly sha256: string | undefined;
}

export function recordedHandlers({ boardOptions }: MachineDescription): RecordedHandler[] {
  const { handlers } = boardOptions;
  return (Array.isArray(handlers) ? handlers : []).map((each: PlainValue) => {
    const fields = new PayloadFields("handler", isPlainMap(each) ? each : {});
    const { sha256 } = fields.payload;
    return { name: fields.string("name"), sha256: typeof sha256 === "string" ? sha256 : undefined };
  });
}

/** The machine as it goes on where `--handler` says who answers from here on. */
export function machineWithHandlers(machine: MachineDescription, args: Arguments): MachineDescription {
  const names = listOption(args, "handler");
  if (names.length === 0) return machine;
  const { handlers: _, ...others } = machine.boardOptions;
  return { ...machine, boardOptions: { ...others, ...handlersPayload(loadHandlers(names, args)) } };
}

/** The first place at which others stand in the recorded handlers' places, and how they differ; undefined: all are the same. */
export function handlersDifference(
  recorded: readonly RecordedHandler[],
  loaded: readonly LoadedHandler[],
): { readonly index: number; readonly text: string } | undefined {
  for (let index = 0; index < Math.max(recorded.length, loaded.length); index++) {
    const text = handlerDifference(recorded[index], loaded[index]);
    if (text !== undefined) return { index, text };
  }
  return undefined;
}

/** What differs between a handler of the recorded machine and the one that would take its place; undefined: nothing does. */
function handlerDifference(
  recorded: RecordedHandler | undefined,
  loaded: LoadedHandler | undefined,
): string | undefined {
  if (loaded === undefined) return recorded && `handler ${recorded.name} is left out`;
  const { name, sha256 } = loaded;
  if (recorded === undefined) return `handler ${name}: the recorded machine had none in its place`;
  if (sha256 === undefined && recorded.sha256 === undefined)
    return name === recorded.name ? undefined : `handler ${name} is not the one that was recorded: ${recorded.name}`;
  if (sha256 === recorded.sha256) return undefined;
  const shown = (hash: string | undefined): string => (hash === undefined ? "none" : `sha256 ${hash}`);
  return `handler ${name} is not the one that was recorded, ${recorded.name}: ${shown(sha256)}, recorded ${shown(recorded.sha256)}`;
}
