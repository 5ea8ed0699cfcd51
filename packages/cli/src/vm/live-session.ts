/** Runs a recorder in slices on the host's event loop: console, signals, host time, control connections. */
import type { Goal, GuestStop, Recorder, StepResult } from "@hvjournal/core";
import { HandlerError } from "@hvjournal/vmm";
import type { MovedTo } from "../output/migration-text.js";
import type { SessionGoal } from "./live-goals.js";
import { OpenQuestion } from "./open-question.js";
import { TIMER_MS_MAX } from "../host/timer-limit.js";

/** Units between two looks at the host, adapted to how fast the guest runs: a console answers at once, and little time goes by the look. */
const SLICE_UNITS = { first: 200_000, min: 10_000, max: 16_000_000 } as const;
const SLICE_MS = 20;
/** A guest that waits for so long without a timer is worth a word. */
const STRANDED_MS = 2000;

/** Why a VM stands still whose handler has no answer. */
const HANDLER_FAILED = "handler failed";

/** Why a session came back. */
export type SessionEnd =
  | { readonly why: "stopped"; readonly stop: GuestStop }
  | { readonly why: "goal"; readonly goal: SessionGoal }
  /** `by`: "SIGINT", or what the operator did. */
  | { readonly why: "interrupted"; readonly by: string }
  | { readonly why: "timeout"; readonly of: "guest" | "host" }
  /** A handler has no answer to the exit that waits. */
  | { readonly why: "failed"; readonly error: HandlerError }
  /** `to` undefined: where it went is in doubt. */
  | { readonly why: "moved"; readonly to?: MovedTo };

export interface SessionOptions {
  readonly recorder: Recorder;
  readonly goals: readonly SessionGoal[];
  readonly guestTimeoutNs?: number;
  readonly hostTimeoutMs?: number;
  /** Told at each exit, before it is answered. */
  readonly onExit?: () => void;
  /** Told once, where every vCPU waits with no timer armed: at once if no interrupt could come, else after a while. */
  readonly onStranded?: () => void;
  /** A handler has no answer: "end" ends the session, "pause" leaves the VM paused, and the call is asked again when it goes on. */
  readonly onHandlerError?: (error: HandlerError) => "end" | "pause";
}

/** What is asked of a session from outside, at its next look at the host. */
interface SessionRequest {
  readonly run: () => Promise<void>;
  /** The VM has ended first. */
  readonly cancel: () => void;
}

/** Something that was asked of a VM which has ended meanwhile. */
export class SessionEndedError extends Error {
  override readonly name = "SessionEndedError";
}

/** Why a VM stands still though nobody has asked for it. */
export interface UnaskedPause {
  /** In two words. */
  readonly reason: string;
  /** With all that is known. */
  readonly text: string;
}

/** A moment at which the VM is to be paused. */
interface PauseRequest {
  readonly goal: SessionGoal;
  readonly reached: () => void;
  readonly cancel: () => void;
}

export class LiveSession {
  readonly recorder: Recorder;
  /** Told why the VM pauses where nobody has asked for it. */
  readonly onPausedBy = new Set<(reason: string) => void>();
  /** Told once the VM has ended, or has gone elsewhere. */
  readonly onOver = new Set<() => void>();
  readonly #options: SessionOptions;
  readonly #requests: SessionRequest[] = [];
  #end: SessionEnd | undefined;
  #reached: SessionGoal | undefined;
  /** The goal whose failure has shown on the console. */
  #failing: SessionGoal | undefined;
  /** A failure has shown, or its line has ended: the step that is under way does not know when to stop. */
  #stopsElsewhere = false;
  #paused = false;
  #pausedBy: UnaskedPause | undefined;
  #duty = 1;
  #behind: () => Promise<void> | undefined = () => undefined;
  #isOver = false;
  #isStranded = false;
  #pauses: PauseRequest[] = [];
  #wakeHost: (() => void) | undefined;
  /** The step that is under way waits for a handler. */
  #question: OpenQuestion | undefined;
  #sliceUnits: number = SLICE_UNITS.first;
  /** icount of goals that count from an exit's answer, once it has been given. */
  readonly #targets = new Map<SessionGoal, number>();

  constructor(options: SessionOptions) {
    this.recorder = options.recorder;
    this.#options = options;
    options.recorder.onOutput((port, bytes) => {
      for (const goal of this.#goals) {
        if (goal.afterOutput?.(port, bytes) === true) this.#note(goal);
        if (goal.failure?.note(port, bytes) === true) this.#noteFailure(goal);
      }
    });
  }

