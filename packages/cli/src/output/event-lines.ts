/** Events as lines of `log`, as perf script prints them. */
import {
  CoreKind,
  describeControl,
  type EventCursor,
  type EventPayload,
  ExitWord,
  formatGuestTime,
  FinishedBy,
  frameU64,
  HotKind,
  isControlKind,
  ROW_EVENT,
  type RowEvent,
  toHex,
} from "@hvjournal/core";
import type { OpenRecording } from "../vm/open-recording.js";
import { callAnswer, settingText } from "./call-answer.js";
import { ExitText } from "./exit-text.js";
import { carriedExit, exitAt, firstAnswer, type RecordedExit } from "./recorded-call.js";
import { counted, hex, plainText, quotedBytes, u64 } from "./value-text.js";

/** One event: columns, and what `--json` prints. */
export interface EventLine {
  /** undefined: the event is in the parent recording. */
  readonly seq: number | undefined;
  /** "exit:4820", or "start" before the first exit. */
  readonly place: string;
  /** Aligned with those of other lines, as far as they go. */
  readonly columns: readonly string[];
  readonly json: Readonly<Record<string, unknown>>;
}

/** Kind of a hot event, as the `event_kinds` table of a recording names it. */
const HOT_NAMES: Readonly<Record<number, string>> = {
  [HotKind.exited]: "Exited",
  [HotKind.exitHandled]: "ExitHandled",
  [HotKind.exitCompleted]: "ExitCompleted",
  [HotKind.outputProduced]: "OutputProduced",
  [HotKind.irqLineSet]: "IrqLineSet",
  [HotKind.digested]: "Digested",
};

export function kindOf(cursor: EventCursor): string {
  return cursor.kind === ROW_EVENT ? cursor.row.kind : (HOT_NAMES[cursor.kind] ?? `kind ${cursor.kind}`);
}

/** Without the architecture's prefix: "SmcccFilterSet". */
export function shortKind(kind: string): string {
  return kind.slice(kind.indexOf(".") + 1);
}

interface Described {
  readonly columns: readonly string[];
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** Formats the events of one recording; must see its exits in order, for what follows them. */
export class EventLines {
  readonly #recording: OpenRecording;
  readonly #exits: ExitText;
  /** No event behind it is looked at: there, a call without an answer is pending. */
  readonly #last: number;
  /** The exit that came with the VM. */
  readonly #carried: RecordedExit | undefined;
  /** Event of the first answer to it. */
  readonly #carriedAnswer: number | undefined;
  /** The last exit seen: answers do not repeat its vCPU and form. */
  #exit: RecordedExit | undefined;
  #isCall = false;

  constructor(recording: OpenRecording, last: number) {
    this.#recording = recording;
    this.#last = last;
    this.#exits = new ExitText(recording);
    this.#carried = carriedExit(recording);
    this.#carriedAnswer = this.#carried && firstAnswer(recording.reader, this.#carried);
  }

  get #vcpu(): number {
    return this.#exit?.frame[ExitWord.vcpu] ?? 0;
  }

  /** An event that gets no line; those behind it may. */
  pass(cursor: EventCursor): void {
    if (cursor.kind === HotKind.exited) this.#note(exitAt(cursor));
  }

