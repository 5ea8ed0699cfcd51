/** A handler that has to answer within a time of the host's clock, and whose answer may be given up before. */
import { HandlerTimeoutError, HandlerWithdrawnError, type NamedHandler } from "@hvjournal/vmm";
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
  const giveUp = new Set<(why: Error) => void>();
  return {
    ...handler,
    withdraw() {
      for (const reject of giveUp) reject(new HandlerWithdrawnError("the VM was asked for something else meanwhile"));
    },
    handle(call, vm, number) {
      watchdog.enter(index, number | 0);
      let answer: unknown;
      try {
        answer = handler.handle(call, vm, number);
      } catch (error) {
        watchdog.leave();
        throw error;
      }
      if (!isThenable(answer)) {
        watchdog.leave();
        return answer;
      }
      watchdog.awaits();
      const inTime = within(Promise.resolve(answer), limit, giveUp);
      // Once its time is up, what keeps the process busy may be a move of the VM: nobody can tell it from the handler.
      void inTime.then(
        () => watchdog.leave(),
        () => watchdog.leave(),
      );
      return inTime;
    },
  };
}

function isThenable(answer: unknown): answer is Promise<unknown> {
  return typeof answer === "object" && answer !== null && "then" in answer && typeof answer.then === "function";
}

/** `giveUp` holds what rejects the promise for as long as that is open. */
function within(
  answer: Promise<unknown>,
  { limitMs, text }: TimeLimit,
  giveUp: Set<(why: Error) => void>,
): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  let rejectIt = (_why: Error): void => undefined;
  const inTime = new Promise<unknown>((resolve, reject) => {
    const tooLate = new HandlerTimeoutError(`no answer within ${text} (--handler-timeout)`);
    timer = setTimeout(() => reject(tooLate), limitMs);
    rejectIt = reject;
    giveUp.add(reject);
    answer.then(resolve, reject);
  });
  return inTime.finally(() => {
    clearTimeout(timer);
    giveUp.delete(rejectIt);
  });
}
