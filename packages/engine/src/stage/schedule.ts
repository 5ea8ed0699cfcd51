/**
 * Decides where each value of a program is computed: at its one use, or at its own place
 * into a local. A value that reads state stays in front of the effects that follow it.
 */
import type { Block, EffectItem, Item, Program, ValueNode } from "./program.js";

const scheduled = new WeakSet<Program>();

/** Fills `useCount` and `needsLocal` of every value. Once a program. */
export function schedule(program: Program): void {
  if (scheduled.has(program)) return;
  scheduled.add(program);
  countUses(program.root);
  placeBlock(program.root);
}

function countUses(block: Block): void {
  for (const item of block.items) {
    const args = item.type === "value" ? item.args : argumentsOf(item);
    for (const arg of args) arg.useCount += 1;
    for (const inner of blocksOf(item)) countUses(inner);
    if (item.type === "loop" && item.condition !== undefined) item.condition.useCount += 1;
  }
}

/** From the last item to the first, so that all uses of a value have been seen when its place comes. */
function placeBlock(block: Block): void {
  for (let index = block.items.length - 1; index >= 0; index--) {
    const item = block.items[index];
    if (item === undefined) continue;
    if (item.type === "value") {
      if (item.needsLocal) for (const arg of item.args) place(arg, item.epoch, block);
      continue;
    }
    if (item.type === "loop" && item.condition !== undefined) place(item.condition, item.conditionEpoch, item.body);
    for (const inner of blocksOf(item).reverse()) placeBlock(inner);
    for (const arg of argumentsOf(item)) place(arg, item.epoch, block);
  }
}

function place(value: ValueNode, epoch: number, block: Block): void {
  switch (value.op.kind) {
    case "constant32":
    case "constant64":
    case "constant128":
    case "operand":
    case "parameter":
      return;
    case "result":
      value.needsLocal = true;
      return;
    default:
  }
  if (value.useCount > 1 || value.block !== block || (value.readsState && value.epoch !== epoch)) {
    value.needsLocal = true;
    return;
  }
  for (const arg of value.args) place(arg, epoch, block);
}

/** Blocks inside an item, in order. */
export function blocksOf(item: Item): Block[] {
  switch (item.type) {
    case "if":
      return item.otherwise === undefined ? [item.then] : [item.then, item.otherwise];
    case "loop":
      return [item.body];
    case "readPageTable":
      return [item.onAbsent];
    default:
      return [];
  }
}

/** Values that an effect uses at its own place. */
export function argumentsOf(item: EffectItem): readonly ValueNode[] {
  switch (item.type) {
    case "writeState":
    case "setVariable":
    case "storeMemory":
      return [item.value];
    case "writeStateAt":
      return [item.address, item.value];
    case "access":
      return item.faultDetail === undefined ? [item.address] : [item.address, item.faultDetail];
    case "if":
      return [item.condition];
    case "callRoutine":
    case "callHost":
    case "raise":
      return item.args;
    case "readPageTable":
      return [item.physical, item.isLast];
    case "jump":
      return [item.target];
    case "exitBefore":
    case "exitAfter":
      return item.operands;
    case "return":
      return item.value === undefined ? [] : [item.value];
    case "loop":
    case "endBlock":
      return [];
    default:
      return item satisfies never;
  }
}
