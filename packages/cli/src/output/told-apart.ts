/** What tells two exits apart whose titles are the same: a vCPU, or arguments that a title has no room for. */
import { type ExitFrame, ExitWord, frameU64, type RecordedExit } from "@hvjournal/core";
import { hex } from "./value-text.js";

const ARGUMENT_WORDS = [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low];

/**
 * `names`: of the arguments behind the first. Gives what to add to each title, such as "vcpu1 x2=0x0"; undefined: the guest
 * asked for the same.
 */
export function toldApart(
  a: RecordedExit,
  b: RecordedExit,
  names: readonly string[],
): readonly [string, string] | undefined {
  const parts = [partsOf(a.frame, names), partsOf(b.frame, names)] as const;
  const differing = parts[0].flatMap((part, index) => (part === parts[1][index] ? [] : [index]));
  if (differing.length === 0) return undefined;
  const textOf = (own: readonly string[]): string => differing.map((index) => own[index]).join(" ");
  return [textOf(parts[0]), textOf(parts[1])];
}

function partsOf(frame: ExitFrame, names: readonly string[]): string[] {
  return [
    `vcpu${frame[ExitWord.vcpu] ?? 0}`,
    `arg0=${hex(frameU64(frame, ExitWord.arg0Low))}`,
    ...ARGUMENT_WORDS.map((word, index) => `${names[index] ?? `arg${index + 1}`}=${hex(frameU64(frame, word))}`),
  ];
}
