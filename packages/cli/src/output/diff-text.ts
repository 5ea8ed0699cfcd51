/** Differences of two recordings, in the form of diff. */
import {
  type ControlDiff,
  type ControlPatch,
  describeControl,
  type DiffSide,
  type ExitDiff,
  ExitWord,
  type RecordedExit,
  type RegisterDifference,
  type RowEvent,
  SameAnswers,
  type SeqRange,
  type ShapeDifference,
  type StateDiff,
} from "@hvjournal/core";
import type { Symbols } from "../symbols/symbols.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { answersApart, isSameAnswer } from "./answers-apart.js";
import type { Output } from "./console-output.js";
import { patchText } from "./control-changes.js";
import { shortKind } from "./event-lines.js";
import { ExitText } from "./exit-text.js";
import { policyPatchText } from "./policy-text.js";
import { counted, hex } from "./value-text.js";

/** Of arm64: where the function called last returns to. */
const LINK_REGISTER = "x30";
const NAMES_SHOWN = 12;
/** Words of memory that are shown of one page, and of all. */
const PAGE_WORDS_SHOWN = 8;
const STATE_WORDS_SHOWN = 64;
/** Exits of one place that are listed on each side. */
const HUNK_EXITS_SHOWN = 20;
const TEXT_WIDTH = 60;

export interface ComparedSide {
  readonly recording: OpenRecording;
  readonly range: SeqRange;
}

export function exitSide({ recording: { architecture, reader }, range }: ComparedSide): DiffSide {
  return { architecture, reader, range };
}

/** Where the two first do different things. */
export interface FirstDifference {
  /** Exits before it, the same on both sides. */
  readonly equal: number;
  readonly a: RecordedExit | undefined;
  readonly b: RecordedExit | undefined;
  /** The exits are the same; who finished them, or with what, differs. */
  readonly isAnswerOnly: boolean;
}

export interface ExitComparison {
  readonly diff: ExitDiff;
  readonly first: FirstDifference | undefined;
  readonly sides: readonly [a: ComparedSide, b: ComparedSide];
}

/** Exits between two steps. */
const STEP_EXITS = 4096;

/** The rule's number is the recording's own: two recordings may have the same rule at other events. */
export function isSameHalf({ frame: a }: RecordedExit, { frame: b }: RecordedExit): boolean {
  return [ExitWord.finishedBy, ExitWord.kvmExit].every((word) => a[word] === b[word]);
}

/** The first exit that differs by what it is, or by how it was finished; in steps, for one who looks up between them. */
export function* firstDifference(
  { a, b, hunks }: ExitDiff,
  sideA: ComparedSide,
  sideB: ComparedSide,
): Generator<undefined, FirstDifference | undefined, void> {
  const [hunk] = hunks;
  const [textA, textB] = [new ExitText(sideA.recording), new ExitText(sideB.recording)];
  const answers = new SameAnswers(sideA.recording.reader, sideB.recording.reader);
  const isFinishedAlike = (exitA: RecordedExit, exitB: RecordedExit): boolean => {
    if (!isSameHalf(exitA, exitB)) return false;
    if (answers.areSame(exitA.seq, exitB.seq)) return true;
    return isSameAnswer(textA.toldAnswer(exitA), textB.toldAnswer(exitB));
  };
  const aligned = hunk?.atA ?? Math.min(a.length, b.length);
  for (let index = 0; index < aligned; index++) {
    if (index % STEP_EXITS === STEP_EXITS - 1) yield undefined;
    const [exitA, exitB] = [a.at(index), b.at(index)];
    if (exitA === undefined || exitB === undefined || isFinishedAlike(exitA, exitB)) continue;
    return { equal: index, a: exitA, b: exitB, isAnswerOnly: true };
  }
  if (hunk === undefined) return undefined;
  return { equal: hunk.atA, a: a.at(hunk.atA), b: b.at(hunk.atB), isAnswerOnly: false };
}

/**
 * What was decided before the ranges that are compared has no event in them:
 *
 *     control    policy x86.hypercall.unhandled  forward -> enosys             set before
 *                +SmcccFilterSet 0xc4000000+0x20 forward                       event:9
 */
export function controlLines(
  { onlyA, onlyB, before, patches }: ControlDiff,
  [a, b]: readonly [OpenRecording, OpenRecording],
  output: Output,
): string[] {
  const { architecture } = a;
  const text = (sign: string, event: RowEvent): string =>
    `${sign}${shortKind(event.kind)} ${describeControl(architecture, event)}`.padEnd(TEXT_WIDTH) +
    `  event:${event.seq}`;
  const isMachine = ({ kind }: RowEvent): boolean => kind === "VmCreated";
  const lines = [
    ...patches.filter((patch) => isOfMachine(patch) && !isOfExitModel(patch)).map(machineText),
    ...(patches.some(isOfExitModel) ? [`machine.exitModel  ${exitModelText(a)} -> ${exitModelText(b)}`] : []),
    ...before.map((patch) => `${(policyPatchText(patch) ?? patchText(patch)).padEnd(TEXT_WIDTH)}  set before`),
    ...onlyA.filter((event) => !isMachine(event)).map((event) => output.paint("red", text("-", event))),
    ...onlyB.filter((event) => !isMachine(event)).map((event) => output.paint("green", text("+", event))),
  ];
  return lines.length === 0
    ? ["control    equal"]
    : lines.map((line, index) => `${index === 0 ? "control    " : "           "}${line}`);
}

