/** Events as lines of `log`, as perf script prints them. */
import {
  CoreKind,
  describeControl,
  type EventCursor,
  type EventPayload,
  type ExitFrame,
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
import { displayOf } from "../architectures.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { callAnswer } from "./call-answer.js";
import { ExitText } from "./exit-text.js";
import { counted, hex, plainText, quotedBytes, u64 } from "./value-text.js";

/** One event: columns, and what `--json` prints. */
export interface EventLine {
  readonly seq: number;
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
  readonly #resultRegister: string;
  /** No event behind it is looked at: there, a call without an answer is pending. */
  readonly #last: number;
  /** The vCPU and form of the last exit seen: answers do not repeat them. */
  #vcpu = 0;
  #isCall = false;
  #hasExited = false;

  constructor(recording: OpenRecording, last: number) {
    this.#recording = recording;
    this.#last = last;
    this.#exits = new ExitText(recording);
    this.#resultRegister = displayOf(recording.architecture).resultRegister;
  }

  /** An event that gets no line; those behind it may. */
  pass({ kind, exit }: EventCursor): void {
    if (kind === HotKind.exited) this.#note(exit);
  }

  #note(exit: ExitFrame): void {
    this.#vcpu = exit[ExitWord.vcpu] ?? 0;
    this.#isCall = this.#exits.isHypercall(exit);
    this.#hasExited = true;
  }

  line(cursor: EventCursor): EventLine {
    const isExit = cursor.kind === HotKind.exited;
    const exitNumber = cursor.exitsBefore + (isExit ? 1 : 0);
    const place = exitNumber === 0 ? "start" : `exit:${exitNumber}`;
    const { columns, fields = {} } = this.#describe(cursor);
    const json = { event: cursor.seq, position: place, kind: kindOf(cursor), icount: cursor.icount, ...fields };
    return { seq: cursor.seq, place, columns, json };
  }

  #describe(cursor: EventCursor): Described {
    switch (cursor.kind) {
      case HotKind.exited:
        return this.#exited(cursor);
      case HotKind.exitHandled:
        return this.#answer(u64(cursor.handled));
      case HotKind.exitCompleted:
        return this.#answer(u64(cursor.completed));
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

  #exited({ exit, seq }: EventCursor): Described {
    const exits = this.#exits;
    this.#note(exit);
    const answer = this.#isCall ? callAnswer(this.#recording, seq, this.#last) : undefined;
    const pc = frameU64(exit, ExitWord.pcLow);
    const decision = exits.decision(exit);
    const rule = decision === undefined ? "" : `filter event:${decision.seq}`;
    const isBehind = exits.pcPlace(exit) === "behind";
    const name = this.#recording.symbols.name(pc) ?? "";
    return {
      columns: [
        `vcpu${this.#vcpu}`,
        exits.reason(exit),
        exits.longAction(exit),
        exits.answerer(exit),
        [answer === undefined ? "" : `-> ${answer.text}`, rule, name].filter((text) => text !== "").join("  "),
      ],
      fields: {
        vcpu: this.#vcpu,
        reason: exits.reason(exit),
        action: exits.action(exit),
        kvm: exits.kvmExit(exit),
        finishedBy: exit[ExitWord.finishedBy] === FinishedBy.vmmHalf ? "VMM half" : "kernel half",
        answerer: exits.answerer(exit),
        rule: decision?.seq,
        pc,
        pcIs: isBehind ? "behind" : "at",
        symbol: name === "" ? undefined : name,
        syndrome: frameU64(exit, ExitWord.syndromeLow),
        args: [ExitWord.arg0Low, ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low].map((low) =>
          frameU64(exit, low),
        ),
        ...(answer === undefined
          ? {}
          : { answer: Object.fromEntries(answer.registers), answered: answer.state, answerText: answer.text }),
      },
    };
  }

  #answer(value: bigint): Described {
    const into = this.#isCall ? `${this.#resultRegister} ` : "";
    return {
      columns: [`vcpu${this.#vcpu}`, " answer", `${into}<- ${hex(value)}`],
      fields: { vcpu: this.#vcpu, value },
    };
  }

  #row(row: RowEvent): Described {
    const returned = this.#returned(row);
    if (returned !== undefined)
      return {
        columns: [`vcpu${row.vcpu}`, " answer", returned],
        fields: { vcpu: row.vcpu, payload: row.payload },
      };
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
    const isAnswer = kind === CoreKind.registerSet.name && this.#hasExited && this.#isCall && vcpu === this.#vcpu;
    return isAnswer ? `${String(name)} <- ${plainText(value)}` : undefined;
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

/** Column widths that fit lines: each at least as wide as before, so that later lines stay aligned with earlier ones. */
export class EventColumns {
  #seqWidth = 0;
  #placeWidth = 0;
  readonly #widths: number[] = [];

  fit(lines: readonly EventLine[]): void {
    for (const { seq, place, columns } of lines) {
      this.#seqWidth = Math.max(this.#seqWidth, String(seq).length);
      this.#placeWidth = Math.max(this.#placeWidth, place.length);
      // Rows have text of their own where exits have columns.
      if (columns.length < 3) continue;
      columns.forEach((text, index) => {
        this.#widths[index] = Math.max(this.#widths[index] ?? 0, text.length);
      });
    }
  }

  text({ seq, place, columns }: EventLine): string {
    const head = `${`event:${seq}`.padEnd(this.#seqWidth + "event:".length)}${GAP}${place.padEnd(this.#placeWidth)}`;
    const cells = columns.map((text, index) => (columns.length < 3 ? text : text.padEnd(this.#widths[index] ?? 0)));
    return `${head}${GAP}${cells.join(GAP)}`.trimEnd();
  }
}
