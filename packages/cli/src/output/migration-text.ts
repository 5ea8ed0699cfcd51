/** What `migrate` prints. */
import type { Explanation, Report } from "../migration/migration-report.js";

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
export function reportLines(report: Report, source: string): string[] {
  const { contract, base, tail, handOver, destination } = report;
  const behind = tail.behindMs.map(millisecondsText).join(", ");
  const digest = `${handOver.digest.slice(0, DIGEST_DIGITS)}…`;
  const { name, processId } = destination;
  return [
    line("contract", `${counted(contract.equal, "item")} equal`),
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
    movedText({ name, processId, paused: handOver.paused }, source),
    `next: ${nextThere({ name, paused: handOver.paused })}`,
  ];
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

export function explanationLines({ contract, reasons }: Explanation): string[] {
  const lines = contract.differences.map(
    ({ name, source, destination }) =>
      `BLOCK  ${name}  ${source ?? "absent"} at the source, ${destination ?? "absent"} at the destination`,
  );
  const told = new Set(contract.differences.map(({ name }) => name));
  for (const reason of reasons)
    if (![...told].some((name) => reason.startsWith(`${name} is `))) lines.push(`BLOCK  ${reason}`);
  const blocks = lines.length;
  lines.push(
    `${blocks === 0 ? "nothing blocks" : `${blocks} ${blocks === 1 ? "item blocks" : "items block"}`}, ${contract.equal} equal`,
  );
  return lines;
}
