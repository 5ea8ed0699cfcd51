import { EventBatch, EXIT_WORD_COUNT, HotKind, ROW_EVENT } from "@hvjournal/core";
import { afterAll, describe, expect, it } from "@jest/globals";
import Database from "better-sqlite3";
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { hex } from "./canonical/hash.js";
import { JournalBusyError, JournalDamagedError, JournalNotFoundError, JournalWriteError } from "./errors.js";
import { fsck } from "./fsck.js";
import { moveRecording, removeRecording } from "./recording-files.js";
import { openRecording } from "./recording-reader.js";
import { continueRecording, createRecording, type RecordingWriter } from "./recording-writer.js";
import { snapshotRoot } from "./store/snapshot-tables.js";
import { batchTexts, questions } from "./testing/recorded-answers.js";
import { sampleHeader, sampleMemory, SampleRun, sampleSnapshot } from "./testing/sample-run.js";
import { smallRecording, writeSmallRun } from "./testing/small-recording.js";
import { TemporaryDirectory } from "./testing/temporary-directory.js";

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());

const START = { firstSeq: 1, exitNumber: 0, icount: 0 };

/** Changes a closed recording behind its back. */
function alter(path: string, sql: string): void {
  const database = new Database(path);
  database.exec(sql);
  database.close();
}

describe("format 1", () => {
  it("has these bytes for ever: a change of coding needs a new format version", () => {
    const writer = createRecording(directory.file(), sampleHeader());
    const header = writer.end.chain;
    const run = new SampleRun(1, START, (batch) => writer.append(batch, "normal"));
    run.run(2000);
    run.row(
      "Paused",
      { exitPending: true, list: [1, -1, 2 ** 40, 1.5, null, "é"], value: 2n ** 63n, bytes: Uint8Array.of(1, 2) },
      3,
    );
    run.end();
    expect({ header, end: writer.end }).toEqual({
      header: "3af7f5028b9b39cf58d714682409b7a9cbe3fe41e0d119fd1d7a62209274f87e",
      end: {
        state: "open",
        firstSeq: 4174,
        exitNumber: 2081,
        icount: 1_430_228,
        chain: "cfa313bb84faf61c88934584ed457ebfc15498492ec4e03a4ae7e282afc0ac50",
      },
    });
    expect(hex(snapshotRoot(sampleSnapshot(0, { seq: 1, exitNumber: 0, icount: 0 }, sampleMemory(1, 64, 4))))).toBe(
      "50e4574e274e9ae83078d9a4c3da788e81e87f08225d63311a155de35477cdcc",
    );
    writer.close();
  });

  it("has registers that the VMM half has set in columns, which readers see as rows among the others", () => {
    const path = directory.file();
    const writer = createRecording(path, sampleHeader());
    const batch = new EventBatch();
    batch.begin(START);
    batch.appendExit(5, new Uint32Array(EXIT_WORD_COUNT).fill(1));
    batch.appendRegister(5, 1, "x0", 0xffff_ffff, 0xffff_ffff);
    batch.appendRow({ seq: 3, kind: "Paused", version: 1, vcpu: -1, icount: 5, exitNumber: 1, payload: {} });
    batch.appendRegister(6, 0, "x17", 7, 1);
    writer.append(batch, "normal");
    expect(writer.end.chain).toBe("1f94b8e21411ed2f5159488c7e0873411c5a622a2fba2d6c879b8c025a80e648");
    writer.finish("closed", { index: false });
    const reader = openRecording(path);
    const rows: unknown[] = [];
    reader.readBatches(1, new EventBatch(), (read) => {
      rows.push(...read.rows);
      expect([...read.kinds.subarray(0, read.count)]).toEqual([HotKind.exited, ROW_EVENT, ROW_EVENT, ROW_EVENT]);
      return true;
    });
    const set = { kind: "RegisterSet", version: 1, exitNumber: 1 };
    expect(rows).toEqual([
      { ...set, seq: 2, vcpu: 1, icount: 5, payload: { name: "x0", value: 2n ** 64n - 1n } },
      { seq: 3, kind: "Paused", version: 1, vcpu: -1, icount: 5, exitNumber: 1, payload: {} },
      { ...set, seq: 4, vcpu: 0, icount: 6, payload: { name: "x17", value: 2n ** 32n + 7n } },
    ]);
    reader.close();
  });

  it("is readable without this program: SQLite marks, STRICT tables, the header in plain values", () => {
    const { path } = smallRecording(directory.file());
    const database = new Database(path, { readonly: true });
    expect(database.pragma("application_id", { simple: true })).toBe(0x6876_6a6c);
    expect(database.pragma("user_version", { simple: true })).toBe(1);
    expect(database.prepare("SELECT value FROM header WHERE key = 'created_by'").pluck().get()).toBe("hvjournal 0.1.0");
    const loose = database.prepare(
      "SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name NOT LIKE 'sqlite_%'",
    );
    expect(loose.all()).toEqual([]);
    database.close();
  });
});

