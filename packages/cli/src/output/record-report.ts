/** What `record` prints when a run has ended. */
import { CONSOLE_PORT, formatGuestTime, type GuestStop, type Machine } from "@hvjournal/core";
import type { FailureMoment } from "../vm/console-failure.js";
import type { SessionGoal } from "../vm/live-goals.js";
import type { SessionEnd } from "../vm/live-session.js";
import { counted, sizeText } from "./value-text.js";

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
/** A line without an end is cut here. */
const LINE_BYTES_MAX = 4096;
const PANIC = /Kernel panic/;

/** Keeps the console's last line that is not empty. */
export class LastLine {
  #open: number[] = [];
  #whole = "";

  note(port: number, bytes: Uint8Array): void {
    if (port !== CONSOLE_PORT) return;
    for (const byte of bytes) {
      if (byte === LINE_FEED) this.#close();
      else if (byte !== CARRIAGE_RETURN && this.#open.length < LINE_BYTES_MAX) this.#open.push(byte);
    }
  }

  #close(): void {
    if (this.#open.length > 0) this.#whole = Buffer.from(this.#open).toString();
    this.#open = [];
  }

  get text(): string {
    return this.#open.length > 0 ? Buffer.from(this.#open).toString() : this.#whole;
  }
}

/** "exit:30939 icount:919503074 time:1.912s" */
export function momentText({ exitNumber, icount, guestTimeNs }: Machine): string {
  return `exit:${exitNumber} icount:${icount} time:${formatGuestTime(guestTimeNs)}`;
}

export function stopText({ status, ...stop }: GuestStop): string {
  const by = status === undefined ? stop.by : `${stop.by}, status ${status}`;
  return stop.what === "stuck" || stop.what === "waiting" ? `guest can't go on (${by})` : `guest ${stop.what} (${by})`;
}

/** Of an EXPR that says nothing of the guest as a rule: a `!` too many, a time without its unit. */
export function heldFromStartText(source: string): string {
  return `'${source}' held from the start, at the first exit already`;
}

/** Of a guest that waits without a timer. */
export function strandedText(machine: Machine): string {
  const who = machine.description.vcpuCount === 1 ? "vcpu0 waits" : "every vCPU waits";
  const since = `from exit:${machine.exitNumber} on, with no timer armed`;
  return machine.kernel.canBeWoken === false
    ? `${who} for ever ${since} and no interrupt enabled that could come`
    : `${who} ${since}: only input wakes it, such as what is typed`;
}

/** One line: why the run ended, and where. */
export function endText(end: SessionEnd, machine: Machine, lastLine: string): string {
  switch (end.why) {
    case "stopped":
      return `${stopText(end.stop)} at ${momentText(machine)}`;
    case "goal":
      return end.goal.name === "until"
        ? `reached ${end.goal.text} at ${momentText(machine)}`
        : failureText(end.goal, machine, lastLine);
    case "timeout":
      return `ran out of ${end.of === "guest" ? "--timeout" : "--host-timeout"} at ${momentText(machine)}`;
    case "interrupted":
      return `stopped (${end.by}) at ${momentText(machine)}`;
    case "failed":
      return `handler failed at ${momentText(machine)}: ${end.error.message}`;
    case "moved":
      return `moved at ${momentText(machine)}`;
    default:
      return end satisfies never;
  }
}

/** "exit:538 time:0.001478068s" */
export function momentOfFailure({ exitNumber, guestTimeNs }: FailureMoment): string {
  return `exit:${exitNumber} time:${formatGuestTime(guestTimeNs)}`;
}

/** What made it fail is on the console more often than not. */
function failureText({ text, failure }: SessionGoal, machine: Machine, lastLine: string): string {
  const line = failure?.line ?? lastLine;
  const at = momentOfFailure(failure?.moment ?? machine);
  if (PANIC.test(line)) return `guest panicked at ${at}: ${line}`;
  return `guest failed at ${at}: ${failure === undefined ? text : line}`;
}

export interface FileSummary {
  readonly path: string;
  readonly events: number;
  readonly eventBytes: number;
  readonly snapshots: number;
  readonly snapshotBytes: number;
}

/** "boot.hvj: 41310 events in 0.7 MiB, 31 snapshots in 40.2 MiB" */
export function fileText({ path, events, eventBytes, snapshots, snapshotBytes }: FileSummary): string {
  return `${path}: ${counted(events, "event")} in ${sizeText(eventBytes)}, ${counted(snapshots, "snapshot")} in ${sizeText(snapshotBytes)}`;
}
