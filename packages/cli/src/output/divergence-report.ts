/** Where a re-run parted from its recording, as people read it. */
import type { DivergenceReport, RecordingHeader } from "@hvjournal/core";
import { CliError } from "../cli-error.js";
import { ExitStatus } from "../exit-status.js";
import { productVersion } from "../version.js";
import type { Symbols } from "../symbols/symbols.js";
import { showCommand } from "./show-command.js";

/** More than this are counted, not listed. */
const DIFFERENCES_SHOWN = 12;

export interface DivergenceContext {
  readonly path: string;
  readonly header: RecordingHeader;
  readonly symbols: Symbols;
}

export function divergenceReport(report: DivergenceReport, { path, header, symbols }: DivergenceContext): CliError {
  const { place, recorded, replayed, lastEqualDigest, differences, cause } = report;
  const position = place.exitNumber === 0 ? `event:${place.seq}` : `exit:${place.exitNumber}`;
  const where = `vcpu${place.vcpu}, icount:${place.icount}, pc ${symbols.addressText(place.pc)}`;
  const since =
    lastEqualDigest === undefined
      ? "no digest compared before"
      : `last equal digest icount:${lastEqualDigest.icount}; since then differ`;
  const details = [
    `  recorded   ${recorded}`,
    `  replayed   ${replayed}`,
    `  ${since}: ${differencesText(differences, cause)}`,
    `  recorded by ${builderText(header.createdBy)} (cpu-${header.architecture} ${report.recordedRevision}), ` +
      `replayed by ${productVersion()} (cpu-${header.architecture} ${report.replayedRevision})`,
  ];
  const before = place.exitNumber > 1 ? `exit:${place.exitNumber - 1}` : "start";
  return new CliError(`replay diverged at ${position} (${where})`, {
    code: "diverged",
    status: ExitStatus.no,
    position,
    details,
    next: showCommand(path, before),
    fields: { report },
  });
}

function differencesText(differences: readonly string[], cause: string): string {
  if (differences.length === 0) return `${cause} (no register or page known yet)`;
  const more = differences.length - DIFFERENCES_SHOWN;
  return [...differences.slice(0, DIFFERENCES_SHOWN), ...(more > 0 ? [`${more} more`] : [])].join(", ");
}

function builderText(createdBy: string): string {
  return createdBy.replace(/^hvjournal /, "");
}
