/**
 * `--fail-on console:/RE/` of a VM that runs. What explains a failure stands behind the text that shows it: the rest of
 * the line, and often a backtrace. So the run goes on to the end of that line, and a little further; how far is guest
 * time, so that every recording of the run ends at the same moment, also where the guest never writes again.
 */
import { CONSOLE_PORT, ConsoleMatcher, type Machine } from "@hvjournal/core";

/** The line has this long to end, in nanoseconds of guest time. */
export const LINE_END_NS = 100e6;
/** And what follows the line has this long. A kernel's backtrace takes a few milliseconds. */
export const AFTERWARDS_NS = 10e6;

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
/** A line without an end is cut here. */
const LINE_BYTES_MAX = 4096;

/** Where the text was complete that shows the failure. */
export interface FailureMoment {
  readonly exitNumber: number;
  readonly guestTimeNs: number;
}

/** Where the guest is as it writes. */
export type GuestClock = Pick<Machine, "exitNumber" | "guestTimeNs">;

export class ConsoleFailure {
  readonly #machine: GuestClock;
  readonly #matcher: ConsoleMatcher;
  #left: number;
  #line: number[] = [];
  #isLineOver = false;
  /** undefined: the guest has not failed. */
  moment: FailureMoment | undefined;
  /** Guest time at which the run stops; undefined: the guest has not failed. */
  stopAtNs: number | undefined;

  constructor(expression: RegExp, occurrence: number, machine: GuestClock) {
    this.#machine = machine;
    this.#matcher = new ConsoleMatcher(expression);
    this.#left = occurrence;
  }

  /** The line that shows the failure, as far as it has been written. */
  get line(): string {
    return Buffer.from(this.#line).toString();
  }

  /** True: when the run stops is known anew. */
  note(port: number, bytes: Uint8Array): boolean {
    if (port !== CONSOLE_PORT) return false;
    const before = this.stopAtNs;
    for (const byte of bytes) this.#push(byte);
    return this.stopAtNs !== before;
  }

  #push(byte: number): void {
    if (this.#isLineOver) return;
    const isText = byte !== LINE_FEED && byte !== CARRIAGE_RETURN;
    if (isText && this.#line.length < LINE_BYTES_MAX) this.#line.push(byte);
    if (this.moment === undefined && this.#matcher.push(byte)) this.#match();
    if (byte !== LINE_FEED) return;
    if (this.moment === undefined) this.#line = [];
    else this.#endLine();
  }

  #match(): void {
    this.#left -= 1;
    if (this.#left > 0) return;
    const { exitNumber, guestTimeNs } = this.#machine;
    this.moment = { exitNumber, guestTimeNs };
    this.stopAtNs = guestTimeNs + LINE_END_NS;
  }

  #endLine(): void {
    this.#isLineOver = true;
    this.stopAtNs = this.#machine.guestTimeNs + AFTERWARDS_NS;
  }
}
