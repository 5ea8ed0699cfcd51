/** Exits in words: what the guest did, who finishes it, what decided that. */
import {
  CoreKind,
  type EventCursor,
  describeControl,
  describeRule,
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
  isAskedOfHandlers,
  isPlainMap,
  NO_EVENT,
  type Replayer,
  restoreControlState,
  checkMachine,
  ROW_EVENT,
  type RowEvent,
  type VmmHalf,
} from "@hvjournal/core";
import { JournalDamagedError } from "@hvjournal/journal";
import { type ArchitectureDisplay, displayOf, type PackedCall } from "../architectures.js";
import { kernelAnswer } from "./call-answer.js";
import { hasGoneOn, type RecordedExit, type RecordingParts } from "./recorded-call.js";
import { type RecordedHandler, recordedHandlers } from "../handlers/recorded-handlers.js";
import { RecordedAnswerers } from "./recorded-answerers.js";
import { boardToAsk } from "../vm/recorded-machine.js";
import { counted, hex, quotedBytes, resultText, u64 } from "./value-text.js";

const INFO_WRITE = 0x100;
/** No handler took the call: the guest gets what the interface gives for one that nobody knows, or the board's own answer. */
const BOARD_DEFAULT = "board default";
/** "forward" decides that a call is "forwarded". */
const DECIDED: Readonly<Record<string, string>> = { forward: "forwarded", deny: "denied", handle: "handled" };

/** What decided how an exit is finished. */
export interface Decision {
  /** "forward" */
  readonly action: string;
  /** "filter 0xc6000000+0x100" */
  readonly rule: string;
  readonly seq: number;
}

/** Everything that was done about an exit, as far as a recording goes. */
interface ExitAnswer {
  readonly parts: readonly AnswerPart[];
  /** The recording ends there: more may come. */
  readonly isOpen: boolean;
}

export interface ToldAnswer {
  readonly state: "pending" | "not yet given";
  readonly text: string;
  readonly parts: readonly AnswerPart[];
}

/** What was done about an exit. */
export interface AnswerPart {
  readonly kind: "result" | "register" | "memory" | "irq" | "stop" | "lost";
  readonly text: string;
  readonly value?: bigint;
  /** Of "memory". */
  readonly written?: WrittenMemory;
}

/** One of `bytes` and `pageHashes` is there. */
export interface WrittenMemory {
  readonly gpa: number;
  readonly bytes?: Uint8Array;
  /** Of a long write: one behind the other. */
  readonly pageHashes?: Uint8Array;
}

export class ExitText {
  readonly #parts: RecordingParts;
  readonly #model: ExitModel;
  readonly #display: ArchitectureDisplay;
  readonly #rules = new Map<number, string | undefined>();
  readonly #answerers: RecordedAnswerers;
  readonly #handlers: readonly RecordedHandler[];
  #board: VmmHalf | undefined;

  constructor(parts: RecordingParts) {
    this.#answerers = new RecordedAnswerers(parts.reader);
    this.#handlers = recordedHandlers(parts.description);
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
    const isAccess = kvmExit === KvmExit.mmio || kvmExit === KvmExit.io;
    if (this.isForwarded(frame) && !isAccess) {
      const call = kvmExit === KvmExit.hypercall || kvmExit === KvmExit.xen ? this.#arguments(frame) : "";
      return `${KVM_EXIT_NAMES.get(kvmExit) ?? kvmExit} ${action}${call}`;
    }
    if (this.isHypercall(frame)) return `${action}${this.#arguments(frame)}`;
    const info = frame[ExitWord.info] ?? 0;
    const byte = frame[ExitWord.arg1Low] ?? 0;
    const isText = isAccess && (info & INFO_WRITE) !== 0 && byte >= 0x20 && byte < 0x7f;
    return isText ? `${action} ${quotedBytes(Uint8Array.of(byte))}` : action;
  }

  /** What a call asks for, without its arguments: calls that differ in these only are of one kind. */
  callTitle(frame: ExitFrame): string {
    return this.packedCall(frame)?.title ?? this.action(frame);
  }

  /** The fields of a call's number, where it has some. */
  packedCall(frame: ExitFrame): PackedCall | undefined {
    return this.isHypercall(frame) ? this.#display.packedCall(frame) : undefined;
  }