/** Both recordings have a machine: what of it differs says more than that it does. */
function isOfMachine({ path: [slice, part] }: ControlPatch): boolean {
  return slice === "core" && part === "machine";
}

/** Its reasons go with its name: listed one by one they would say nothing more. */
function isOfExitModel(patch: ControlPatch): boolean {
  return isOfMachine(patch) && patch.path[2] === "exitModel";
}

/** "kvm-intel 2" */
function exitModelText({ description: { exitModel } }: OpenRecording): string {
  return `${exitModel.name} ${exitModel.version}`;
}

/** Why exits were left out of a comparison; undefined: none were. */
export function comparedByText(
  { comparedBy }: Pick<ExitDiff, "comparedBy">,
  [a, b]: readonly [OpenRecording, OpenRecording],
): string | undefined {
  if (comparedBy === "reason") return undefined;
  const [modelA, modelB] = [a.description.exitModel.name, b.description.exitModel.name];
  const hosts = modelA === modelB ? "hosts of two vendors" : `${modelA} and ${modelB}`;
  return `${hosts} leave guest mode for reasons of their own: only exits that reach the VMM half are compared, by what it sees`;
}

/** What an option of `record` makes goes by its name: "smp  4 -> 1". */
function machineText(patch: ControlPatch): string {
  const { path, before, after } = patch;
  if (path[2] === "vcpuCount") return `smp  ${Number(before)} -> ${Number(after)}`;
  if (path[2] === "memoryBytes") return `memory  ${megabytes(Number(before))} -> ${megabytes(Number(after))}`;
  return patchText(patch);
}

export interface ExitLinesOptions {
  /** Every place, not only the first. */
  readonly all: boolean;
  readonly output: Output;
}

export function exitLines({ diff, first, sides }: ExitComparison, { all, output }: ExitLinesOptions): string[] {
  if (first === undefined) return [`exits      ${diff.equal} equal`];
  const texts = sides.map(({ recording }) => new ExitText(recording)) as [ExitText, ExitText];
  const lines = [`exits      ${first.equal} equal, then`];
  if (first.isAnswerOnly) lines.push(...answerHunk(first, texts, output));
  const hunks = all ? diff.hunks : first.isAnswerOnly ? [] : diff.hunks.slice(0, 1);
  for (const { atA, countA, atB, countB } of hunks) {
    const [exitsA, exitsB] = [exitsOf(diff.a, atA, countA), exitsOf(diff.b, atB, countB)];
    const [head] = [...exitsA, ...exitsB];
    if (head === undefined) continue;
    lines.push(
      hunkHead(head, exitsA.length === 0 ? texts[1] : texts[0], output),
      ...sideLines("-", "red", exitsA, countA, texts[0], output),
      ...sideLines("+", "green", exitsB, countB, texts[1], output),
    );
  }
  const left = diff.hunks.length - hunks.length;
  if (left > 0) lines.push(`           ${counted(left, "more place")} with other exits (--exits lists them)`);
  if (diff.isTruncated) lines.push("           too different to be aligned: the last place holds all the rest");
  return lines;
}

function exitsOf(table: ExitDiff["a"], at: number, count: number): RecordedExit[] {
  const exits = Array.from({ length: Math.min(count, HUNK_EXITS_SHOWN) }, (_, index) => table.at(at + index));
  return exits.filter((exit) => exit !== undefined);
}

function hunkHead({ number, icount, frame }: RecordedExit, text: ExitText, output: Output): string {
  return output.paint(
    "cyan",
    `@@ exit:${number} vcpu${frame[ExitWord.vcpu] ?? 0} ${text.title(frame)} icount:${icount} @@`,
  );
}

function sideLines(
  sign: "-" | "+",
  color: "red" | "green",
  exits: readonly RecordedExit[],
  count: number,
  text: ExitText,
  output: Output,
): string[] {
  const lines = exits.map(({ number, frame }) =>
    output.paint(color, `${sign}  exit:${number} vcpu${frame[ExitWord.vcpu] ?? 0} ${text.title(frame)}`),
  );
  const more = count - exits.length;
  return more > 0 ? [...lines, output.paint(color, `${sign}  and ${more} more`)] : lines;
}

/** The same exit, finished in two ways. */
function answerHunk(
  { a, b }: FirstDifference,
  [textA, textB]: readonly [ExitText, ExitText],
  output: Output,
): string[] {
  if (a === undefined || b === undefined) return [];
  const [answerA, answerB] = answersApart(textA.toldAnswer(a), textB.toldAnswer(b));
  const line = (sign: string, { frame }: RecordedExit, text: ExitText, answer: string): string =>
    `${sign}  handled: ${text.handledBy(frame)}`.padEnd(41) + `  ${answer}`;
  return [
    hunkHead(a, textA, output),
    output.paint("red", line("-", a, textA, answerA)),
    output.paint("green", line("+", b, textB, answerB)),
  ];
}

