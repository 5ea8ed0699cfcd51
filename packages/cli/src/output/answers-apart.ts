/** What came of one exit in two recordings, told so that the two can be told apart. */
import { toHex } from "@hvjournal/core";
import { type AnswerPart, type ToldAnswer } from "./exit-text.js";
import { hex } from "./value-text.js";

/** Bytes of a write that are shown, from the first that differs. */
const BYTES_SHOWN = 8;

export function isSameAnswer(a: ToldAnswer, b: ToldAnswer): boolean {
  return toldText(a) === toldText(b) && a.parts.every((part, index) => isSamePart(part, b.parts[index]));
}

/** "x0 <- 0x1", "pending: the VMM half's answer (rax)", "8 bytes to 0x103000 (0x103001: b0)" */
export function answersApart(a: ToldAnswer, b: ToldAnswer): readonly [string, string] {
  return [answerBeside(a, b), answerBeside(b, a)];
}

function answerBeside(own: ToldAnswer, other: ToldAnswer): string {
  if (own.parts.length === 0) return toldText(own);
  return own.parts.map((part, index) => partBeside(part, other.parts[index])).join(", ");
}

/** Without comparing it. */
export function toldText({ state, text }: ToldAnswer): string {
  return state === "pending" ? `pending: ${text}` : text;
}

function isSamePart(own: AnswerPart, other: AnswerPart | undefined): boolean {
  return own.text === other?.text && firstDifferent(own, other) === undefined;
}

/** A write of the same length to the same place: with what it wrote. */
function partBeside(own: AnswerPart, other: AnswerPart | undefined): string {
  const at = own.text === other?.text ? firstDifferent(own, other) : undefined;
  if (at === undefined || own.written === undefined) return own.text;
  const { gpa, bytes } = own.written;
  const what = bytes === undefined ? "other bytes" : `${hex(gpa + at)}: ${toHex(bytes.subarray(at, at + BYTES_SHOWN))}`;
  return `${own.text} (${what})`;
}

/** Index of a byte, or of one of the hashes' bytes. */
function firstDifferent(own: AnswerPart, other: AnswerPart): number | undefined {
  const [bytes, others] = [own, other].map(({ written }) => written?.bytes ?? written?.pageHashes);
  const at = bytes?.findIndex((byte, index) => byte !== others?.[index]);
  return at === -1 ? undefined : at;
}
