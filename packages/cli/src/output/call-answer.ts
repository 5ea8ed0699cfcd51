/** What came back of a hypercall, whoever answered it. */
import {
  CoreKind,
  type EventPayload,
  type ExitFrame,
  ExitWord,
  FinishedBy,
  HotKind,
  KvmExit,
  NO_EVENT,
  ROW_EVENT,
  type RowEvent,
} from "@hvjournal/core";
import { JournalDamagedError } from "@hvjournal/journal";
import { displayOf } from "../architectures.js";
import { cursorBehind, hasGoneOn, type RecordedExit, type RecordingParts } from "./recorded-call.js";
import { resultText, u64 } from "./value-text.js";

export interface CallAnswer {
  /** `none`: the VMM half left the registers as they were. `lost`: the answer lies in damage. */
  readonly state: "given" | "none" | "pending" | "stopped" | "lost";
  /** Every register that was written, in order. */
  readonly registers: ReadonlyMap<string, bigint>;
  /** "x0=0x10003 x1=0 x2=0 x3=0", "pending", "the VM powered off" */
  readonly text: string;
}

/** Of a call, as far as the events up to `last` say. */
export function callAnswer(parts: RecordingParts, call: RecordedExit, last: number): CallAnswer {
  const answer = new CollectedAnswer(parts, call);
  try {
    answer.read(last);
  } catch (error) {
    // A recording replays up to its damage, and the answer to its last exit may lie in that.
    if (!(error instanceof JournalDamagedError)) throw error;
    return { state: "lost", registers: answer.registers, text: `lost: ${error.place.part} is damaged` };
  }
  return answer.told();
}

/**
 * What the kernel half gives back with a result: its other registers are 0 unless an event CallReturned, with `returned`,
 * says otherwise.
 */
export function kernelAnswer(
  { architecture, reader }: RecordingParts,
  { frame }: RecordedExit,
  value: bigint,
  returned: EventPayload = {},
): Map<string, bigint> {
  const registers = new Map([[displayOf(architecture).resultRegister, value]]);
  // A recording of another revision need not have that event.
  const isKnown = reader.header.architectureRevision === architecture.revision;
  const [, ...further] = isKnown ? (architecture.resultRegisters?.(frame) ?? []) : [];
  for (const name of further) registers.set(name, 0n);
  for (const [name, each] of Object.entries(returned)) if (typeof each === "bigint") registers.set(name, each);
  return registers;
}

class CollectedAnswer {
  registers = new Map<string, bigint>();
  readonly #parts: RecordingParts;
  readonly #call: RecordedExit;
  #hasGoneOn = false;
  #stopped: string | undefined;

  constructor(parts: RecordingParts, call: RecordedExit) {
    this.#parts = parts;
    this.#call = call;
  }

  read(last: number): void {
    const cursor = cursorBehind(this.#parts.reader, this.#call);
    for (; cursor.kind !== NO_EVENT && cursor.seq <= last; cursor.next()) {
      this.#hasGoneOn = hasGoneOn(cursor, this.#call);
      if (this.#hasGoneOn) return;
      if (cursor.kind === HotKind.exitHandled)
        this.registers = kernelAnswer(this.#parts, this.#call, u64(cursor.handled));
      else if (cursor.kind === HotKind.exitCompleted)
        this.registers.set(displayOf(this.#parts.architecture).resultRegister, u64(cursor.completed));
      else if (cursor.kind === ROW_EVENT) this.#takeRow(cursor.row);
    }
  }

  #takeRow({ kind, vcpu, payload }: RowEvent): void {
    const { frame } = this.#call;
    const isOfCaller = vcpu === frame[ExitWord.vcpu];
    const { name, value, registers, what } = payload;
    if (kind === CoreKind.registerSet.name && isOfCaller && typeof value === "bigint")
      this.registers.set(String(name), value);
    else if (kind === CoreKind.callReturned.name) {
      for (const [register, each] of Object.entries(registers ?? {}))
        if (typeof each === "bigint") this.registers.set(register, each);
    } else if (kind === CoreKind.stopped.name && isSystemEvent(frame)) this.#stopped = String(what);
  }

  told(): CallAnswer {
    const { registers } = this;
    if (this.#stopped !== undefined) return { state: "stopped", registers, text: `the VM ${this.#stopped}` };
    if (registers.size > 0) return { state: "given", registers, text: registersText(registers) };
    return this.#hasGoneOn
      ? { state: "none", registers, text: "no register set" }
      : { state: "pending", registers, text: "pending" };
  }
}

function isSystemEvent(frame: ExitFrame): boolean {
  return frame[ExitWord.finishedBy] === FinishedBy.vmmHalf && frame[ExitWord.kvmExit] === KvmExit.systemEvent;
}

function registersText(registers: Iterable<readonly [string, bigint]>): string {
  return [...registers].map(([name, value]) => `${name}=${resultText(value)}`).join(" ");
}

/** "x0 <- 0x10003, x1 <- 0": as the line of an answer has it. */
export function settingText(registers: Iterable<readonly [string, bigint]>): string {
  return [...registers].map(([name, value]) => `${name} <- ${resultText(value)}`).join(", ");
}
