/** What a guest has been answered by handlers that others take the place of, and what it still waits for. */
import type { Answered, PendingCall } from "../migration/migration-report.js";
import { resultText } from "./value-text.js";

const SHOWN_MAX = 8;
/** Below the line of the difference, which begins with its verdict. */
const INDENT = " ".repeat(7);

function answerText(registers: Answered["registers"]): string {
  const texts = Object.entries(registers).map(([name, value]) => `${name}=${resultText(BigInt(value))}`);
  return texts.length === 0 ? "no register set" : texts.join(" ");
}

/** "0xc6000000 -> x0=0x10002, asked once, exit:50" */
function answeredText({ nr, count, exitNumber, registers }: Answered): string {
  const asked = count === 1 ? `asked once, exit:${exitNumber}` : `asked ${count} times, last answer exit:${exitNumber}`;
  return `0x${nr.toString(16)} -> ${answerText(registers)}, ${asked}`;
}

/** What may be answered differently from there on, by function; the busiest first. */
export function answeredLines(answered: readonly Answered[]): string[] {
  const lines = answered.slice(0, SHOWN_MAX).map((each) => `${INDENT}${answeredText(each)}`);
  const more = answered.length - SHOWN_MAX;
  return more > 0 ? [...lines, `${INDENT}and ${more} more`] : lines;
}

/** "OPEN   call HVC64 0xc6000000 (0x1111, 0x2222, 0x3333) of vcpu0, exit:50, is pending: not answered yet; at the destination it is answered by new.mjs, else by the board" */
export function pendingLine({ what, args = [], vcpu, exitNumber, askedThere }: PendingCall): string {
  const by = askedThere?.length === 0 ? "by the board" : `by ${askedThere?.join(", ") ?? ""}, else by the board`;
  const there = askedThere === undefined || askedThere === null ? "" : `; at the destination it is answered ${by}`;
  const given = args.length === 0 ? "" : ` (${args.join(", ")})`;
  return `OPEN   call ${what}${given} of vcpu${vcpu}, exit:${exitNumber}, is pending: not answered yet${there}`;
}
