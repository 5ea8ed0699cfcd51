/** What `migrate` prints. */
import { HANDLER_ITEM } from "@hvjournal/core";
import type { AnswerThere } from "../migration/answer-there.js";
import type { Explanation, Report } from "../migration/migration-report.js";
import { answeredLines, pendingLine } from "./answered-text.js";
import { countLine, differenceLines } from "./contract-text.js";
import { counted } from "./value-text.js";

const KIBIBYTE = 2 ** 10;
const MEBIBYTE = 2 ** 20;
/** Of a digest; the whole stands in `--json`. */
const DIGEST_DIGITS = 8;
const LABEL_WIDTH = 11;

function bytesText(bytes: number): string {
  return bytes < MEBIBYTE / 10 ? `${(bytes / KIBIBYTE).toFixed(1)} KiB` : `${(bytes / MEBIBYTE).toFixed(1)} MiB`;
}

function millisecondsText(milliseconds: number): string {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}

function line(label: string, text: string): string {
  return label.padEnd(LABEL_WIDTH) + text;
}

function slowedText({ leastDuty, slowedMs }: Report["tail"]): string {
  if (leastDuty === 1) return "";
  return ` (source slowed to ${Math.round(leastDuty * 100)} % for ${(slowedMs / 1000).toFixed(1)} s)`;
}

/** One line for each phase, then where the VM is now. */
export function reportLines(report: Report, source: string, there: AnswerThere): string[] {
  const { contract, base, tail, handOver, destination } = report;
  const behind = tail.behindMs.map(millisecondsText).join(", ");
  const digest = `${handOver.digest.slice(0, DIGEST_DIGITS)}…`;
  const { name, processId } = destination;
  return [
    line("contract", contractText(contract)),
    line(
      "snapshot",
      `at exit:${base.exitNumber}: ${counted(base.pages, "page")}, ${bytesText(base.bytes)} sent, source paused ${millisecondsText(base.pausedMs)}`,
    ),
    line(
      "tail",
      `exit:${tail.fromExit}..${tail.toExit}: ${bytesText(tail.bytes)}, behind by ${behind}${slowedText(tail)}`,
    ),
    line(
      "hand-over",
      `exit:${handOver.exitNumber}, digest sha256:${digest} on both sides, epoch ${handOver.epoch}, guest stood still for ${millisecondsText(handOver.stoodStillMs)}`,
    ),
    ...(there.is === "failed"
      ? // What it stands at, and how it goes on, is told as an error.
        [`moved: ${name} owns the VM; ${source} is sealed`]
      : [
          movedText({ name, processId, paused: handOver.paused }, source),
          ...(there.is === "open" ? [openText(name, there.by)] : []),
          `next: ${nextThere({ name, paused: handOver.paused })}`,
        ]),
  ];
}

/** A call that has not been answered while it was waited for. */
function openText(name: string, by: string | undefined): string {
  return by === undefined
    ? `its open call is asked again there: ${name} says what comes of it`
    : `it waits for ${by}: hvjournal ps says whether it still does`;
}

/** A VM behind its move. */
export interface MovedTo {
  readonly name: string;
  readonly processId: number;
  readonly paused: boolean;
}

/** A paused VM stays so. */
export function movedText({ name, processId, paused }: MovedTo, source: string): string {
  return `moved: ${name} ${paused ? "is paused" : "runs"} (pid ${processId}); ${source} is sealed`;
}

export function nextThere({ name, paused }: Pick<MovedTo, "name" | "paused">): string {
  return paused ? `hvjournal ctl ${name} resume` : `hvjournal attach ${name}`;
}

export function progressText(step: string, behindMs: unknown): string {
  return typeof behindMs === "number" ? `${step}: behind by ${millisecondsText(behindMs)}` : step;
}

/** What stands against the move beside the contract: drives, files. */
function otherReasons({ contract, reasons }: Explanation): readonly string[] {
  const blocking = contract.differences.filter(({ verdict }) => verdict === "block").map(({ name }) => `${name} is `);
  return reasons.filter((reason) => !blocking.some((start) => reason.startsWith(start)));
}

export function explanationLines(explanation: Explanation): string[] {
  const { contract, unknownUpTo, answered, pending } = explanation;
  const others = otherReasons(explanation);
  const lines = differenceLines(contract.differences, unknownUpTo);
  const handler = lines.findIndex((line) => line.includes(HANDLER_ITEM));
  return [
    ...lines.slice(0, handler + 1),
    ...answeredLines(answered),
    ...lines.slice(handler + 1),
    ...(pending === undefined || pending === null ? [] : [pendingLine(pending)]),
    ...others.map((reason) => `BLOCK  ${reason}`),
    countLine(contract, others.length),
  ];
}

/** "215 items equal, 1 fixed, 2 warn (--explain)" */
function contractText({ equal, differences }: Report["contract"]): string {
  const count = (wanted: string): number => differences.filter(({ verdict }) => verdict === wanted).length;
  const [fixed, warnings] = [count("fix"), count("warn")];
  const parts = [
    ...(fixed === 0 ? [] : [`${fixed} fixed`]),
    ...(warnings === 0 ? [] : [`${warnings} ${warnings === 1 ? "warns" : "warn"}`]),
  ];
  return `${counted(equal, "item")} equal${parts.map((part) => `, ${part}`).join("")}`;
}