describe("rows that vanish from a recording", () => {
  it.each([
    ["the last batch", "DELETE FROM batches WHERE number = (SELECT max(number) FROM batches)", "end"],
    ["a batch in the middle", "DELETE FROM batches WHERE number = 2", "end"],
    ["a batch's columns", "DELETE FROM batch_columns WHERE number = 2", "batches"],
    ["a row event", "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)", "batches"],
    ["a snapshot", "DELETE FROM snapshots WHERE number = 2", "snapshots"],
    ["a snapshot's section", "DELETE FROM snapshot_sections WHERE snapshot = 1 AND position = 0", "snapshot 1"],
    ["an ownership row", "DELETE FROM ownership", "ownership"],
    ["an event kind", "DELETE FROM event_kinds WHERE kind = 'Exited'", "kinds"],
    ["a line of the header", "DELETE FROM header WHERE key = 'quirks'", "header"],
    ["the progress row", "DELETE FROM progress", "end"],
  ])("are missed: %s", (_, sql, name) => {
    const { path } = smallRecording(directory.file());
    alter(path, sql);
    const ask = (): void => {
      const reader = openRecording(path);
      try {
        questions(reader, []).find(([each]) => each === name)?.[1]();
      } finally {
        reader.close();
      }
    };
    expect(ask).toThrow(JournalDamagedError);
    expect(fsck(path).isWhole).toBe(false);
  });
});

describe("a snapshot that is not the one which was taken", () => {
  it("is refused, although its own row agrees with itself", () => {
    const path = directory.file();
    const writer = createRecording(path, sampleHeader());
    const run = new SampleRun(1, START, (batch) => writer.append(batch, "normal"));
    const memory = sampleMemory(1, 64, 4);
    const at = { seq: 0, exitNumber: 0, icount: 0 };
    run.row("SnapshotTaken", { number: 0, root: snapshotRoot(sampleSnapshot(0, { ...at, icount: 7 }, memory)) });
    run.end();
    writer.addSnapshot(sampleSnapshot(0, at, memory), "full");
    expect(() => writer.loadSnapshot(0)).toThrow("its root is not the one that the event SnapshotTaken carries");
    writer.close();
  });

  it("is no reason to refuse seek points that were made later", () => {
    const { path, lastSeq } = smallRecording(directory.file());
    const writer = continueRecording(path);
    const later = sampleSnapshot(
      3,
      { seq: lastSeq, exitNumber: writer.end.exitNumber, icount: writer.end.icount },
      sampleMemory(1, 48, 4),
    );
    writer.addSnapshot(later, "normal");
    writer.finish("closed", { index: false });
    const reader = openRecording(path);
    expect(reader.loadSnapshot(3)).toEqual(later);
    expect(() => reader.loadSnapshot(4)).toThrow(JournalNotFoundError);
    reader.close();
  });
});

describe("a step of a move", () => {
  it("is there with its events, or not at all", () => {
    const { writer, recording } = writeSmallRun(directory.file());
    const batch = new EventBatch();
    batch.begin(writer.end);
    const seq = batch.nextSeq;
    const { icount, exitNumber } = writer.end;
    batch.appendRow({
      seq,
      kind: "OwnershipMoved",
      version: 1,
      vcpu: -1,
      icount,
      exitNumber,
      payload: { epoch: 2, to: "dst" },
    });
    writer.appendOwnership(
      { recording: recording.path, epoch: 2, owner: "dst", state: "moved", detail: { seq } },
      batch,
    );
    writer.finish("sealed", { index: false });
    const reader = openRecording(recording.path);
    expect(reader.ownership().map(({ epoch, state }) => [epoch, state])).toEqual([[1, "taken"], [2, "moved"]]); // prettier-ignore
    expect(reader.end).toMatchObject({ state: "sealed", firstSeq: seq + 1 });
    reader.close();
    alter(recording.path, "UPDATE ownership SET owner = 'src' WHERE number = 2");
    expect(() => openRecording(recording.path).ownership()).toThrow("row 2 is not what was written");
  });
});