  #note(exit: RecordedExit): void {
    this.#exit = exit;
    this.#isCall = this.#exits.isHypercall(exit.frame);
  }

  line(cursor: EventCursor): EventLine {
    const isExit = cursor.kind === HotKind.exited;
    const exitNumber = cursor.exitsBefore + (isExit ? 1 : 0);
    const carried = this.#carried;
    if (!isExit && this.#exit === undefined && carried?.number === exitNumber && carried.icount === cursor.icount)
      this.#note(carried);
    const place = exitNumber === 0 ? "start" : `exit:${exitNumber}`;
    const { columns, fields = {} } = this.#describe(cursor);
    const json = { event: cursor.seq, position: place, kind: kindOf(cursor), icount: cursor.icount, ...fields };
    return { seq: cursor.seq, place, columns, json };
  }

  /** The call that came with the VM and has no answer; undefined: none did, or it has one. */
  pendingLine(): EventLine | undefined {
    const carried = this.#carried;
    if (carried === undefined || !this.#exits.isHypercall(carried.frame)) return undefined;
    const { state } = callAnswer(this.#recording, carried, this.#last);
    if (state !== "pending") return undefined;
    const { columns, fields = {} } = this.#exitLine(carried, "made in the parent recording");
    const place = `exit:${carried.number}`;
    const kind = HOT_NAMES[HotKind.exited];
    return {
      seq: undefined,
      place,
      columns,
      json: { event: null, position: place, kind, icount: carried.icount, ...fields },
    };
  }

  #describe(cursor: EventCursor): Described {
    switch (cursor.kind) {
      case HotKind.exited:
        return this.#exited(cursor);
      case HotKind.exitHandled:
        return this.#answer(u64(cursor.handled), cursor.seq);
      case HotKind.exitCompleted:
        return this.#answer(u64(cursor.completed), cursor.seq);
      case HotKind.outputProduced: {
        const { outputPort: port, outputBytes: bytes } = cursor;
        const name = port === 0 ? "console" : `port ${port}`;
        return { columns: ["", "output", `${name} ${quotedBytes(bytes)}`], fields: { port, bytes: bytes.slice() } };
      }
      case HotKind.irqLineSet: {
        const { line, level } = cursor.irqLine;
        return { columns: ["", "irq", `line ${line} <- ${level}`], fields: { line, level } };
      }
      case HotKind.digested: {
        const sha256 = toHex(cursor.digest);
        return { columns: ["", "digest", `sha256:${sha256}`], fields: { sha256 } };
      }
      case ROW_EVENT:
        return this.#row(cursor.row);
      default:
        return { columns: ["", `kind ${cursor.kind}`] };
    }
  }

  #exited(cursor: EventCursor): Described {
    const made = exitAt(cursor);
    this.#note(made);
    return this.#exitLine(made);
  }

  /** `where`: said beside the answer. */
  #exitLine(made: RecordedExit, where?: string): Described {
    const exits = this.#exits;
    const { frame: exit } = made;
    const fields = this.#exitFields(made);
    const pc = frameU64(exit, ExitWord.pcLow);
    const isBehind = exits.pcPlace(exit) === "behind";
    const name = this.#recording.symbols.name(pc) ?? "";
    return {
      columns: [
        `vcpu${exit[ExitWord.vcpu] ?? 0}`,
        exits.reason(exit),
        exits.longAction(exit),
        exits.answerer(made),
        [fields.answerText === undefined ? "" : `-> ${fields.answerText}`, where ?? "", exits.ruled(exit), name]
          .filter((text) => text !== "")
          .join("  "),
      ],
      fields: {
        ...fields,
        pc,
        pcIs: isBehind ? "behind" : "at",
        symbol: name === "" ? undefined : name,
      },
    };
  }

  #exitFields(made: RecordedExit): { readonly answerText?: string } & Readonly<Record<string, unknown>> {
    const exits = this.#exits;
    const { frame } = made;
    const answer = exits.isHypercall(frame) ? callAnswer(this.#recording, made, this.#last) : undefined;
    const rule = frame[ExitWord.rule] ?? 0;
    return {
      vcpu: frame[ExitWord.vcpu],
      reason: exits.reason(frame),
      action: exits.action(frame),
      kvm: exits.kvmExit(frame),
      finishedBy: frame[ExitWord.finishedBy] === FinishedBy.vmmHalf ? "VMM half" : "kernel half",
      answerer: exits.answerer(made),
      rule: rule === 0 ? undefined : rule,
      ruleAction: exits.ruleAction(frame),
      syndrome: frameU64(frame, ExitWord.syndromeLow),
      args: [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low].map((low) => frameU64(frame, low)),
      call: exits.packedCall(frame)?.fields,
      ...(answer === undefined
        ? {}
        : { answer: Object.fromEntries(answer.registers), answered: answer.state, answerText: answer.text }),
    };
  }

  #answer(value: bigint, seq: number): Described {
    const call = this.#isCall ? this.#exit : undefined;
    const text = call === undefined ? `<- ${hex(value)}` : settingText(this.#given(call));
    return this.#answerLine({ seq, text, vcpu: this.#vcpu, fields: { value } });
  }

  /** What the kernel half gave back in one go: a register's event may stand behind the last one that is looked at. */
  #given(call: RecordedExit): ReadonlyMap<string, bigint> {
    return callAnswer(this.#recording, call, Infinity).registers;
  }

  #answerLine(answer: {
    readonly seq: number;
    readonly text: string;
    readonly vcpu: number;
    readonly fields: Readonly<Record<string, unknown>>;
  }): Described {
    const { seq, text, vcpu, fields } = answer;
    const columns = [`vcpu${vcpu}`, " answer", text];
    const carried = seq === this.#carriedAnswer ? this.#carried : undefined;
    if (carried === undefined) return { columns, fields: { vcpu, ...fields } };
    const { frame } = carried;
    const made = `to ${this.#exits.reason(frame)} ${this.#exits.longAction(frame)}, made in the parent recording`;
    return {
      columns: [...columns, this.#exits.answerer(carried), `${made}  ${this.#exits.ruled(frame)}`.trimEnd()],
      fields: { vcpu, ...fields, exit: this.#exitFields(carried) },
    };
  }

  #row(row: RowEvent): Described {
    const text = this.#returned(row);
    if (text !== undefined)
      return this.#answerLine({ seq: row.seq, text, vcpu: row.vcpu, fields: { payload: row.payload } });
    return {
      columns: [shortKind(row.kind).padEnd(14), this.#rowText(row)],
      fields: { vcpu: row.vcpu < 0 ? undefined : row.vcpu, payload: row.payload },
    };
  }

  /** Registers that are a call's answer. */
  #returned({ kind, payload, vcpu }: RowEvent): string | undefined {
    const { name, value, registers } = payload;
    if (kind === CoreKind.callReturned.name)
      return Object.entries(registers ?? {})
        .map(([register, each]) => `${register} <- ${plainText(each)}`)
        .join(", ");
    const isAnswer = kind === CoreKind.registerSet.name && this.#exit !== undefined && this.#isCall;
    return isAnswer && vcpu === this.#vcpu && typeof value === "bigint"
      ? settingText([[String(name), value]])
      : undefined;
  }

  #rowText(row: RowEvent): string {
    if (isControlKind(this.#recording.architecture, row.kind))
      return describeControl(this.#recording.architecture, row);
    const { payload } = row;
    switch (row.kind) {
      case CoreKind.registerSet.name:
        return `vcpu${row.vcpu} ${String(payload["name"])} <- ${plainText(payload["value"])}`;
      case CoreKind.guestMemoryWritten.name:
        return `${counted(Number(payload["length"]), "byte")} to ${hex(Number(payload["gpa"]))}`;
      case CoreKind.codePatched.name:
        return `${row.vcpu < 0 ? "" : `vcpu${row.vcpu} `}${hex(Number(payload["gpa"]))}  ${plainText(payload["old"])} -> ${plainText(payload["new"])}`;
      case CoreKind.idleEnded.name:
      case CoreKind.hostWaited.name:
        return `until time:${formatGuestTime(Number(payload["untilNs"]))}`;
      case CoreKind.inputReceived.name: {
        const { bytes } = payload;
        return `port ${String(payload["port"])} ${bytes instanceof Uint8Array ? quotedBytes(bytes) : ""}`;
      }
      case CoreKind.snapshotTaken.name:
        return `snapshot:${String(payload["number"])} ${String(payload["kind"])}`;
      case CoreKind.operatorCommanded.name:
        return plainText(payload["command"]);
      case CoreKind.answererChanged.name:
        return `${String(payload["name"] ?? "board default: no handler takes the call")}, from here on`;
      case CoreKind.callFailed.name:
        return String(payload["message"]);
      case CoreKind.failed.name:
        return `at exit:${String(payload["exitNumber"])} by ${String(payload["by"])}`;
      case CoreKind.stopped.name:
        return `${String(payload["what"])} by ${String(payload["by"])}`;
      default:
        return payloadText(payload);
    }
  }
}

function payloadText(payload: EventPayload): string {
  return Object.entries(payload)
    .map(([name, value]) => `${name} ${plainText(value)}`)
    .join(", ");
}

const GAP = "  ";

function headText(seq: number | undefined): string {
  return seq === undefined ? "before" : `event:${seq}`;
}

/** Column widths that fit lines: each at least as wide as before, so that later lines stay aligned with earlier ones. */
export class EventColumns {
  #headWidth = 0;
  #placeWidth = 0;
  readonly #widths: number[] = [];

  fit(lines: readonly EventLine[]): void {
    for (const { seq, place, columns } of lines) {
      this.#headWidth = Math.max(this.#headWidth, headText(seq).length);
      this.#placeWidth = Math.max(this.#placeWidth, place.length);
      // Rows have text of their own where exits have columns.
      if (columns.length < 3) continue;
      columns.forEach((text, index) => {
        this.#widths[index] = Math.max(this.#widths[index] ?? 0, text.length);
      });
    }
  }

  text({ seq, place, columns }: EventLine): string {
    const head = `${headText(seq).padEnd(this.#headWidth)}${GAP}${place.padEnd(this.#placeWidth)}`;
    const cells = columns.map((text, index) => (columns.length < 3 ? text : text.padEnd(this.#widths[index] ?? 0)));
    return `${head}${GAP}${cells.join(GAP)}`.trimEnd();
  }
}
