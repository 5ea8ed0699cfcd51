/** Exits by reason, or by what they access, as `perf kvm stat report` counts them. */
import { type EventCursor, ExitWord, FinishedBy, formatGuestTime, frameU64, HotKind, KvmExit } from "@hvjournal/core";
import { displayOf } from "../architectures.js";
import type { OpenRecording } from "../vm/open-recording.js";
import { ExitText } from "./exit-text.js";
import { counted, hex } from "./value-text.js";

const INFO_WRITE = 0x100;
const INFO_LENGTH_MASK = 0xff;

/** What a row stands for. */
export const STAT_EVENTS = ["vmexit", "mmio", "ioport", "msr", "hypercall"] as const;
export type StatEvent = (typeof STAT_EVENTS)[number];

export const SORT_KEYS = ["sample", "idle", "bytes", "host"] as const;
export type SortKey = (typeof SORT_KEYS)[number];

const TITLES: Readonly<Record<StatEvent, string>> = {
  vmexit: "VM-EXIT",
  mmio: "MMIO Access",
  ioport: "IO Port Access",
  msr: "MSR Access",
  hypercall: "HYPERCALL",
};

export interface StatRow {
  readonly name: string;
  samples: number;
  toVmm: number;
  /** Moved between guest and VMM half. */
  bytes: number;
  /** Guest time that was skipped; undefined where no vCPU waits. */
  idleNs: number | undefined;
  first: number;
  last: number;
  /** CPU time of this host for finishing the exits, where it was measured. Nanoseconds. */
  hostNs: number | undefined;
}

export interface StatTotals {
  readonly timeNs: number;
  readonly idleNs: number;
}

/** Exits that move bytes to or from a device. */
const ACCESSES: ReadonlySet<number> = new Set([KvmExit.mmio, KvmExit.io]);

export class ExitStatistics {
  readonly rows = new Map<string, StatRow>();
  readonly #event: StatEvent;
  readonly #exits: ExitText;
  readonly #registerReasons: readonly string[];
  readonly #idleReason: string;
  total = 0;

  constructor(recording: OpenRecording, event: StatEvent) {
    this.#event = event;
    this.#exits = new ExitText(recording);
    const { registerReasons, idleReason } = displayOf(recording.architecture);
    this.#registerReasons = registerReasons;
    this.#idleReason = idleReason;
  }

  /** The row of an exit, after it has been counted; undefined for an exit that this table is not about. */
  count(cursor: EventCursor): StatRow | undefined {
    if (cursor.kind !== HotKind.exited) return undefined;
    const { exit } = cursor;
    const name = this.#nameOf(exit);
    if (name === undefined) return undefined;
    const number = cursor.exitsBefore + 1;
    const row = this.rows.get(name) ?? this.#newRow(name, number);
    const isToVmm = exit[ExitWord.finishedBy] === FinishedBy.vmmHalf;
    row.samples += 1;
    row.last = number;
    if (isToVmm) row.toVmm += 1;
    if (isToVmm && ACCESSES.has(exit[ExitWord.kvmExit] ?? 0))
      row.bytes += (exit[ExitWord.info] ?? 0) & INFO_LENGTH_MASK;
    this.total += 1;
    return row;
  }

