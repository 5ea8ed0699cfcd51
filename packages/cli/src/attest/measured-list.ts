/** Which pages `attest` measures: the guest's text, or a list of guest-physical addresses. */
import {
  CoreKind,
  isPlainMap,
  journalCursor,
  type Machine,
  NO_EVENT,
  PAGE_BYTES,
  type PlainValue,
  ROW_EVENT,
  startSeq,
} from "@hvjournal/core";
import { CliError, UsageError } from "../cli-error.js";
import { standingVcpu } from "../output/standing.js";
import { hex } from "../output/value-text.js";
import { shellCommand } from "@hvjournal/core";
import type { OpenRecording } from "../vm/open-recording.js";

const TEXT = "text";
const TEXT_STARTS = ["_stext", "_text"] as const;
const TEXT_END = "_etext";
const FORM = `expected ${TEXT}, or guest-physical ADDR, ADDR+BYTES or FIRST-LAST, with commas between`;

export interface MeasuredList {
  /** Guest-physical addresses of whole pages, ascending. */
  readonly pages: readonly number[];
  /** What they are, in words. */
  readonly what: string;
}

interface Span {
  readonly first: number;
  readonly last: number;
}

/** `machine` stands at the moment of the measurement. Throws UsageError, CliError. */
export function measuredList(list: string, machine: Machine, recording: OpenRecording): MeasuredList {
  const parts = list.split(",").map((part) => part.trim());
  const named = parts.map((part) =>
    part === TEXT ? textOf(machine, recording) : { spans: [parseSpan(part, list)], what: part },
  );
  const pages = new Set<number>();
  for (const { first, last } of named.flatMap(({ spans }) => spans)) {
    checkInRam({ first, last }, list, machine);
    for (let page = first - (first % PAGE_BYTES); page <= last; page += PAGE_BYTES) pages.add(page);
  }
  return { pages: [...pages].sort((a, b) => a - b), what: named.map(({ what }) => what).join(", ") };
}

function parseSpan(part: string, list: string): Span {
  const [, start = "", joint, other = ""] = /^(0x[0-9a-f]+|\d+)(?:([+-])(0x[0-9a-f]+|\d+))?$/i.exec(part) ?? [];
  const first = Number(start);
  const last = joint === undefined ? first : joint === "+" ? first + Number(other) - 1 : Number(other);
  if (start === "" || !Number.isSafeInteger(last)) throw new UsageError(`--pages ${list}: '${part}': ${FORM}`);
  if (last < first) throw new UsageError(`--pages ${list}: '${part}' holds no byte`);
  return { first, last };
}

function checkInRam({ first, last }: Span, list: string, { kernel: { memory } }: Machine): void {
  const end = memory.base + memory.bytes;
  if (first >= memory.base && last < end) return;
  throw new UsageError(
    `--pages ${list}: ${hex(first)}-${hex(last)} is not in RAM, ${hex(memory.base)}-${hex(end - 1)}`,
  );
}

interface NamedSpans {
  readonly spans: readonly Span[];
  readonly what: string;
}

/** By the guest's own symbols; where it has none, what of the kernel was loaded to be executed. */
function textOf(machine: Machine, recording: OpenRecording): NamedSpans {
  const { symbols, path } = recording;
  const start = TEXT_STARTS.map((name) => symbols.find(name)).find((symbol) => symbol !== undefined);
  const end = symbols.find(TEXT_END);
  if (start !== undefined && end !== undefined)
    return { spans: mappedPages(machine, start.address, end.address, path), what: `${start.name}..${TEXT_END}` };
  const code = kernelSpans(recording);
  if (code.length > 0) return { spans: code, what: "the kernel's code as its file has it, for want of symbols" };
  const spans = loadedSpans(recording);
  if (spans.length > 0)
    return { spans, what: "all that was loaded before the start: this recording does not say what of it is code" };
  throw new CliError(
    `can't tell which pages of ${path} are text: it has no symbols, and what was loaded stands in its parent; list the pages, or give --symbols`,
    { code: "no-text", next: shellCommand("hvjournal", "attest", path, "--pages", "ADDR-LAST") },
  );
}

/** By the translation of whichever vCPU has the text mapped. */
function mappedPages(machine: Machine, start: bigint, end: bigint, path: string): Span[] {
  const spans: Span[] = [];
  const vcpus = [standingVcpu(machine), ...Array.from({ length: machine.description.vcpuCount }, (_, vcpu) => vcpu)];
  for (let virtual = start - (start % BigInt(PAGE_BYTES)); virtual < end; virtual += BigInt(PAGE_BYTES)) {
    const place = firstMapped(machine, vcpus, virtual);
    if (place === undefined)
      throw new CliError(
        `the text of ${path} is not mapped at this moment (${hex(virtual)}): choose one at which the kernel runs, or list its pages`,
        { code: "not-mapped", next: shellCommand("hvjournal", "attest", path, "--at", "POSITION") },
      );
    spans.push({ first: place, last: place + PAGE_BYTES - 1 });
  }
  return spans;
}

function firstMapped({ kernel }: Machine, vcpus: readonly number[], virtual: bigint): number | undefined {
  for (const vcpu of vcpus) {
    const place = kernel.translate(vcpu, virtual);
    if (place !== undefined) return place;
  }
  return undefined;
}

/** As `record` found them in the kernel's file; a recording of an earlier version has none. */
function kernelSpans({ description }: OpenRecording): Span[] {
  const { kernel } = description.boardOptions;
  const text = isPlainMap(kernel) ? kernel["text"] : undefined;
  return (Array.isArray(text) ? text : []).flatMap((each: PlainValue): Span[] => {
    const { gpa, length } = isPlainMap(each) ? each : {};
    if (typeof gpa !== "number" || typeof length !== "number" || length === 0) return [];
    return [{ first: gpa, last: gpa + length - 1 }];
  });
}

/** Of the journal's rows before the start: kernel, initrd, tables. */
function loadedSpans({ reader }: OpenRecording): Span[] {
  const spans: Span[] = [];
  const last = startSeq(reader);
  const cursor = journalCursor(reader, 1);
  for (; cursor.kind !== NO_EVENT && cursor.seq <= last; cursor.next()) {
    if (cursor.kind !== ROW_EVENT || cursor.row.kind !== CoreKind.guestMemoryWritten.name) continue;
    const { gpa, length } = cursor.row.payload;
    if (typeof gpa === "number" && typeof length === "number" && length > 0)
      spans.push({ first: gpa, last: gpa + length - 1 });
  }
  return spans;
}