  /** Those that are not 0. */
  #arguments(frame: ExitFrame): string {
    const words = [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low].map((word) => frameU64(frame, word));
    const names = this.argumentNames(frame);
    return words
      .map((value, index) => (value === 0n ? "" : ` ${names[index] ?? `arg${index + 1}`}=${hex(value)}`))
      .join("");
  }

  /** Of the words behind a call's function; of any other exit they have none. */
  argumentNames(frame: ExitFrame): readonly string[] {
    if (!this.isHypercall(frame)) return [];
    return this.packedCall(frame)?.argumentNames ?? this.#display.argumentRegisters;
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

  /** The device at an MMIO exit's address or an IO exit's port, or who answers a call. */
  answerer(exit: RecordedExit): string {
    const { frame } = exit;
    const isMmio = this.reason(frame).startsWith("DABT") || frame[ExitWord.kvmExit] === KvmExit.mmio;
    if (isMmio)
      return this.#askedBoard().deviceAt(Number(frameU64(frame, ExitWord.arg0Low))) ?? this.#withoutDevice(exit);
    if (!this.isForwarded(frame)) return "kernel half";
    if (frame[ExitWord.kvmExit] === KvmExit.io)
      return this.#askedBoard().portDeviceAt?.(frame[ExitWord.arg0Low] ?? 0) ?? this.#withoutDevice(exit);
    return this.callAnswerer(exit) ?? (isAskedOfHandlers(frame) ? "handler" : "VMM half");
  }

  /**
   * "handler", by name where the VM has several, "builtin:psci", "board default"; undefined: the recording does not say, or the
   * kernel half finished it.
   */
  callAnswerer(exit: RecordedExit): string | undefined {
    if (!this.isForwarded(exit.frame)) return undefined;
    const handlers = this.#handlers.length;
    if (handlers === 0) return isAskedOfHandlers(exit.frame) ? BOARD_DEFAULT : undefined;
    const answerer = this.#answerers.of(exit);
    if (answerer === undefined) return undefined;
    if (answerer.by === "board") return BOARD_DEFAULT;
    return answerer.by === "builtin" || handlers > 1 ? answerer.name : "handler";
  }

  /** Handlers are asked about what no device claims, too. */
  #withoutDevice(exit: RecordedExit): string {
    const answerer = this.callAnswerer(exit);
    return answerer === undefined || answerer === BOARD_DEFAULT ? "no device" : answerer;
  }

  #askedBoard(): VmmHalf {
    this.#board ??= boardToAsk(this.#parts.description).half;
    return this.#board;
  }

  decision(frame: ExitFrame): Decision | undefined {
    const seq = frame[ExitWord.rule] ?? 0;
    const text = seq === 0 ? undefined : this.#ruleText(seq);
    if (text === undefined) return undefined;
    const space = text.lastIndexOf(" ");
    const [action, subject] = [text.slice(space + 1), text.slice(0, space).trimEnd()];
    // A range begins with its number, a policy with its name: what it was before is not said here.
    return /^\d/.test(text)
      ? { action, rule: `filter ${subject}`, seq }
      : { action, rule: `policy ${/^\S+/.exec(text)?.[0] ?? ""}`, seq };
  }

  #ruleText(seq: number): string | undefined {
    if (!this.#rules.has(seq)) this.#rules.set(seq, this.#recordedRule(seq) ?? this.#inheritedRule(seq));
    return this.#rules.get(seq);
  }

  #recordedRule(seq: number): string | undefined {
    const { architecture, reader } = this.#parts;
    const cursor = journalCursor(reader, seq);
    const isHere = cursor.kind === ROW_EVENT && cursor.seq === seq;
    return isHere ? describeControl(architecture, cursor.row) : undefined;
  }

  /** A rule that was set before a VM moved or was branched: its event is in a parent, and the VM came with what it says. */
  #inheritedRule(seq: number): string | undefined {
    const { architecture, reader } = this.#parts;
    const [base] = reader.header.parent === undefined ? [] : reader.snapshots();
    if (base === undefined) return undefined;
    try {
      return describeRule(architecture, restoreControlState(reader.loadSnapshot(base.number).control), seq);
    } catch (error) {
      // The number of the rule can be told all the same.
      if (!(error instanceof JournalDamagedError)) throw error;
      return undefined;
    }
  }

  /** Why no rule was asked about a call, or undefined. */
  unruled(frame: ExitFrame): string | undefined {
    return this.#parts.architecture.unruledCall?.(frame);
  }

  /** "filter", or "policy"; what can't be read any more was most likely the first. */
  #ruleKind(frame: ExitFrame): string {
    return this.decision(frame)?.rule.split(" ")[0] ?? "filter";
  }

  /** Which rule decided about a call and what it said: "filter event:9 forward", "default", "no SMCCC call". */
  ruled(frame: ExitFrame): string {
    const seq = frame[ExitWord.rule] ?? 0;
    if (seq !== 0) return `${this.#ruleKind(frame)} event:${seq} ${this.decision(frame)?.action ?? ""}`.trimEnd();
    return this.ruleAction(frame) ?? "";
  }

  /** What a call's rule said: handle, deny or forward; where none was asked, that. undefined for what is no call. */
  ruleAction(frame: ExitFrame): string | undefined {
    if (!this.isHypercall(frame)) return undefined;
    if (this.unruled(frame) !== undefined) return "no SMCCC call";
    return (frame[ExitWord.rule] ?? 0) === 0 ? "default" : this.decision(frame)?.action;
  }

  /** Behind the title: "-> KVM_EXIT_HYPERCALL, forwarded by filter 0xc6000000+0x100 (event:9)". */
  fate(frame: ExitFrame): string {
    const kvmExit = this.kvmExit(frame);
    const decision = this.decision(frame);
    const decided =
      decision === undefined
        ? ""
        : `, ${DECIDED[decision.action] ?? decision.action} by ${decision.rule} (event:${decision.seq})`;
    if (kvmExit !== undefined) return `-> ${kvmExit}${decided}`;
    const unruled = this.unruled(frame);
    return `handled by the kernel half${decided}${unruled === undefined ? "" : `: ${unruled}`}`;
  }

  /** "kernel half, default rule" */
  handledBy(frame: ExitFrame): string {
    const half = this.isForwarded(frame) ? "VMM half" : "kernel half";
    if (!this.isHypercall(frame)) return half;
    const rule = frame[ExitWord.rule] ?? 0;
    return `${half}, ${rule === 0 ? "default rule" : `${this.#ruleKind(frame)} event:${rule}`}`;
  }

  /** What the recording says was done about an exit, in order. */
  answer(exit: RecordedExit): ExitAnswer {
    try {
      return this.#readAnswer(exit);
    } catch (error) {
      // A recording replays up to its damage, and the answer to its last exit may lie in that.
      if (!(error instanceof JournalDamagedError)) throw error;
      return { isOpen: false, parts: [{ kind: "lost", text: `lost: ${error.place.part} is damaged` }] };
    }
  }

  #readAnswer(exit: RecordedExit): ExitAnswer {
    const parts: AnswerPart[] = [];
    const cursor = journalCursor(this.#parts.reader, exit.seq + 1);
    for (; cursor.kind !== NO_EVENT && !hasGoneOn(cursor, exit); cursor.next()) {
      const added = this.#answerParts(cursor, exit);
      if (added === "gone on") return { isOpen: false, parts };
      parts.push(...added);
    }
    return { isOpen: cursor.kind === NO_EVENT, parts };
  }

  #answerParts(cursor: EventCursor, exit: RecordedExit): readonly AnswerPart[] | "gone on" {
    switch (cursor.kind) {
      case HotKind.exited:
        return "gone on";
      case HotKind.exitHandled:
        return this.#result(u64(cursor.handled), exit, cursor.seq);
      case HotKind.exitCompleted: {
        const value = u64(cursor.completed);
        return [{ kind: "result", text: `<- ${resultText(value)}`, value }];
      }
      case HotKind.irqLineSet:
        return [{ kind: "irq", text: `irq line ${cursor.irqLine.line} <- ${cursor.irqLine.level}` }];
      case ROW_EVENT:
        return BEHIND_ANSWERS.has(cursor.row.kind) ? "gone on" : rowAnswer(cursor.row);
      default:
        // Output belongs to it, and a digest to a pause before it.
        return [];
    }
  }

  /** With the registers of the event behind it, if that is one. */
  #result(value: bigint, exit: RecordedExit, seq: number): readonly AnswerPart[] {
    if (!this.isHypercall(exit.frame)) return [{ kind: "result", text: `<- ${resultText(value)}`, value }];
    const behind = journalCursor(this.#parts.reader, seq + 1);
    const isMore = behind.kind === ROW_EVENT && behind.row.kind === CoreKind.callReturned.name;
    const registers = isMore ? behind.row.payload["registers"] : undefined;
    return [...kernelAnswer(this.#parts, exit, value, isPlainMap(registers) ? registers : {})].map(([name, each]) => ({
      kind: "result",
      text: `${name} <- ${resultText(each)}`,
      value: each,
    }));
  }

  /** For people: whether the answer is still to come, or was given behind this moment, and what it is. */
  toldAnswer(exit: RecordedExit): ToldAnswer {
    const { parts, isOpen } = this.answer(exit);
    const wanted = isOpen && parts.length === 0 ? this.#wanted(exit.frame) : undefined;
    if (wanted !== undefined) return { state: "pending", text: wanted, parts };
    if (parts.length > 0) return { state: "not yet given", text: answerText(parts), parts };
    const isCall = this.isForwarded(exit.frame) && exit.frame[ExitWord.kvmExit] === KvmExit.hypercall;
    return { state: "not yet given", text: isCall ? "no register set" : answerText(parts), parts };
  }

  /** What an exit can't do without. */
  #wanted(frame: ExitFrame): string | undefined {
    const half = this.isForwarded(frame) ? "VMM half" : "kernel half";
    if (frame[ExitWord.kvmExit] === KvmExit.systemEvent) return `what the ${half} makes of it`;
    if (this.isHypercall(frame)) return `the ${half}'s answer (${this.#display.resultRegisters})`;
    const isAccess = frame[ExitWord.kvmExit] === KvmExit.mmio || frame[ExitWord.kvmExit] === KvmExit.io;
    const isRead = isAccess && ((frame[ExitWord.info] ?? 0) & INFO_WRITE) === 0;
    return isRead ? `the ${half}'s data` : undefined;
  }
}