  #newRow(name: string, number: number): StatRow {
    const row = {
      name,
      samples: 0,
      toVmm: 0,
      bytes: 0,
      idleNs: undefined,
      first: number,
      last: number,
      hostNs: undefined,
    };
    this.rows.set(name, row);
    return row;
  }

  #nameOf(exit: Uint32Array): string | undefined {
    const reason = this.#exits.reason(exit);
    switch (this.#event) {
      case "vmexit":
        return reason;
      case "mmio":
        if (!this.#exits.action(exit).startsWith("MMIO")) return undefined;
        return `${hex(frameU64(exit, ExitWord.arg0Low))}:${((exit[ExitWord.info] ?? 0) & INFO_WRITE) === 0 ? "R" : "W"}`;
      case "ioport":
        if (!this.#exits.action(exit).startsWith("IO ")) return undefined;
        return `${hex(frameU64(exit, ExitWord.arg0Low))}:${((exit[ExitWord.info] ?? 0) & INFO_WRITE) === 0 ? "PIN" : "POUT"}`;
      case "msr":
        if (!this.#registerReasons.includes(reason)) return undefined;
        return `${this.#exits.action(exit).split(" ")[0] ?? ""}:${exit[ExitWord.info] === 1 ? "W" : "R"}`;
      case "hypercall":
        return this.#exits.isHypercall(exit) ? this.#exits.callTitle(exit) : undefined;
      default:
        return this.#event satisfies never;
    }
  }

  /** Idle time is spent where a vCPU waits. */
  setIdle(idleNs: number): void {
    const row = this.#event === "vmexit" ? this.rows.get(this.#idleReason) : undefined;
    if (row !== undefined) row.idleNs = idleNs;
  }

  sorted(key: SortKey): StatRow[] {
    const value: Readonly<Record<SortKey, (row: StatRow) => number>> = {
      sample: (row) => row.samples,
      idle: (row) => row.idleNs ?? 0,
      bytes: (row) => row.bytes,
      host: (row) => row.hostNs ?? 0,
    };
    return [...this.rows.values()].sort(
      (a, b) => value[key](b) - value[key](a) || b.samples - a.samples || a.first - b.first,
    );
  }

  /** The table of `perf kvm stat report`, without the times that an exit does not take. At most `most` rows. */
  lines(key: SortKey, totals: StatTotals, most: number): string[] {
    const rows = this.sorted(key);
    const hasHost = rows.some(({ hostNs }) => hostNs !== undefined);
    const header = [TITLES[this.#event], ...COLUMN_TITLES, ...(hasHost ? ["Host time"] : [])];
    const shown = rows
      .slice(0, most)
      .map((row) => [row.name, ...this.#cells(row), ...(hasHost ? [hostText(row.hostNs)] : [])]);
    return [
      ...alignedRight([header, ...shown]),
      ...this.#restLine(rows.slice(most)),
      `Total Samples:${this.total}, Total guest time:${formatGuestTime(totals.timeNs)}, idle:${formatGuestTime(totals.idleNs)}`,
    ];
  }

  #restLine(rows: readonly StatRow[]): string[] {
    if (rows.length === 0) return [];
    const samples = rows.reduce((sum, row) => sum + row.samples, 0);
    return [`… and ${counted(rows.length, "more row")} with ${counted(samples, "sample")} (--all lists them)`];
  }

  #cells({ samples, toVmm, bytes, idleNs, first, last }: StatRow): string[] {
    const orDash = (value: number): string => (value === 0 ? "-" : String(value));
    return [
      String(samples),
      `${((100 * samples) / this.total).toFixed(2)}%`,
      String(toVmm),
      orDash(bytes),
      idleNs === undefined ? "-" : formatGuestTime(idleNs),
      `exit:${first}`,
      `exit:${last}`,
    ];
  }
}

const COLUMN_TITLES = ["Samples", "Samples%", "To VMM", "Bytes", "Idle", "First", "Last"];
/** At least: a longer text makes its column wider. */
const COLUMN_WIDTHS = [16, 11, 10, 11, 13, 13, 13, 13, 13];
const GAP_WIDTH = 1;

/** Cells of a table, set to the right of their columns. */
export function alignedRight(lines: readonly (readonly string[])[]): string[] {
  const widths = COLUMN_WIDTHS.map((least, index) =>
    Math.max(least, ...lines.map((cells) => (cells[index] ?? "").length + (index === 0 ? 0 : GAP_WIDTH))),
  );
  return lines.map((cells) => cells.map((text, index) => text.padStart(widths[index] ?? 0)).join(""));
}

function hostText(nanoseconds: number | undefined): string {
  return nanoseconds === undefined ? "-" : `${(nanoseconds / 1e6).toFixed(3)}ms`;
}
