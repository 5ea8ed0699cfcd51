/** A pager as git starts one: $PAGER, else less, which leaves at once when all fits on one screen. */
import { spawn } from "node:child_process";

export interface Pager {
  write(content: string | Uint8Array): void;
  /** False: it was left. */
  flush(): Promise<boolean>;
  /** Waits until the reader has left it. */
  end(): Promise<void>;
}

/** undefined: none is wanted. */
export function pagerCommand(environment: Readonly<Record<string, string | undefined>>): string | undefined {
  const command = environment["PAGER"] ?? "less";
  return command === "" || command === "cat" ? undefined : command;
}

/** Colours pass through, a single screen ends it, and the text stays. */
const LESS_DEFAULTS = "FRX";

export function openPager(command: string, environment: NodeJS.ProcessEnv): Pager {
  const child = spawn(command, {
    shell: true,
    stdio: ["pipe", "inherit", "inherit"],
    env: { LESS: LESS_DEFAULTS, ...environment },
  });
  let isOpen = true;
  const left = new Promise<void>((resolve) => {
    const close = (): void => {
      isOpen = false;
      resolve();
    };
    child.once("error", close);
    child.once("close", close);
    // A reader that leaves early closes the pipe.
    child.stdin.on("error", () => {
      isOpen = false;
    });
  });
  // C-c is for the pager, which ends with it when it wants to.
  const ignore = (): void => undefined;
  process.on("SIGINT", ignore);
  return {
    write(content) {
      if (isOpen) child.stdin.write(content);
    },
    async flush() {
      if (isOpen && child.stdin.writableNeedDrain)
        await Promise.race([left, new Promise<void>((resolve) => child.stdin.once("drain", resolve))]);
      return isOpen;
    },
    async end() {
      if (isOpen) child.stdin.end();
      await left;
      process.off("SIGINT", ignore);
    },
  };
}
