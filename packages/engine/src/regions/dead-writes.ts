/**
 * Writes that nobody sees: of a field that the next instructions of a block overwrite before it is read, or before control
 * may leave. Compiled code does without them; so flags cost next to nothing where only the last ones count.
 */
import type { Block, EffectItem, Item, Program } from "../stage/program.js";
import { blocksOf } from "../stage/schedule.js";

/** Offsets of fields, with the epoch of the last read. */
type Reads = ReadonlyMap<number, number>;

/** For each program of a straight line, its writes of these fields (by offset) that can be left out. */
export function deadWrites(programs: readonly Program[], fields: ReadonlySet<number>): ReadonlySet<EffectItem>[] {
  const skipped: Set<EffectItem>[] = [];
  let dead = new Set<number>();
  for (const program of programs.toReversed()) {
    const reads = readsOf(program.root, new Map());
    const writes = program.root.items.filter((item) => item.type === "writeState" && fields.has(item.offset));
    skipped.unshift(program.writesMemory ? new Set() : unseen(itemsOf(program.root), dead, reads));
    dead = mayLeave(program.root) ? new Set() : deadBefore(writes, dead, reads);
  }
  return skipped;
}

/** A write of a field that the same program reads later is seen. */
function unseen(items: readonly Item[], dead: ReadonlySet<number>, reads: Reads): Set<EffectItem> {
  const found = new Set<EffectItem>();
  for (const item of items) {
    if (item.type !== "writeState" || !dead.has(item.offset)) continue;
    if ((reads.get(item.offset) ?? -1) <= item.epoch) found.add(item);
  }
  return found;
}

/** With those that are done on a condition. */
function itemsOf(block: Block): Item[] {
  return block.items.flatMap((item) =>
    item.type === "if" ? [item, ...blocksOf(item).flatMap((inner) => itemsOf(inner))] : [item],
  );
}

function deadBefore(writes: readonly Item[], deadBehind: ReadonlySet<number>, reads: Reads): Set<number> {
  const dead = new Set(deadBehind);
  for (const item of writes) if (item.type === "writeState") dead.add(item.offset);
  for (const offset of reads.keys()) dead.delete(offset);
  return dead;
}

function readsOf(block: Block, reads: Map<number, number>): Reads {
  for (const item of block.items) {
    if (item.type === "value" && item.op.kind === "readState")
      reads.set(item.op.offset, Math.max(item.epoch, reads.get(item.op.offset) ?? 0));
    for (const inner of blocksOf(item)) readsOf(inner, reads);
  }
  return reads;
}

const STAYS: ReadonlySet<Item["type"]> = new Set(["value", "writeState", "writeStateAt", "setVariable", "if"]);

/** Control may leave in it, or something that looks at state is called. */
function mayLeave(block: Block): boolean {
  return block.items.some((item) => !STAYS.has(item.type) || blocksOf(item).some(mayLeave));
}
