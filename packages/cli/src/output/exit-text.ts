/** Exits in words: what the guest did, who finishes it, what decided that. */
import {
  type Architecture,
  CoreKind,
  type EventCursor,
  describeControl,
  type ExitFrame,
  type ExitModel,
  ExitWord,
  FinishedBy,
  frameU64,
  HotKind,
  HYPERCALL_REASONS,
  type JournalReader,
  journalCursor,
  KVM_EXIT_NAMES,
  KvmExit,
  type MachineDescription,
  type PlainValue,
  checkMachine,
  ROW_EVENT,
  type RowEvent,
  type VmmHalf,
} from "@hvjournal/core";
import { JournalDamagedError } from "@hvjournal/journal";
import { type ArchitectureDisplay, displayOf } from "../architectures.js";
import { boardToAsk } from "../vm/recorded-machine.js";
import { counted, hex, quotedBytes, resultText, u64 } from "./value-text.js";

const INFO_WRITE = 0x100;
/** "forward" decides that a call is "forwarded". */
const DECIDED: Readonly<Record<string, string>> = { forward: "forwarded", deny: "denied", handle: "handled" };

export interface RecordingParts {
  readonly architecture: Architecture;
  readonly reader: JournalReader;
  readonly description: MachineDescription;
}

/** What decided how an exit is finished. */
export interface Decision {
  /** "forward" */
  readonly action: string;
  /** "filter 0xc6000000+0x100" */
  readonly rule: string;
  readonly seq: number;
}

/** What was done about an exit. */
export interface AnswerPart {
  readonly kind: "result" | "register" | "memory" | "irq" | "stop" | "lost";
  readonly text: string;
  readonly value?: bigint;
}

export class ExitText {
  readonly #parts: RecordingParts;
  readonly #model: ExitModel;
  readonly #display: ArchitectureDisplay;
  readonly #rules = new Map<number, RowEvent | undefined>();
  #board: VmmHalf | undefined;

  constructor(parts: RecordingParts) {
    this.#parts = parts;
    this.#model = checkMachine(parts.description, parts.architecture);
    this.#display = displayOf(parts.architecture);
  }

  reason(frame: ExitFrame): string {
    const row = frame[ExitWord.reason] ?? 0;
    return this.#model.reasons[row]?.name ?? `reason ${row}`;
  }

  isHypercall(frame: ExitFrame): boolean {
    return HYPERCALL_REASONS.has(this.reason(frame));
  }

  /** Where the exit shows pc: "at" its instruction or "behind" it. */
  pcPlace(frame: ExitFrame): "at" | "behind" {
    return this.#model.reasons[frame[ExitWord.reason] ?? 0]?.pc ?? "at";
  }

  /** What the guest did, without the reason's name: "0xc6000001", "MMIO write 0x09000000 4 <- 0x5b". */
  action(frame: ExitFrame): string {
    const text = this.#parts.architecture.describeExit(this.#model, frame);
    const reason = this.reason(frame);
    return text === reason ? "" : text.startsWith(`${reason} `) ? text.slice(reason.length + 1) : text;
  }

  /** `action` with what else a line of `log` has room for: a call's arguments, a written character. */
  longAction(frame: ExitFrame): string {
    const action = this.action(frame);
    const kvmExit = frame[ExitWord.kvmExit] ?? 0;
    const isMmio = kvmExit === KvmExit.mmio;
    if (this.isForwarded(frame) && !isMmio) {
      const call = kvmExit === KvmExit.hypercall ? this.#arguments(frame) : "";
      return `${KVM_EXIT_NAMES.get(kvmExit) ?? kvmExit} ${action}${call}`;
    }
    if (this.isHypercall(frame)) return `${action}${this.#arguments(frame)}`;
    const info = frame[ExitWord.info] ?? 0;
    const byte = frame[ExitWord.arg1Low] ?? 0;
    const isText = isMmio && (info & INFO_WRITE) !== 0 && byte >= 0x20 && byte < 0x7f;
    return isText ? `${action} ${quotedBytes(Uint8Array.of(byte))}` : action;
  }

