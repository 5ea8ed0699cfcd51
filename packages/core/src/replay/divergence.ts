/** The first place where a re-run differs from its recording. */
import { EXIT_WORD_COUNT, ExitWord, type ExitFrame } from "../event/exit-frame.js";

/**
 * What kind of thing differs first, which says where to look:
 * - `timing`: the same exit, at another icount; an interrupt, a timer or a schedule came at another time.
 * - `interrupt`: one side took another exit where the other went on or took this one.
 * - `guest data`: the same exit at the same place with other data; memory or registers differed before.
 * - `configuration`: another rule or another half finished it.
 * - `vmm half`: the VMM half gave another answer (verify only).
 * - `state`: nothing visible differs, but the digest does.
 * - `end`: one side goes on where the other ends.
 */
export type DivergenceCause = "timing" | "interrupt" | "guest data" | "configuration" | "vmm half" | "state" | "end";

export interface DivergencePlace {
  /** The recorded event that does not fit. */
  readonly seq: number;
  /** Exits that have occurred, this one included where it is an exit. */
  readonly exitNumber: number;
  readonly icount: number;
  readonly vcpu: number;
  readonly pc: bigint;
}

export interface DivergenceReport {
  readonly place: DivergencePlace;
  /** The event as recorded and as it came, each in one line. */
  readonly recorded: string;
  readonly replayed: string;
  readonly cause: DivergenceCause;
  /** The last digest that was equal. */
  readonly lastEqualDigest: { readonly seq: number; readonly icount: number } | undefined;
  /** What is known to differ: registers, state sections, fields of the exit, pages by address. */
  readonly differences: readonly string[];
  readonly recordedRevision: number;
  readonly replayedRevision: number;
}

export class DivergenceError extends Error {
  override readonly name = "DivergenceError";
  readonly report: DivergenceReport;
  constructor(report: DivergenceReport) {
    const { place, recorded, replayed } = report;
    super(
      `replay diverged at ${place.exitNumber === 0 ? "start" : `exit:${place.exitNumber}`} (event:${place.seq}, vcpu${place.vcpu}, icount:${place.icount}, pc ${place.pc.toString(16).padStart(16, "0")}): recorded ${recorded}, replayed ${replayed}`,
    );
    this.report = report;
  }
}

const WORD_NAMES = Object.entries(ExitWord).toSorted(([, a], [, b]) => a - b);

function firstDifference(a: ExitFrame, b: ExitFrame): number {
  for (let word = 0; word < EXIT_WORD_COUNT; word++) if (a[word] !== b[word]) return word;
  return -1;
}

export function sameExit(a: ExitFrame, b: ExitFrame): boolean {
  return firstDifference(a, b) < 0;
}

/** The words of an exit that differ, by name, recorded against replayed. */
export function exitDifferences(recorded: ExitFrame, replayed: ExitFrame): string[] {
  return WORD_NAMES.filter(([, word]) => recorded[word] !== replayed[word]).map(
    ([name, word]) => `${name} 0x${(recorded[word] ?? 0).toString(16)} -> 0x${(replayed[word] ?? 0).toString(16)}`,
  );
}

export function exitCause(recorded: ExitFrame, replayed: ExitFrame, sameIcount: boolean): DivergenceCause {
  if (recorded[ExitWord.reason] !== replayed[ExitWord.reason] || recorded[ExitWord.vcpu] !== replayed[ExitWord.vcpu])
    return "interrupt";
  const first = firstDifference(recorded, replayed);
  if (first < 0) return sameIcount ? "state" : "timing";
  return first === ExitWord.finishedBy || first === ExitWord.kvmExit || first === ExitWord.rule
    ? "configuration"
    : "guest data";
}
