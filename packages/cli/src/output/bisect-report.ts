/** What `bisect` found, as people read it. */
import {
  type BisectMoment,
  type BisectTransition,
  type BisectWhenResult,
  type BisectWriter,
  Evaluator,
  formatGuestTime,
  formatPosition,
  HotKind,
  journalCursor,
  type LastPlaces,
  type Machine,
  MachineEnvironment,
  type ParsedExpression,
} from "@hvjournal/core";
import { hexAddress } from "../symbols/symbols.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { exitSeq, ExitText } from "./exit-text.js";
import { exitAt } from "./recorded-call.js";
import { hex } from "./value-text.js";

const WORD_BYTES_MAX = 8;
const PAGE_MASK = 0xffff_ffff_ffff_f000n;

export function momentLine({ position, icount, guestTimeNs }: BisectMoment): string {
  return `${formatPosition(position)}  icount:${icount} time:${formatGuestTime(guestTimeNs)}`;
}

/** What the expression's first load read at two moments. */
export interface LoadedValue {
  readonly address: bigint;
  readonly before: bigint | undefined;
  readonly after: bigint | undefined;
}

/** What is known of the instruction and of the value when the first moment was found. */
export interface Around {
  readonly value: LoadedValue | undefined;
  /** Where the instruction's function returns to. */
  readonly caller: bigint | undefined;
}

/** The first load of an expression, where it is a word: its address and value now. */
export function loadAt(
  expression: ParsedExpression,
  machine: Machine,
  { symbols }: OpenRecording,
  places: LastPlaces,
): { readonly address: bigint; readonly value: bigint | undefined } | undefined {
  const [load] = expression.loads;
  if (load === undefined || typeof load.bytes !== "number" || load.bytes > WORD_BYTES_MAX) return undefined;
  const environment = new MachineEnvironment(machine, symbols);
  const evaluator = new Evaluator(expression);
  evaluator.places = places.copy();
  const address = evaluator.part(load.address, environment);
  const content =
    address === undefined ? undefined : environment.read(address, load.bytes, load.isPhysical, evaluator.places);
  if (address === undefined) return undefined;
  const value = content?.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { address, value };
}

/** Addresses of its loads that no moment has shown mapped. */
export function neverMapped(
  { loads, ...expression }: ParsedExpression,
  machine: Machine,
  { symbols }: OpenRecording,
  places: LastPlaces,
): bigint[] {
  const evaluator = new Evaluator({ loads, ...expression });
  evaluator.places = places.copy();
  const environment = new MachineEnvironment(machine, symbols);
  return loads.flatMap(({ address: tree, isPhysical }) => {
    const address = isPhysical ? undefined : evaluator.part(tree, environment);
    return address === undefined || places.get(address & PAGE_MASK) !== undefined ? [] : [address];
  });
}

/** "0xffff800009f3a018: 0x51a7 -> 0x0" */
export function valueText({ address, before, after }: LoadedValue): string {
  const text = (value: bigint | undefined): string => (value === undefined ? "not mapped" : hex(value));
  return `${hex(address)}: ${text(before)} -> ${text(after)}`;
}

export class BisectReport {
  readonly #recording: OpenRecording;
  readonly #exits: ExitText;

  constructor(recording: OpenRecording) {
    this.#recording = recording;
    this.#exits = new ExitText(recording);
  }

