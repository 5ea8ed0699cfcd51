/** Damage of a recording in words. */
import type { FsckProblem } from "@hvjournal/journal";

/** "batch 3, event:20..29 (bytes 8192..12287): ..." */
export function problemText({ what, place, bytes }: FsckProblem): string {
  const events = place.events === undefined ? "" : `, event:${place.events[0]}..${place.events[1]}`;
  const exits = place.exits === undefined ? "" : `, exit:${place.exits[0]}..${place.exits[1]}`;
  const at = bytes === undefined ? "" : ` (bytes ${bytes[0]}..${bytes[1]})`;
  return `${place.part}${events}${exits}${at}: ${what}`;
}
