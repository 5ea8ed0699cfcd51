/**
 * What an event changed in the control state: `log -p`, the contract's comparison, bisect's list of differences.
 *
 * Immer's patches name what a recipe touched, with array elements by index, and say nothing of values before. A slice's reducer may
 * be written any way it likes, and a filter range put in front of others should read as one addition, so states
 * are compared instead; reducers share what they leave alone, so only changed parts are walked.
 */
import type { PlainValue } from "../event/event-kind.js";
import { isPlainMap, plainValue } from "../canonical/canonical-encoding.js";

export interface ControlPatch {
  readonly op: "add" | "remove" | "replace";
  /** Keys and array indexes (in the state that has the item) from the root. */
  readonly path: readonly (string | number)[];
  readonly before?: PlainValue;
  readonly after?: PlainValue;
}

export function samePlain(a: PlainValue | undefined, b: PlainValue | undefined): boolean {
  if (a === b) return true;
  if (a instanceof Uint8Array)
    return b instanceof Uint8Array && a.length === b.length && a.every((byte, index) => byte === b[index]);
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((item, index) => samePlain(item, b[index]));
  if (!isPlainMap(a) || !isPlainMap(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => samePlain(a[key], b[key]));
}

function compareArrays(
  before: readonly PlainValue[],
  after: readonly PlainValue[],
  path: readonly (string | number)[],
  patches: ControlPatch[],
): void {
  let head = 0;
  while (head < before.length && head < after.length && samePlain(before[head], after[head])) head += 1;
  let tail = 0;
  while (
    tail < before.length - head &&
    tail < after.length - head &&
    samePlain(before[before.length - 1 - tail], after[after.length - 1 - tail])
  )
    tail += 1;
  const removed = before.slice(head, before.length - tail);
  const added = after.slice(head, after.length - tail);
  const paired = Math.min(removed.length, added.length);
  for (let index = 0; index < paired; index++) compare(removed[index], added[index], [...path, head + index], patches);
  removed.slice(paired).forEach((item, index) => {
    patches.push({ op: "remove", path: [...path, head + paired + index], before: item });
  });
  added.slice(paired).forEach((item, index) => {
    patches.push({ op: "add", path: [...path, head + paired + index], after: item });
  });
}

function compare(
  before: PlainValue | undefined,
  after: PlainValue | undefined,
  path: readonly (string | number)[],
  patches: ControlPatch[],
): void {
  if (before === after || samePlain(before, after)) return;
  if (before === undefined && after !== undefined) patches.push({ op: "add", path, after });
  else if (after === undefined && before !== undefined) patches.push({ op: "remove", path, before });
  else if (Array.isArray(before) && Array.isArray(after)) compareArrays(before, after, path, patches);
  else if (isPlainMap(before) && isPlainMap(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    for (const key of keys) compare(before[key], after[key], [...path, key], patches);
  } else if (before !== undefined && after !== undefined) patches.push({ op: "replace", path, before, after });
}

/** Differences in the order of the keys. Both sides must be plain data. */
export function controlPatches(before: unknown, after: unknown): ControlPatch[] {
  const patches: ControlPatch[] = [];
  compare(plainValue(before, "before"), plainValue(after, "after"), [], patches);
  return patches;
}
