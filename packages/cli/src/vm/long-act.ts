/**
 * A long act over a recording. It says now and then how far it has come, and a signal ends it between two slices: the host's
 * events are looked at only while nothing runs.
 */
import { type AdvanceResult, type Goal, type LiveVm, type Machine, type Replayer, seek } from "@hvjournal/core";
import { HandlerError } from "@hvjournal/vmm";
import { CliError, interrupted } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import { StoppingSignals } from "../host/stopping-signals.js";
import { TIMER_MS_MAX } from "../host/timer-limit.js";
import type { Output } from "../output/console-output.js";
import { Progress } from "../output/progress.js";

/** How long a signal may wait, in milliseconds. */
const SLICE_MS = 100;

/** How far an act has come. */
export type Reached = Pick<Machine, "exitNumber" | "icount">;

export interface LongActOptions {
  /** "replaying vm.hvj" */
  readonly act: string;
  /** icount at which it will end; 0 where that is not known. */
  readonly total: number;
  readonly output: Output;
  /** `--host-timeout`, where it was given, in milliseconds: it ends with status 124. */
  readonly hostTimeoutMs?: number | undefined;
}

export class LongAct {
  readonly #act: string;
  readonly #progress: Progress;
  readonly #signals = new StoppingSignals();
  readonly #hostTimeoutMs: number;
  #turnedAt = performance.now();
  #isTimeUp = false;

  constructor({ act, total, output, hostTimeoutMs = Infinity }: LongActOptions) {
    this.#hostTimeoutMs = hostTimeoutMs;
    this.#act = act;
    this.#progress = new Progress(output, act, total);
  }

  close(): void {
    this.#signals.close();
  }

  get elapsedMs(): number {
    return this.#progress.elapsedMs;
  }

  /** The host's events have waited long enough. */
  get isTurnDue(): boolean {
    return performance.now() - this.#turnedAt >= SLICE_MS;
  }

  /**
   * Says how far it is, and lets the host's events in; `reached` is undefined where it is at no moment of the run. Throws
   * CliError where one of them, or the host's time, ends the act.
   */
  async turn(reached?: Reached): Promise<void> {
    this.#progress.at(reached?.icount);
    await new Promise((resolve) => setImmediate(resolve));
    this.#turnedAt = performance.now();
    this.#checkGoesOn(reached);
  }

  /** Throws CliError where a signal, or the host's time, has ended the act. */
  #checkGoesOn(reached?: Reached): void {
    if (this.#signals.name !== undefined) throw interrupted(this.#act, this.#signals.name, placeOf(reached));
    if (this.#isTimeUp || this.elapsedMs >= this.#hostTimeoutMs) throw outOfHostTime(this.#act, placeOf(reached));
  }

  /**
   * For a run whose handlers may promise an answer, and never give it: what ends the act withdraws the question. Rejects as
   * `turn` does then, else as `run`.
   */
  async asking<Result>({ machine, vmm }: LiveVm, run: () => Promise<Result>): Promise<Result> {
    const { left } = this.#signals;
    let insisting: NodeJS.Timeout | undefined;
    const withdraw = (): void => {
      vmm.withdraw?.();
      // The run may have had its answer just before, and ask the next question.
      insisting ??= setInterval(withdraw, SLICE_MS);
    };
    const timer = this.#whenTimeIsUp(withdraw);
    left.addEventListener("abort", withdraw);
    try {
      return await run();
    } catch (error) {
      if (error instanceof HandlerError && error.code === "handler-withdrawn") this.#checkGoesOn(machine);
      throw error;
    } finally {
      left.removeEventListener("abort", withdraw);
      clearTimeout(timer);
      clearInterval(insisting);
    }
  }

  #whenTimeIsUp(then: () => void): NodeJS.Timeout | undefined {
    const leftMs = this.#hostTimeoutMs - this.elapsedMs;
    if (leftMs > TIMER_MS_MAX) return undefined;
    return setTimeout(() => {
      this.#isTimeUp = true;
      then();
    }, leftMs);
  }

  /** To its end, or to a signal, which leaves it by `return`. */
  async run<Result>(steps: Generator<Reached | undefined, Result, void>): Promise<Result> {
    let isDone = false;
    try {
      for (;;) {
        const step = steps.next();
        isDone = step.done === true;
        if (step.done === true) return step.value;
        if (this.isTurnDue) await this.turn(step.value);
      }
    } finally {
      if (!isDone) steps.return(undefined as never);
    }
  }

  /** For what the host takes long for: `begin` gets what is aborted by a signal, and then closes what it has opened. */
  async wait<Result>(begin: (left: AbortSignal) => Promise<Result>): Promise<Result> {
    const { left } = this.#signals;
    const signalled = new Promise<void>((resolve) => left.addEventListener("abort", () => resolve()));
    const event = begin(left);
    await Promise.race([event, signalled]);
    if (this.#signals.name !== undefined) throw interrupted(this.#act, this.#signals.name);
    return event;
  }

  /** As core's `seek`. */
  async seek(replayer: Replayer, goal: Goal): Promise<AdvanceResult> {
    return this.#slices(replayer, goal, (slice) => seek(replayer, slice));
  }

  /** As `Replayer.advance`. */
  async advance(replayer: Replayer, goal: Goal): Promise<AdvanceResult> {
    return this.#slices(replayer, goal, (slice) => replayer.advance(slice));
  }

  async #slices(replayer: Replayer, goal: Goal, begin: (slice: Goal) => AdvanceResult): Promise<AdvanceResult> {
    let isCut = false;
    const requested = (): boolean => (isCut = this.isTurnDue);
    const slice = { ...goal, requested };
    let result = begin(slice);
    while (isCut && result === "reached") {
      await this.turn(replayer.machine);
      isCut = false;
      result = replayer.advance(slice);
    }
    return result;
  }
}

interface PlaceReached {
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function placeOf(reached: Reached | undefined): PlaceReached {
  const text = reached === undefined ? "" : ` at exit:${reached.exitNumber} icount:${reached.icount}`;
  return { text, fields: { exit: reached?.exitNumber, icount: reached?.icount } };
}

function outOfHostTime(act: string, { text, fields }: PlaceReached): CliError {
  return new CliError(`${act}: ran out of --host-timeout${text}`, {
    code: "timeout",
    status: ExitStatus.timeout,
    fields,
  });
}

/** Closes it again, whatever happens. */
export async function withLongAct<Result>(
  options: LongActOptions,
  use: (act: LongAct) => Promise<Result>,
): Promise<Result> {
  const act = new LongAct(options);
  try {
    return await use(act);
  } finally {
    act.close();
  }
}
