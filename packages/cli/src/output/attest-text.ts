/** Measured pages as people and programs read them. */
import {
  type BisectWriter,
  CoreKind,
  type EventPayload,
  formatPosition,
  journalCursor,
  type MeasuredPage,
  type PageChange,
  ROW_EVENT,
  sameBytes,
  toHex,
} from "@hvjournal/core";
import { hexAddress } from "../symbols/symbols.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { BisectReport, momentLine } from "./bisect-report.js";
import { counted, hex } from "./value-text.js";

export function isChanged({ before, after }: MeasuredPage): boolean {
  return !sameBytes(before, after);
}

/** One number for all: SHA-256 over the pages' own, in the order of their addresses. */
export function measurement(pages: readonly MeasuredPage[], sha256: (bytes: Uint8Array) => Uint8Array): string {
  return toHex(sha256(Uint8Array.from(pages.flatMap(({ after }) => [...after]))));
}

export class AttestText {
  readonly #recording: OpenRecording;
  readonly #report: BisectReport;

  constructor(recording: OpenRecording) {
    this.#recording = recording;
    this.#report = new BisectReport(recording);
  }

  /** `since`: the earlier moment, as it is named. */
  lines(page: MeasuredPage, since: string): string[] {
    const { physical, before, after, changes, first, last } = page;
    const head = `${hex(physical)}  sha256:${toHex(after)}`;
    if (changes === 0) return [`${head}  as at ${since}`];
    const how = isChanged(page) ? `changed, was sha256:${toHex(before)}` : `as at ${since} again`;
    const count = changes === 1 ? "" : `, ${counted(changes, "change")}`;
    return [`${head}  ${how}${count}`, ...this.#changeLines(first), ...this.#changeLines(last)];
  }

  #changeLines(change: PageChange | undefined): string[] {
    if (change === undefined) return [];
    const { moment, bytes } = change;
    const content = `${hex(bytes.physical)}: ${toHex(bytes.before)} -> ${toHex(bytes.after)}`;
    return [`  ${this.#writerText(change)}`, `    ${momentLine(moment)}      ${content}`];
  }

  #writerText({ writer, instruction }: PageChange): string {
    switch (writer.by) {
      case "event":
        return writer.kind === CoreKind.codePatched.name ? this.#patchText(writer) : this.#report.eventText(writer);
      case "answer":
        return `the answer to ${this.#report.exitText(writer.exitNumber)}, by the half that finished it`;
      case "instruction":
        return this.#instructionText(writer, instruction);
      case "exit":
        return `the kernel half, on the way to ${this.#report.exitText(writer.exitNumber)}`;
      case "time":
        return "while every vCPU waited";
      default:
        return writer satisfies never;
    }
  }

  #instructionText({ vcpu, pc }: BisectWriter & { readonly by: "instruction" }, text: string | undefined): string {
    const { symbols } = this.#recording;
    const parts = [hexAddress(pc), symbols.name(pc), text === undefined ? undefined : symbols.inText(text)];
    return `vcpu${vcpu}  ${parts.filter((part) => part !== undefined).join("  ")}`;
  }

  /** "event:31, CodePatched in finishing exit:7 VMMCALL ...: 0f01d9 -> 0f01c1 at 0x101123" */
  #patchText({ seq }: BisectWriter & { readonly by: "event" }): string {
    const cursor = journalCursor(this.#recording.reader, seq);
    const { exitsBefore } = cursor;
    const payload: EventPayload = cursor.kind === ROW_EVENT ? cursor.row.payload : {};
    const [before, after] = [payload["old"], payload["new"]].map((bytes) =>
      bytes instanceof Uint8Array ? toHex(bytes) : "?",
    );
    const exit = this.#report.exitText(exitsBefore);
    return `event:${seq}, CodePatched in finishing ${exit}: ${before} -> ${after} at ${hex(Number(payload["gpa"]))}`;
  }

  json(page: MeasuredPage): Record<string, unknown> {
    const { physical, before, after, changes, first, last } = page;
    return {
      page: BigInt(physical),
      sha256: toHex(after),
      was: toHex(before),
      changed: isChanged(page),
      changes,
      ...(first && { first: changeJson(first) }),
      ...(last && { last: changeJson(last) }),
    };
  }
}

function changeJson({ moment, writer, instruction, bytes }: PageChange): Record<string, unknown> {
  const { position, ...rest } = moment;
  return {
    position: formatPosition(position),
    ...rest,
    writer,
    ...(instruction !== undefined && { instruction }),
    at: BigInt(bytes.physical),
    before: toHex(bytes.before),
    after: toHex(bytes.after),
  };
}