  /** What is reached at the same moment as something else counts by the order of the goals. */
  #note(goal: SessionGoal): void {
    const goals = this.#goals;
    if (!goals.includes(goal)) return;
    if (this.#reached === undefined || goals.indexOf(goal) < goals.indexOf(this.#reached)) this.#reached = goal;
  }

  /** From now on nothing but what explains the failure is waited for. */
  #noteFailure(goal: SessionGoal): void {
    this.#failing ??= goal;
    this.#stopsElsewhere = true;
    if (this.#reached?.name === "until") this.#reached = undefined;
  }

  get #goals(): readonly SessionGoal[] {
    const goals = this.#failing === undefined ? this.#options.goals : [this.#failing];
    return this.#pauses.length === 0 ? goals : [...goals, ...this.#pauses.map(({ goal }) => goal)];
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Why it is paused, where nobody has asked for it. */
  get pausedBy(): UnaskedPause | undefined {
    return this.#paused ? this.#pausedBy : undefined;
  }

  /** The VM has ended, or has gone elsewhere. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** The guest gets this share of the host's time; it can't tell. */
  slowTo(duty: number): void {
    this.#duty = duty;
  }

  /** The guest does not run on while `behind` gives a promise that is not kept; it can't tell. */
  holdBackBy(behind: () => Promise<void> | undefined): void {
    this.#behind = behind;
  }

  /** Ends the session at the next boundary. */
  stop(end: SessionEnd): void {
    this.#end ??= end;
    this.#interrupt();
  }

  pause(): void {
    this.#paused = true;
    this.#interrupt();
  }