/** What happens to a guest whose exit has been answered already. */
const BEHIND_ANSWERS: ReadonlySet<string> = new Set([
  CoreKind.inputReceived.name,
  CoreKind.idleEnded.name,
  CoreKind.hostWaited.name,
]);

function rowAnswer({ kind, payload }: RowEvent): readonly AnswerPart[] {
  const { name, value, gpa, length, what, bytes, pages } = payload;
  if (kind === CoreKind.registerSet.name && typeof value === "bigint")
    return [{ kind: "register", text: `${String(name)} <- ${resultText(value)}`, value }];
  if (kind === CoreKind.guestMemoryWritten.name && typeof gpa === "number")
    return [
      {
        kind: "memory",
        text: `${counted(Number(length), "byte")} to ${hex(gpa)}`,
        written: {
          gpa,
          ...(bytes instanceof Uint8Array && { bytes }),
          ...(pages instanceof Uint8Array && { pageHashes: pages }),
        },
      },
    ];
  // Whoever ends a recording from outside does not answer.
  if (kind === CoreKind.stopped.name && what !== "stopped")
    return [{ kind: "stop", text: `none: the VM ${String(what)}` }];
  return [];
}

/** Of an exit that the guest goes on from without one, such as a write to a device. */
export const NO_ANSWER = "no answer needed";

const NONE_NEEDED = "none needed";

export function isNoneNeeded({ parts, text }: ToldAnswer): boolean {
  return parts.length === 0 && text === NONE_NEEDED;
}

export function answerText(parts: readonly AnswerPart[]): string {
  return parts.length === 0 ? NONE_NEEDED : parts.map(({ text }) => text).join(", ");
}

/** The exit that a replay stands at. */
export function pendingExit({ machine, reader, nextSeq }: Replayer): RecordedExit {
  const { exitNumber: number, icount, kernel } = machine;
  return { number, frame: kernel.exit.slice(), icount, seq: exitSeq(reader, number, nextSeq - 1) };
}

/** The event of exit `number`, which is `near` or a few events before it; of an exit of the parent recording, the last there. */
export function exitSeq(reader: JournalReader, number: number, near: number): number {
  const first = reader.header.parent?.seq ?? 0;
  const cursor = journalCursor(reader, near);
  // The base's snapshot may stand before the parent's last event.
  let seq = Math.max(first, near);
  while (seq > first && !(cursor.kind === HotKind.exited && cursor.exitsBefore + 1 === number)) cursor.seek(--seq);
  return seq;
}