  #arguments(frame: ExitFrame): string {
    const words = [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low].map((word) => frameU64(frame, word));
    while (words.at(-1) === 0n) words.pop();
    return words
      .map((value, index) => ` ${this.#display.argumentRegisters[index] ?? `arg${index + 1}`}=${hex(value)}`)
      .join("");
  }

  /** "HVC64 0xc6000001", "DABT_LOW MMIO write 0x09000000 4 <- 0x5b" */
  title(frame: ExitFrame): string {
    return `${this.reason(frame)} ${this.action(frame)}`.trimEnd();
  }

  isForwarded(frame: ExitFrame): boolean {
    return frame[ExitWord.finishedBy] === FinishedBy.vmmHalf;
  }

  /** "KVM_EXIT_MMIO"; undefined for an exit that the kernel half finishes. */
  kvmExit(frame: ExitFrame): string | undefined {
    if (!this.isForwarded(frame)) return undefined;
    const number = frame[ExitWord.kvmExit] ?? 0;
    return `KVM_EXIT_${KVM_EXIT_NAMES.get(number) ?? number}`;
  }

  /** The device at an MMIO exit's address, or who answers a call. */
  answerer(frame: ExitFrame): string {
    const isMmio = this.reason(frame).startsWith("DABT") || frame[ExitWord.kvmExit] === KvmExit.mmio;
    if (isMmio) {
      this.#board ??= boardToAsk(this.#parts.description).half;
      return this.#board.deviceAt(Number(frameU64(frame, ExitWord.arg0Low))) ?? "no device";
    }
    if (!this.isForwarded(frame)) return "kernel half";
    return frame[ExitWord.kvmExit] === KvmExit.hypercall ? "handler" : "VMM half";
  }

  decision(frame: ExitFrame): Decision | undefined {
    const seq = frame[ExitWord.rule] ?? 0;
    const event = seq === 0 ? undefined : this.#ruleAt(seq);
    if (event === undefined) return undefined;
    const text = describeControl(this.#parts.architecture, event);
    const space = text.lastIndexOf(" ");
    return { action: text.slice(space + 1), rule: `filter ${text.slice(0, space).trimEnd()}`, seq };
  }

  #ruleAt(seq: number): RowEvent | undefined {
    if (!this.#rules.has(seq)) {
      const cursor = journalCursor(this.#parts.reader, seq);
      this.#rules.set(seq, cursor.kind === ROW_EVENT && cursor.seq === seq ? cursor.row : undefined);
    }
    return this.#rules.get(seq);
  }

  /** Behind the title: "-> KVM_EXIT_HYPERCALL, forwarded by filter 0xc6000000+0x100 (event:9)". */
  fate(frame: ExitFrame): string {
    const kvmExit = this.kvmExit(frame);
    const decision = this.decision(frame);
    const decided =
      decision === undefined
        ? ""
        : `, ${DECIDED[decision.action] ?? decision.action} by ${decision.rule} (event:${decision.seq})`;
    return kvmExit === undefined ? `handled by the kernel half${decided}` : `-> ${kvmExit}${decided}`;
  }

  /** "kernel half, default rule" */
  handledBy(frame: ExitFrame): string {
    const half = this.isForwarded(frame) ? "VMM half" : "kernel half";
    if (!this.isHypercall(frame)) return half;
    const rule = frame[ExitWord.rule] ?? 0;
    return `${half}, ${rule === 0 ? "default rule" : `filter event:${rule}`}`;
  }

  /** What the recording says was done about the exit of event `seq`, in order. */
  answer(seq: number): AnswerPart[] {
    try {
      return this.#readAnswer(seq);
    } catch (error) {
      // A recording replays up to its damage, and the answer to its last exit may lie in that.
      if (!(error instanceof JournalDamagedError)) throw error;
      return [{ kind: "lost", text: `lost: ${error.place.part} is damaged` }];
    }
  }

  #readAnswer(seq: number): AnswerPart[] {
    const cursor = journalCursor(this.#parts.reader, seq);
    if (cursor.kind !== HotKind.exited) return [];
    const { icount } = cursor;
    const isCall = this.isHypercall(cursor.exit);
    const parts: AnswerPart[] = [];
    for (cursor.next(); cursor.icount === icount; cursor.next()) {
      const part = this.#answerPart(cursor, isCall);
      if (part === "no part") break;
      if (part !== undefined) parts.push(part);
    }
    return parts;
  }

  /** undefined: output, which belongs to it and is no answer. */
  #answerPart(cursor: EventCursor, isCall: boolean): AnswerPart | undefined | "no part" {
    switch (cursor.kind) {
      case HotKind.exitHandled:
        return this.#result(u64(cursor.handled), isCall);
      case HotKind.exitCompleted:
        return this.#result(u64(cursor.completed), false);
      case HotKind.irqLineSet:
        return { kind: "irq", text: `irq line ${cursor.irqLine.line} <- ${cursor.irqLine.level}` };
      case HotKind.outputProduced:
        return undefined;
      case ROW_EVENT:
        return rowAnswer(cursor.row) ?? "no part";
      default:
        return "no part";
    }
  }

  #result(value: bigint, isCall: boolean): AnswerPart {
    const into = isCall ? `${this.#display.resultRegister} ` : "";
    return { kind: "result", text: `${into}<- ${resultText(value)}`, value };
  }
}

function rowAnswer({ kind, payload }: RowEvent): AnswerPart | undefined {
  const { name, value, registers, gpa, length, what } = payload;
  if (kind === CoreKind.callReturned.name) return { kind: "register", text: registersText(registers) };
  if (kind === "RegisterSet" && typeof value === "bigint")
    return { kind: "register", text: `${String(name)} <- ${resultText(value)}`, value };
  if (kind === "GuestMemoryWritten" && typeof gpa === "number")
    return { kind: "memory", text: `${counted(Number(length), "byte")} to ${hex(gpa)}` };
  if (kind === "Stopped") return { kind: "stop", text: `none: the VM ${String(what)}` };
  return undefined;
}

function registersText(registers: PlainValue | undefined): string {
  return Object.entries(registers ?? {})
    .map(([name, value]) => `${name} <- ${typeof value === "bigint" ? resultText(value) : String(value)}`)
    .join(", ");
}

/** Of an exit that the guest goes on from without one, such as a write to a device. */
export const NO_ANSWER = "no answer needed";

export function answerText(parts: readonly AnswerPart[]): string {
  return parts.length === 0 ? "none needed" : parts.map(({ text }) => text).join(", ");
}

/** The event of exit `number`, which is `near` or a few events before it. */
export function exitSeq(reader: JournalReader, number: number, near: number): number {
  const cursor = journalCursor(reader, near);
  let seq = near;
  while (seq > 0 && !(cursor.kind === HotKind.exited && cursor.exitsBefore + 1 === number)) cursor.seek(--seq);
  return seq;
}