  /** `machine` stands at the first moment. */
  lines(result: BisectWhenResult, machine: Machine, { value, caller }: Around): string[] {
    const { first, writer } = result;
    if (first === undefined || writer === undefined) return [];
    const lines =
      writer.by === "event"
        ? [`first: ${this.eventText(writer)}`, `  ${momentLine(first)}`]
        : [`first: ${momentLine(first)}`, ...this.#writerLines(writer, machine, caller)];
    // Where it holds for another reason, what was read is no news.
    if (value !== undefined && value.before !== value.after) {
      const last = lines.length > 1 ? lines.splice(1, 1)[0] : "";
      lines.splice(1, 0, `${last ?? ""}      ${valueText(value)}`);
    }
    return lines;
  }

  #writerLines(writer: BisectWriter, machine: Machine, caller: bigint | undefined): string[] {
    switch (writer.by) {
      case "instruction": {
        const { vcpu, pc } = writer;
        const { symbols } = this.#recording;
        const text = symbols.inText(machine.kernel.disassemble(vcpu, pc, 1)[0]?.text ?? "");
        const name = symbols.name(pc);
        return [
          `  ${[hexAddress(pc), name, text].filter((part) => part !== undefined).join("  ")}`,
          ...(caller === undefined ? [] : [`  called from  ${symbols.callerName(caller) ?? hexAddress(caller)}`]),
        ];
      }
      case "exit":
        return [`  ${this.exitText(writer.exitNumber)}`];
      case "answer":
        return [`  the answer to ${this.exitText(writer.exitNumber)}`];
      case "time":
        return ["  while every vCPU waited"];
      case "event":
        return [];
      default:
        return writer satisfies never;
    }
  }

  /** "exit:412  HVC64 0xc4000003 PSCI CPU_ON" */
  exitText(number: number): string {
    const { reader } = this.#recording;
    const seq = exitSeq(reader, number, reader.seekByExit(number + 1).firstSeq + SEARCH_EVENTS);
    const cursor = journalCursor(reader, seq);
    return cursor.kind === HotKind.exited ? `exit:${number}  ${this.#exits.title(cursor.exit)}` : `exit:${number}`;
  }

  /** "event:51011, the answer to exit:22840 (virtio-blk MMIO write ...): DMA of 512 bytes to 0x48000200" */
  eventText({ seq, kind, written }: BisectWriter & { readonly by: "event" }): string {
    const { reader } = this.#recording;
    const { exitsBefore } = journalCursor(reader, seq);
    const cause = exitsBefore === 0 ? "" : `, the answer to ${this.#causeText(seq, exitsBefore)}`;
    const what = written === undefined ? kind : `DMA of ${written.bytes} bytes to ${hex(written.physical)}`;
    return `event:${seq}${cause}: ${what}`;
  }

  #causeText(seq: number, exitNumber: number): string {
    const { reader } = this.#recording;
    const cursor = journalCursor(reader, exitSeq(reader, exitNumber, seq));
    if (cursor.kind !== HotKind.exited) return `exit:${exitNumber}`;
    return `exit:${exitNumber} (${this.#exits.answerer(exitAt(cursor))} ${this.#exits.action(cursor.exit)})`;
  }
}

/** A batch holds at most this many. */
const SEARCH_EVENTS = 1024;

/** Whether it stays so; `--all` lists every change. `isMomentary`: it holds at single moments, each a change of memory. */
export function transitionLines(
  { transitions, isWhole }: Pick<BisectWhenResult, "transitions" | "isWhole">,
  withAll: boolean,
  isMomentary: boolean,
): string[] {
  if (withAll) return allTransitionLines(transitions, isWhole, isMomentary);
  if (isWhole && isMomentary)
    return [
      transitions.length === 1 ? "  and never again" : `  ${transitions.length} changes in all; --all lists them`,
    ];
  if (!isWhole) return ["  not looked at from here on: --all lists every change"];
  const [, second] = transitions;
  if (second === undefined) return ["  holds from here to the end"];
  const back = formatPosition(second.moment.position);
  if (transitions.length === 2) return [`  changes back at ${back}, for good`];
  return [
    `  holds again and again from here: changes back at ${back} (${transitions.length} changes in all; --all lists them)`,
  ];
}

function allTransitionLines(
  transitions: readonly BisectTransition[],
  isWhole: boolean,
  isMomentary: boolean,
): string[] {
  const lines = transitions.map(({ moment, holds, change }) => {
    const word = isMomentary ? "" : holds ? "holds  " : "not    ";
    return `  ${word}${momentLine(moment)}${change === undefined ? "" : `      ${valueText(change)}`}`;
  });
  return isWhole ? lines : [...lines, `  and more: these are the first ${transitions.length}`];
}