describe("the hash chain", () => {
  it("can be named where a batch ends, so that a child can say what it grew from", () => {
    const { path } = smallRecording(directory.file());
    const reader = openRecording(path);
    const { heads } = reader.tables.batches;
    expect(reader.chainAt(reader.end.firstSeq - 1)).toBe(reader.end.chain);
    expect(reader.chainAt(0)).toMatch(/^[0-9a-f]{64}$/);
    for (const { firstSeq, eventCount, chain } of heads)
      expect(reader.chainAt(firstSeq + eventCount - 1)).toBe(hex(chain));
    expect(reader.chainAt(reader.end.firstSeq)).toBeUndefined();
    expect(reader.chainAt((heads[0]?.eventCount ?? 0) + 5)).toBeUndefined();
    reader.close();
  });

  it("is another when anything of header or events is another", () => {
    const chainOf = (seed: number, createdBy: string): string => {
      const writer = createRecording(directory.file(), sampleHeader({ createdBy }));
      const run = new SampleRun(seed, START, (batch) => writer.append(batch, "normal"));
      run.run(200);
      run.end();
      writer.close();
      return writer.end.chain;
    };
    expect(chainOf(1, "a")).toBe(chainOf(1, "a"));
    expect(new Set([chainOf(1, "a"), chainOf(2, "a"), chainOf(1, "b")]).size).toBe(3);
  });
});

describe("moving and removing a recording", () => {
  const filesOf = (path: string): string[] =>
    readdirSync(directory.path).filter((name) => name.startsWith(basename(path)));

  it("takes along what a killed writer had not brought into the file", () => {
    const source = directory.file();
    const { writer } = writeSmallRun(source);
    const texts = batchTexts(writer);
    const killed = directory.file();
    for (const suffix of ["", "-wal"]) copyFileSync(source + suffix, killed + suffix);
    const target = directory.file();
    writeFileSync(target, "an older one");
    writeFileSync(`${target}-wal`, "its log");
    moveRecording(killed, target);
    expect(filesOf(killed)).toEqual([]);
    const reader = openRecording(target);
    expect(batchTexts(reader)).toEqual(texts);
    reader.close();
    removeRecording(target);
    expect(filesOf(target)).toEqual([]);
    writer.close();
  });

  it("leaves alone what is being recorded", () => {
    const { writer, recording } = writeSmallRun(directory.file());
    expect(() => moveRecording(recording.path, directory.file())).toThrow(JournalBusyError);
    expect(() => removeRecording(recording.path)).toThrow(JournalBusyError);
    writer.finish("closed", { index: false });
    expect(fsck(recording.path).isWhole).toBe(true);
  });

  it("moves a file that is no database as it is", () => {
    const [from, to] = [directory.file(), directory.file()];
    writeFileSync(from, "no database ".repeat(1000));
    moveRecording(from, to);
    expect(readFileSync(to, "utf8")).toContain("no database");
  });
});

describe("a clean end", () => {
  const filesOf = (path: string): string[] =>
    readdirSync(directory.path).filter((name) => name.startsWith(basename(path)));

  it("does not wait for a reader, and the reader's close leaves one file", () => {
    const { writer, recording } = writeSmallRun(directory.file());
    const reader = openRecording(recording.path);
    const texts = batchTexts(reader);
    const start = performance.now();
    writer.finish("closed", { index: false });
    expect(performance.now() - start).toBeLessThan(2000);
    expect(batchTexts(reader)).toEqual(texts);
    reader.close();
    expect(filesOf(recording.path)).toEqual([basename(recording.path)]);
    expect(fsck(recording.path)).toMatchObject({ isWhole: true, notes: [] });
  });

  it("keeps a recording whole for which the disk has no room for derived tables", () => {
    const fill = (writer: RecordingWriter): number => {
      const run = new SampleRun(1, START, (batch) => writer.append(batch, "normal"));
      run.run(8000);
      run.end();
      return run.batch.nextSeq;
    };
    const path = directory.file();
    const writer = createRecording(path, sampleHeader(), { fileBytesMax: 400_000 });
    const nextSeq = fill(writer);
    expect(() => writer.finish("closed", { index: true })).toThrow(JournalWriteError);
    expect(filesOf(path)).toEqual([basename(path)]);
    expect(fsck(path)).toMatchObject({ isWhole: true, end: { state: "closed", firstSeq: nextSeq } });
  });

  it("is not disturbed by the -wal of another recording that was removed", () => {
    const path = directory.file();
    const { writer } = writeSmallRun(path);
    const left = openRecording(path);
    writer.finish("closed", { index: false });
    // Still open, so its log is still there.
    rmSync(path);
    smallRecording(path);
    left.close();
    expect(fsck(path).isWhole).toBe(true);
  });
});
