/** The call at the end of a recording that broke off while a handler was asked about it. */
import { HotKind, isAskedOfHandlers, journalCursor } from "@hvjournal/core";
import { JournalError } from "@hvjournal/journal";
import { recordedHandlers } from "../handlers/recorded-handlers.js";
import { ExitText } from "./exit-text.js";
import { carriedExit, exitAt, type RecordedExit, type RecordingParts } from "./recorded-call.js";

export interface OpenCall {
  readonly exit: number;
  /** "VMCALL HYPERV 0x8020" */
  readonly what: string;
  /** Names, in the order in which they are asked. */
  readonly handlers: readonly string[];
}

/** undefined: it has an answer, is nobody's to answer but the board's, or lies in damage, which is for fsck to tell. */
export function openCall(parts: RecordingParts): OpenCall | undefined {
  const handlers = recordedHandlers(parts.description).map(({ name }) => name);
  if (handlers.length === 0) return undefined;
  try {
    const exit = lastExit(parts);
    if (exit === undefined || !isAskedOfHandlers(exit.frame)) return undefined;
    const text = new ExitText(parts);
    const { isOpen, parts: answered } = text.answer(exit);
    if (!isOpen || answered.length > 0) return undefined;
    return { exit: exit.number, what: `${text.reason(exit.frame)} ${text.longAction(exit.frame)}`, handlers };
  } catch (error) {
    if (error instanceof JournalError) return undefined;
    throw error;
  }
}

/** undefined: it has been answered, or there is none. */
function lastExit(parts: RecordingParts): RecordedExit | undefined {
  const { reader } = parts;
  const first = reader.header.parent?.seq ?? 0;
  const last = reader.end.firstSeq - 1;
  const cursor = journalCursor(reader, last);
  for (let seq = last; seq > first; seq--) {
    cursor.seek(seq);
    if (cursor.kind === HotKind.exited) return exitAt(cursor);
    if (cursor.kind === HotKind.exitHandled || cursor.kind === HotKind.exitCompleted) return undefined;
  }
  return carriedExit(parts);
}

/** "for handler a.mjs, then b.mjs: the call of exit:666, VMCALL HYPERV 0x8020, was being answered" */
export function openCallText({ exit, what, handlers }: OpenCall): string {
  return `for handler ${handlers.join(", then ")}: the call of exit:${exit}, ${what}, was being answered`;
}
