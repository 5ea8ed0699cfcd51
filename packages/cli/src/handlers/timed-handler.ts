/** A handler that has to answer within a time of the host's clock. */
import { HandlerTimeoutError, type HandlerAnswer, type NamedHandler } from "@hvjournal/vmm";
import type { HandlerWatchdog } from "./handler-watchdog.js";

export interface TimeLimit {
  readonly limitMs: number;
  /** As it was given: "10s". */
  readonly text: string;
  readonly watchdog: HandlerWatchdog;
}

/** `index`: its place among the handlers, as the watchdog names it. */
export function timedHandler<Handler extends NamedHandler>(handler: Handler, index: number, limit: TimeLimit): Handler {
  const { watchdog } = limit;
  return {
    ...handler,
    handle(call, vm) {
      watchdog.enter(index, call.nr | 0);
      let answer: HandlerAnswer | Promise<HandlerAnswer>;
      try {
        answer = handler.handle(call, vm);
      } catch (error) {
        watchdog.leave();
        throw error;
      }
      if (!isThenable(answer)) {
        watchdog.leave();
        return answer;
      }
      watchdog.awaits();
      const inTime = within(Promise.resolve(answer), limit);
      // Once its time is up, what keeps the process busy may be a move of the VM: nobody can tell it from the handler.
      void inTime.then(
        () => watchdog.leave(),
        () => watchdog.leave(),
      );
      return inTime;
    },
  };
}

function isThenable(answer: unknown): answer is Promise<HandlerAnswer> {
  return typeof answer === "object" && answer !== null && "then" in answer && typeof answer.then === "function";
}

function within(answer: Promise<HandlerAnswer>, { limitMs, text }: TimeLimit): Promise<HandlerAnswer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new HandlerTimeoutError(`no answer within ${text} (--handler-timeout)`)),
      limitMs,
    );
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
