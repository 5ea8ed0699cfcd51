/** What a guest wrote to its console, byte by byte, as lines: each stands where its first byte was written. */
import type { EventCursor } from "@hvjournal/core";
import type { EventLine } from "./event-lines.js";
import { quotedBytes } from "./value-text.js";

const LINE_FEED = 0x0a;
/** A guest that never ends its line gets one for so many bytes. */
const LINE_BYTES_MAX = 4096;

interface OpenLine {
  readonly seq: number;
  readonly icount: number;
  readonly place: string;
  readonly bytes: number[];
}

export class ConsoleLines {
  #open: OpenLine | undefined;

  /** The lines that end with this output. */
  push({ seq, icount, exitsBefore, outputBytes }: EventCursor): EventLine[] {
    const ended: EventLine[] = [];
    for (const byte of outputBytes) {
      this.#open ??= { seq, icount, place: exitsBefore === 0 ? "start" : `exit:${exitsBefore}`, bytes: [] };
      this.#open.bytes.push(byte);
      if (byte === LINE_FEED || this.#open.bytes.length === LINE_BYTES_MAX) ended.push(...this.rest());
    }
    return ended;
  }

  /** The line that has not come to its end. */
  rest(): EventLine[] {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return [];
    const { seq, icount, place } = open;
    const bytes = Uint8Array.from(open.bytes);
    const json = { event: seq, position: place, kind: "OutputProduced", icount, port: 0, bytes };
    return [{ seq, place, columns: ["console", quotedBytes(bytes)], json }];
  }
}
