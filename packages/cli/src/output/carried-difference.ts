/** The answer to the exit that a VM came with when it moved or was branched. Its event is in the parent recording, behind which exits are compared. */
import { journalCursor, type RecordedExit, seqOfExit } from "@hvjournal/core";
import { isSameAnswer } from "./answers-apart.js";
import { type ComparedSide, type FirstDifference, isSameHalf } from "./diff-text.js";
import { ExitText, type ToldAnswer } from "./exit-text.js";
import { carriedExit, exitAt, firstAnswer } from "./recorded-call.js";

/** Where both have answered it, and not alike. */
export function carriedDifference(a: ComparedSide, b: ComparedSide): FirstDifference | undefined {
  const carried = [a, b].flatMap(({ recording }) => carriedExit(recording) ?? []);
  if (carried.length === 0) return undefined;
  const number = Math.max(...carried.map((exit) => exit.number));
  const [exitA, exitB] = [exitNumbered(a, number), exitNumbered(b, number)];
  if (exitA === undefined || exitB === undefined) return undefined;
  const [answerA, answerB] = [answerInRange(a, exitA), answerInRange(b, exitB)];
  if (answerA === undefined || answerB === undefined) return undefined;
  if (isSameHalf(exitA, exitB) && isSameAnswer(answerA, answerB)) return undefined;
  return { equal: 0, a: exitA, b: exitB, isAnswerOnly: true };
}

function exitNumbered({ recording }: ComparedSide, number: number): RecordedExit | undefined {
  const { reader } = recording;
  const carried = carriedExit(recording);
  if (carried?.number === number) return carried;
  if (number <= (reader.header.parent?.exitNumber ?? 0)) return undefined;
  const seq = seqOfExit(reader, number);
  return seq === undefined ? undefined : exitAt(journalCursor(reader, seq));
}

/** undefined: it waits, or is answered behind the moment up to which is compared. */
function answerInRange({ recording, range }: ComparedSide, exit: RecordedExit): ToldAnswer | undefined {
  if ((firstAnswer(recording.reader, exit) ?? 0) > range.last) return undefined;
  const told = new ExitText(recording).toldAnswer(exit);
  return told.state === "pending" ? undefined : told;
}
