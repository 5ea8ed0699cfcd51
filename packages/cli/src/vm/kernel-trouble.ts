/**
 * A Linux kernel's last words on the console of a VM that runs. A kernel that panics may reset, as with `panic=-1`, or stand in a
 * loop until the run's time is up: neither end tells why.
 */
import { formatGuestTime } from "@hvjournal/core";
import { momentOfFailure } from "../output/record-report.js";
import { ConsoleFailure, type FailureMoment, type GuestClock } from "./console-failure.js";

/** The oops comes before the panic that it leads to, and is the cause. */
const PANIC = /Kernel panic - not syncing/;
const SIGNS = [/Unable to handle kernel |\bBUG: |\bOops: /, PANIC] as const;

export interface Trouble {
  readonly moment: FailureMoment;
  /** From the words that are looked for to the end of their line. */
  readonly line: string;
}

export class KernelTrouble {
  readonly #signs: readonly { readonly sign: RegExp; readonly failure: ConsoleFailure }[];

  constructor(machine: GuestClock) {
    this.#signs = SIGNS.map((sign) => ({ sign, failure: new ConsoleFailure(sign, 1, machine) }));
  }

  note(port: number, bytes: Uint8Array): void {
    for (const { failure } of this.#signs) failure.note(port, bytes);
  }

  /** In the order in which they came: at most an oops and a panic. */
  get seen(): readonly Trouble[] {
    return this.#signs
      .flatMap(({ sign, failure: { moment, line } }) =>
        moment === undefined ? [] : [{ moment, line: line.slice(sign.exec(line)?.index ?? 0) }],
      )
      .sort((a, b) => a.moment.exitNumber - b.moment.exitNumber);
  }
}

/** "the console has 'Kernel panic - not syncing: VFS: ...' at exit:37829 time:2.807489522s" */
export function troubleText({ line, moment }: Trouble): string {
  return `the console has '${line}' at ${momentOfFailure(moment)}`;
}

/** Of a run that its guest has not ended: a kernel stands in a loop behind its panic. undefined: there was none. */
export function spinningText(seen: readonly Trouble[], { guestTimeNs }: GuestClock): string | undefined {
  const panic = seen.find(({ line }) => PANIC.test(line));
  if (panic === undefined) return undefined;
  const spun = formatGuestTime(guestTimeNs - panic.moment.guestTimeNs);
  return `the kernel has spun since its panic at ${momentOfFailure(panic.moment)}, for ${spun} of guest time: --fail-on 'console:/Kernel panic/' ends a run there, panic=-1 on the kernel's command line resets it`;
}
