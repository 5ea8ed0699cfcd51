/** Register writes of the VMM half: columns where they are written, rows for whoever reads. */
import { CoreKind } from "./core-kinds.js";
import { type EventBatch, REGISTER_WORDS } from "./event-batch.js";
import { HotKind, ROW_EVENT, type RowEvent } from "./event-kind.js";

/**
 * Puts the `RegisterSet` events of a batch that stand in columns among its rows, where its readers look for them: a forwarded
 * call has one for each register of its answer, and as a row each would cost as much as the exit.
 */
export function showRegistersAsRows(batch: EventBatch): void {
  if (batch.registerCount === 0) return;
  const stored = batch.rows.splice(0);
  let row = 0;
  let register = 0;
  let exitNumber = batch.firstExitNumber;
  for (let index = 0; index < batch.count; index++) {
    const kind = batch.kinds[index];
    if (kind === HotKind.exited) exitNumber += 1;
    else if (kind === ROW_EVENT) {
      const event = stored[row++];
      if (event !== undefined) batch.rows.push(event);
    } else if (kind === HotKind.registerSet) {
      batch.kinds[index] = ROW_EVENT;
      batch.rows.push(registerRow(batch, register++, { index, exitNumber }));
    }
  }
  batch.registerCount = 0;
  batch.registerNames.length = 0;
}

function registerRow(batch: EventBatch, register: number, at: { index: number; exitNumber: number }): RowEvent {
  const [vcpu = 0, name = 0, low = 0, high = 0] = batch.registers.subarray(register * REGISTER_WORDS);
  const { name: kind, version } = CoreKind.registerSet;
  return {
    seq: batch.firstSeq + at.index,
    kind,
    version,
    vcpu,
    icount: batch.icounts[at.index] ?? 0,
    exitNumber: at.exitNumber,
    payload: { name: batch.registerNames[name] ?? "", value: (BigInt(high) << 32n) | BigInt(low) },
  };
}