/** The state of two machines that stand still, and where: runs may differ before these moments and behind them. */
export interface StateComparison {
  readonly diff: StateDiff;
  /** As positions are written: "exit:777". */
  readonly at: { readonly a: string; readonly b: string };
}

/** "exit:777", or "exit:777 and exit:780" of two moments. */
export function momentsText({ a, b }: StateComparison["at"]): string {
  return a === b ? a : `${a} and ${b}`;
}

/** "state at exit:777: x0; page 0x4082b000 (16 bytes)" */
export function stateLine({ diff: { registers, pages }, at }: StateComparison): string {
  const places = pages.map(({ physical, bytes }) => `page ${hex(physical)} (${counted(bytes, "byte")})`);
  const parts = [shortened(registers.map(registerText)), shortened(places)].filter((text) => text !== "");
  return `state at ${momentsText(at)}: ${parts.length === 0 ? "equal" : parts.join("; ")}`;
}

/** "state at exit:777: 3 registers, 0 pages" */
export function stateStatLines({ diff: { registers, pages, shapes }, at }: StateComparison): string[] {
  return [
    `state at ${momentsText(at)}: ${counted(registers.length, "register")}, ${counted(pages.length, "page")}`,
    ...shapeLines(shapes),
  ];
}

/** Of what one machine has more of: how far both are compared. */
export function shapeLines(shapes: StateDiff["shapes"]): string[] {
  return shapes.map((shape) => `           ${shapeText(shape)}`);
}

function shapeText({ of, a, b }: ShapeDifference): string {
  const both = Math.min(a, b);
  return of === "vcpus"
    ? `${a} and ${b} vCPUs: only registers of ${both === 1 ? "vcpu0" : `vcpu0 to vcpu${both - 1}`} are compared`
    : `${megabytes(a)} and ${megabytes(b)} of RAM: only pages of the first ${megabytes(both)} are compared`;
}

function megabytes(bytes: number): string {
  return `${bytes / 2 ** 20}M`;
}

function registerText({ vcpu, name }: RegisterDifference): string {
  return vcpu === 0 ? name : `vcpu${vcpu} ${name}`;
}

function shortened(texts: readonly string[]): string {
  const more = texts.length - NAMES_SHOWN;
  return [...texts.slice(0, NAMES_SHOWN), ...(more > 0 ? [`${more} more`] : [])].join(", ");
}

/**
 * With the values:
 *
 *     state at exit:777:
 *                x0        0x1 -> 0x2
 *                page 0x4082b000: 16 bytes in 2 words
 *                  0x4082b010  0x0 -> 0x51a7
 */
export function stateLines({ diff, at }: StateComparison, symbols: Symbols, withAll: boolean): string[] {
  const lines = valueLines(diff, symbols, withAll);
  const head = `state at ${momentsText(at)}:`;
  return [
    ...(lines.length === 0 ? [`${head} equal`] : [head, ...lines.map((line) => `           ${line}`)]),
    ...shapeLines(diff.shapes),
  ];
}

function valueLines({ registers, pages }: StateDiff, symbols: Symbols, withAll: boolean): string[] {
  const names = registers.map(registerText);
  const width = Math.max(0, ...names.map((name) => name.length));
  const values = registers.map(({ name, a, b }) =>
    [a, b].map((value) => namedValue(value, symbols, name === LINK_REGISTER)).join(" -> "),
  );
  let left = withAll ? Infinity : STATE_WORDS_SHOWN;
  let isCut = false;
  const memory = pages.flatMap(({ physical, bytes, words }) => {
    const most = withAll ? words.length : Math.min(PAGE_WORDS_SHOWN, left);
    const shown = words.slice(0, most);
    left -= shown.length;
    isCut ||= shown.length < words.length;
    const head = `page ${hex(physical)}: ${counted(bytes, "byte")} in ${counted(words.length, "word")}`;
    const more = words.length - shown.length;
    return [
      head,
      ...shown.map(
        (word) => `  ${hex(word.physical)}  ${namedValue(word.a, symbols)} -> ${namedValue(word.b, symbols)}`,
      ),
      ...(more === 0 ? [] : [`  ${more} more`]),
    ];
  });
  return [
    ...names.map((name, index) => `${name.padEnd(width)}  ${values[index] ?? ""}`),
    ...memory,
    ...(isCut ? ["--all has every word"] : []),
  ];
}

/** With the name of the function that it points into. */
function namedValue(value: bigint, symbols: Symbols, isReturnAddress = false): string {
  const name = isReturnAddress ? symbols.callerName(value) : symbols.name(value);
  return name === undefined ? hex(value) : `${hex(value)} ${name}`;
}
