/** Who made a change: an instruction, or an event. */
import { HotKind, ROW_EVENT } from "../event/event-kind.js";
import type { JournalReader } from "../ports/journal-store.js";
import { journalCursor } from "../replay/journal-cursor.js";

export interface PhysicalRange {
  readonly physical: number;
  readonly bytes: number;
}

/** Who made it so. */
export type BisectWriter =
  /** The instruction at `pc` on `vcpu`, and where it wrote if it was seen writing. */
  | { readonly by: "instruction"; readonly vcpu: number; readonly pc: bigint; readonly written?: PhysicalRange }
  /** An event: a write by a device, an answer, a command. */
  | { readonly by: "event"; readonly seq: number; readonly kind: string; readonly written?: PhysicalRange }
  /** The exit itself: the expression asks about exits. */
  | { readonly by: "exit"; readonly exitNumber: number }
  /** What finished an exit: the kernel half, or the VMM half's answer to a read. */
  | { readonly by: "answer"; readonly exitNumber: number }
  /** Idle time that passed, with no instruction. */
  | { readonly by: "time" };

const HOT_NAMES: { readonly [kind: number]: string } = {
  [HotKind.irqLineSet]: "IrqLineSet",
  [HotKind.outputProduced]: "OutputProduced",
};

/** Event `seq`, or the exit that it occurs with or answers. */
export function eventWriter(reader: JournalReader, seq: number): BisectWriter {
  const cursor = journalCursor(reader, seq);
  if (cursor.kind === HotKind.exited) return { by: "exit", exitNumber: cursor.exitsBefore + 1 };
  if (cursor.kind === HotKind.exitHandled || cursor.kind === HotKind.exitCompleted)
    return { by: "answer", exitNumber: cursor.exitsBefore };
  if (cursor.kind !== ROW_EVENT) return { by: "event", seq, kind: HOT_NAMES[cursor.kind] ?? "Digested" };
  const { kind, payload } = cursor.row;
  const { gpa, length } = payload;
  if (typeof gpa !== "number" || typeof length !== "number") return { by: "event", seq, kind };
  return { by: "event", seq, kind, written: { physical: gpa, bytes: length } };
}