  /** Something is wanted of the VM: neither an idle guest nor a handler's answer is waited for. */
  #interrupt(): void {
    this.#wakeHost?.();
    this.#question?.interrupt();
  }

  resume(): void {
    this.#paused = false;
    this.#pausedBy = undefined;
    this.#wakeHost?.();
  }

  /** Carries out a request between two slices. Rejects with SessionEndedError when none comes any more. */
  request<Result>(act: () => Result | Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const cancel = (): void => reject(new SessionEndedError("the VM has ended"));
      if (this.#isOver) return cancel();
      this.#requests.push({ run: () => Promise.resolve().then(act).then(resolve, reject), cancel });
      this.#interrupt();
    });
  }

  /** As `request`, of what the VM need not stand still for: a handler's answer is waited for on, unless it has begun to act. */
  requestBeside<Result>(act: () => Result): Promise<Result> {
    if (this.#requests.length > 0 || !this.recorder.isAsking) return this.request(act);
    return new Promise((resolve) => resolve(this.recorder.actBeside(act)));
  }

  /**
   * Stands still, and says so in the recording; at a moment that lies ahead, or now. Does not once `signal` says that
   * nobody waits for it any more.
   */
  async pauseAt(goal: SessionGoal | undefined, signal?: AbortSignal): Promise<void> {
    if (goal === undefined) return this.request(() => this.pauseNow());
    return new Promise((resolve, reject) => {
      const cancel = (): void => reject(new SessionEndedError(`the VM has ended before ${goal.text}`));
      if (this.#isOver) return cancel();
      const pause: PauseRequest = { goal, reached: resolve, cancel };
      this.#pauses.push(pause);
      signal?.addEventListener("abort", () => {
        this.#pauses = this.#pauses.filter((each) => each !== pause);
        reject(new SessionEndedError(`nobody waits for ${goal.text} any more`));
      });
      // A step that is under way does not know of it; one that waits for a handler looks once it has the answer.
      if (this.#question !== undefined) this.#stopsElsewhere = true;
      this.#wakeHost?.();
    });
  }

  /** Between two slices, or before the first. */
  pauseNow(): void {
    if (!this.#paused) this.recorder.pause();
    this.#paused = true;
  }

  /** Bytes typed on the console. */
  type(bytes: Uint8Array): void {
    this.recorder.enqueue({ port: 0, bytes });
    this.#wakeHost?.();
  }

  async run(): Promise<SessionEnd> {
    const { hostTimeoutMs = Infinity } = this.#options;
    const timer =
      hostTimeoutMs > TIMER_MS_MAX
        ? undefined
        : setTimeout(() => this.stop({ why: "timeout", of: "host" }), hostTimeoutMs);
    try {
      for (;;) {
        await this.#serveRequests();
        if (this.#end !== undefined) return this.#end;
        if (this.#paused) {
          await this.#waitForHost(undefined);
          continue;
        }
        const caughtUp = this.#behind();
        if (caughtUp !== undefined) {
          await Promise.race([caughtUp, this.#waitForHost(undefined)]);
          continue;
        }
        const end = await this.#slice();
        if (end !== undefined) return end;
        await nextTurn();
      }
    } finally {
      clearTimeout(timer);
      this.#isOver = true;
      for (const { cancel } of [...this.#requests.splice(0), ...this.#pauses.splice(0)]) cancel();
      for (const listener of this.onOver) listener();
    }
  }

  async #serveRequests(): Promise<void> {
    for (let request = this.#requests.shift(); request !== undefined; request = this.#requests.shift()) {
      await request.run();
      if (this.recorder.isFinished) this.#end = { why: "moved" };
    }
  }

  async #slice(): Promise<SessionEnd | undefined> {
    const startedAt = performance.now();
    let result: StepResult;
    try {
      result = await this.#step();
    } catch (error) {
      if (error instanceof HandlerError) return this.#handlerFailed(error);
      throw error;
    }
    if (result.why === "slice") this.#adaptSlice(performance.now() - startedAt);
    const reached = this.#reachedGoal(result);
    if (result.why === "stopped" && reached === undefined) return { why: "stopped", stop: result.stop };
    if (reached !== undefined && !this.#takePause(reached)) return { why: "goal", goal: reached };
    if (this.#duty < 1 && result.why === "slice") {
      const restMs = (performance.now() - startedAt) * (1 / this.#duty - 1);
      await this.#waitForHost(restMs);
    }
    if (this.#isTimedOut) return { why: "timeout", of: "guest" };
    if (result.why === "waiting") await this.#idle(result.wakeAtNs);
    return undefined;
  }

  async #step(): Promise<StepResult> {
    const result = this.recorder.step({ units: this.#sliceUnits, goal: this.#goal() });
    if (!(result instanceof Promise)) return result;
    const question = new OpenQuestion(this.recorder);
    this.#question = question;
    try {
      return await result;
    } finally {
      question.close();
      this.#question = undefined;
    }
  }

  #handlerFailed(error: HandlerError): SessionEnd | undefined {
    if (error.code === "handler-withdrawn") {
      // What was asked of the VM finds it standing at the call, which is put again when it goes on.
      this.recorder.standStill();
      return undefined;
    }
    this.recorder.noteFailedCall({ by: error.handler, code: error.code, message: error.message });
    if (this.#options.onHandlerError?.(error) === "end") return { why: "failed", error };
    this.pauseNow();
    this.#pausedBy = { reason: HANDLER_FAILED, text: `${HANDLER_FAILED}: ${error.message}` };
    for (const listener of this.onPausedBy) listener(this.#pausedBy.text);
    return undefined;
  }

  /** A guest may well wait for somebody to type, and still people want to know that it does nothing else. */
  #watchForStranded(): NodeJS.Timeout | undefined {
    const { onStranded } = this.#options;
    if (this.#isStranded || onStranded === undefined) return undefined;
    const tell = (): void => {
      this.#isStranded = true;
      onStranded();
    };
    const { canBeWoken = true } = this.recorder.machine.kernel;
    if (canBeWoken) return setTimeout(tell, STRANDED_MS);
    tell();
    return undefined;
  }

  /** Whether the goal was to pause; then the VM is paused. */
  #takePause(goal: SessionGoal): boolean {
    const index = this.#pauses.findIndex((each) => each.goal === goal);
    const [pause] = index < 0 ? [] : this.#pauses.splice(index, 1);
    if (pause === undefined) return false;
    this.#reached = undefined;
    this.pauseNow();
    pause.reached();
    return true;
  }

  /** Where a slice ends is invisible to the guest. */
  #adaptSlice(milliseconds: number): void {
    const wanted = milliseconds < SLICE_MS / 2 ? 2 : milliseconds > SLICE_MS * 2 ? 0.5 : 1;
    this.#sliceUnits = Math.min(SLICE_UNITS.max, Math.max(SLICE_UNITS.min, Math.round(this.#sliceUnits * wanted)));
  }

  /** The nearest of all goals; which one it was is asked afterwards. */
  #goal(): Goal {
    const { onExit } = this.#options;
    const goals = this.#goals;
    const icount = least(goals.map((goal) => goal.icount ?? this.#targets.get(goal)));
    const guestTimeNs = this.#stopNs;
    const asked = goals.filter((goal) => goal.atExit !== undefined);
    return {
      ...(icount === Infinity ? {} : { icount }),
      ...(guestTimeNs === Infinity ? {} : { guestTimeNs }),
      ...(asked.length === 0 && onExit === undefined ? {} : { atExit: () => this.#askAtExit(asked) }),
      requested: () =>
        this.#notesStop() || this.#notesTarget() || this.#reached !== undefined || this.#end !== undefined,
    };
  }

  /** Guest time at which the run stops at the latest, idle or not. */
  get #stopNs(): number {
    const { guestTimeoutNs } = this.#options;
    return least([...this.#goals.map((goal) => goal.guestTimeNs ?? goal.failure?.stopAtNs), guestTimeoutNs]);
  }

  /** Whether the step must end so that the next one stops where the failure says. */
  #notesStop(): boolean {
    const isNew = this.#stopsElsewhere;
    this.#stopsElsewhere = false;
    return isNew;
  }

  /** Whether an exit has just been answered from which a goal counts: the step ends, and the next one knows its icount. */
  #notesTarget(): boolean {
    const { machine } = this.recorder;
    let isNew = false;
    for (const goal of this.#goals) {
      if (goal.behindExit?.number !== machine.exitNumber || this.#targets.has(goal)) continue;
      this.#targets.set(goal, machine.answeredIcount + goal.behindExit.units);
      isNew = true;
    }
    return isNew;
  }

  #askAtExit(goals: readonly SessionGoal[]): boolean {
    this.#options.onExit?.();
    // Each goal is asked: those that count must see every exit.
    for (const goal of goals) if (goal.atExit?.() === true) this.#note(goal);
    return this.#reached !== undefined;
  }

  #reachedGoal(result: StepResult): SessionGoal | undefined {
    const reached = this.#reached ?? (result.why === "goal" ? this.#timedGoal() : undefined);
    if (this.#failing === undefined || reached !== undefined) return reached;
    // Whatever ends the run behind a failure: it has failed.
    return result.why === "stopped" || this.#isTimedOut ? this.#failing : undefined;
  }

  /** The goal whose icount or time has come. */
  #timedGoal(): SessionGoal | undefined {
    const { machine } = this.recorder;
    return this.#goals.find(
      (goal) =>
        machine.guestTimeNs >= (goal.guestTimeNs ?? goal.failure?.stopAtNs ?? Infinity) ||
        machine.icount >= (goal.icount ?? this.#targets.get(goal) ?? Infinity),
    );
  }

  get #isTimedOut(): boolean {
    return this.recorder.machine.guestTimeNs >= (this.#options.guestTimeoutNs ?? Infinity);
  }

  /** The host waits in the idle guest's stead, at the guest's pace. */
  async #idle(wakeAtNs: number | undefined): Promise<void> {
    const { machine } = this.recorder;
    const startedNs = machine.guestTimeNs;
    const startedAt = process.hrtime.bigint();
    const wakeNs = wakeAtNs ?? Infinity;
    const untilNs = Math.min(wakeNs, this.#stopNs);
    const watch = wakeAtNs === undefined ? this.#watchForStranded() : undefined;
    const why = await this.#waitForHost(untilNs === Infinity ? undefined : (untilNs - startedNs) / 1e6).finally(() =>
      clearTimeout(watch),
    );
    if (why === "time" && untilNs === wakeNs) {
      this.recorder.wake(wakeNs);
      return;
    }
    const waitedNs = why === "time" ? untilNs : startedNs + Number(process.hrtime.bigint() - startedAt);
    this.recorder.endWait(Math.min(waitedNs, wakeNs - 1));
  }

  async #waitForHost(milliseconds: number | undefined): Promise<"time" | "host"> {
    if (this.#requests.length > 0 || this.#end !== undefined) return "host";
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(() => finish("time"), milliseconds);
      const finish = (why: "time" | "host"): void => {
        clearTimeout(timer);
        this.#wakeHost = undefined;
        resolve(why);
      };
      this.#wakeHost = () => finish("host");
    });
  }
}

function least(values: readonly (number | undefined)[]): number {
  return Math.min(Infinity, ...values.filter((value) => value !== undefined));
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
