import { type BatchStart, EventBatch, type RecordingHeader } from "@hvjournal/core";
import { afterAll, describe, expect, it } from "@jest/globals";
import Database from "better-sqlite3";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { hex } from "./canonical/hash.js";
import {
  JournalBusyError,
  JournalExistsError,
  JournalFormatError,
  JournalMissingError,
  JournalNotFoundError,
  JournalSealedError,
  JournalWriteError,
} from "./errors.js";
import { holdsNothing } from "./recording-files.js";
import { openRecording, type RecordingReader } from "./recording-reader.js";
import { continueRecording, createRecording, type RecordingWriter } from "./recording-writer.js";
import { createForWriting } from "./store/new-file.js";
import { batchText, batchTexts } from "./testing/recorded-answers.js";
import { sampleHeader, sampleMemory, SampleRun } from "./testing/sample-run.js";
import { SMALL_KINDS, smallRecording, takeSampleSnapshot, writeSmallRun } from "./testing/small-recording.js";
import { TemporaryDirectory } from "./testing/temporary-directory.js";

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());

const START: BatchStart = { firstSeq: 1, exitNumber: 0, icount: 0 };

/** Appends a run of `exits` exits and gives the text of each batch. */
function appendRun(writer: RecordingWriter, seed: number, start: BatchStart, exits: number): string[] {
  const texts: string[] = [];
  const run = new SampleRun(seed, start, (batch) => {
    writer.append(batch, "normal");
    texts.push(batchText(batch));
  });
  run.run(start.exitNumber + exits);
  run.end();
  return texts;
}

type Opened = Pick<RecordingReader, "header" | "end" | "readBatches" | "seekByExit" | "seekByIcount" | "close">;

/** The ways in which one and the same run comes to be read. */
const READINGS: readonly (readonly [name: string, open: () => { opened: Opened; texts: string[] }])[] = [
  [
    "its own writer",
    () => {
      const writer = createRecording(directory.file(), sampleHeader());
      const texts = appendRun(writer, 3, START, 2500);
      return { opened: writer, texts };
    },
  ],
  [
    "a reader of the closed file",
    () => {
      const path = directory.file();
      const writer = createRecording(path, sampleHeader());
      const texts = appendRun(writer, 3, START, 2500);
      writer.finish("closed", { index: true });
      return { opened: openRecording(path), texts };
    },
  ],
  [
    "a reader beside the writer",
    () => {
      const path = directory.file();
      const writer = createRecording(path, sampleHeader());
      const reader = openRecording(path);
      const texts = appendRun(writer, 3, START, 2500);
      reader.refresh();
      return { opened: { ...bound(reader), close: () => [reader, writer].forEach((each) => each.close()) }, texts };
    },
  ],
  [
    "a reader of a recording that was continued",
    () => {
      const path = directory.file();
      const first = createRecording(path, sampleHeader());
      const texts = appendRun(first, 3, START, 1200);
      first.finish("closed", { index: true });
      const second = continueRecording(path);
      texts.push(...appendRun(second, 4, second.end, 1300));
      second.finish("closed", { index: false });
      return { opened: openRecording(path), texts };
    },
  ],
];

function bound(reader: RecordingReader): Opened {
  const { header, end } = reader;
  return {
    header,
    end,
    readBatches: reader.readBatches.bind(reader),
    seekByExit: reader.seekByExit.bind(reader),
    seekByIcount: reader.seekByIcount.bind(reader),
    close: reader.close.bind(reader),
  };
}

describe.each(READINGS)("a recording, read by %s", (_, open) => {
  const { opened, texts } = open();
  afterAll(() => opened.close());

  it("gives back every batch as it was appended", () => {
    expect(batchTexts(opened)).toEqual(texts);
    expect(texts.length).toBeGreaterThan(3);
  });

  it("gives back its header", () => {
    expect(opened.header).toEqual(sampleHeader());
  });

  it("ends behind its last event", () => {
    const batch = new EventBatch();
    opened.readBatches(opened.end.firstSeq - 1, batch, () => true);
    expect(opened.end.firstSeq).toBe(batch.nextSeq);
    expect(opened.end.exitNumber).toBe(batch.firstExitNumber + batch.exitCount);
    expect(opened.end.icount).toBe(batch.icounts[batch.count - 1]);
    expect(opened.end.chain).toMatch(/^[0-9a-f]{64}$/);
  });

  it("begins to read at the batch that holds an event", () => {
    expect(batchTexts(opened, 1)).toEqual(texts);
    expect(batchTexts(opened, 1024)).toEqual(texts);
    expect(batchTexts(opened, 1025)).toEqual(texts.slice(1));
    expect(batchTexts(opened, opened.end.firstSeq)).toEqual([]);
  });

  it("stops reading when the visitor has seen enough", () => {
    let visits = 0;
    opened.readBatches(0, new EventBatch(), () => ++visits < 2);
    expect(visits).toBe(2);
  });

  it("finds the batch of each exit and of each icount", () => {
    const batch = new EventBatch();
    opened.readBatches(0, batch, () => {
      const { firstSeq, firstExitNumber, exitCount, firstIcount, icounts, count } = batch;
      if (exitCount === 0) return true;
      const start = { firstSeq, exitNumber: firstExitNumber, icount: firstIcount };
      expect(opened.seekByExit(firstExitNumber + 1)).toEqual(start);
      expect(opened.seekByExit(firstExitNumber + exitCount)).toEqual(start);
      expect(opened.seekByIcount(icounts[count - 1] ?? 0).firstSeq).toBeLessThanOrEqual(firstSeq);
      expect(opened.seekByIcount((icounts[count - 1] ?? 0) + 1).firstSeq).toBeGreaterThanOrEqual(
        Math.min(firstSeq + count, opened.seekByExit(1e9).firstSeq),
      );
      return true;
    });
    expect(opened.seekByExit(1e9)).toEqual(opened.seekByIcount(1e15));
  });
});

describe("snapshots and pages", () => {
  it("come back from the closed file as they were stored", () => {
    const { path, snapshots, memories } = smallRecording(directory.file());
    const reader = openRecording(path);
    expect(reader.snapshots().map(({ number }) => number)).toEqual([0, 1, 2]);
    for (const snapshot of snapshots) expect(reader.loadSnapshot(snapshot.number)).toEqual(snapshot);
    for (const memory of memories)
      for (const [hash, page] of memory.pages) expect(hex(reader.loadPage(hash))).toBe(hex(page));
    reader.close();
  });

  it("can be read by the writer before they are committed", () => {
    const writer = createRecording(directory.file(), sampleHeader());
    const { pages } = sampleMemory(9, 2000, 8);
    expect(pages.size).toBeGreaterThan(128);
    for (const [hash, page] of pages) {
      expect(writer.hasPage(hash)).toBe(false);
      writer.storePage(hash, page);
      expect(writer.hasPage(hash)).toBe(true);
    }
    for (const [hash, page] of pages) expect(hex(writer.loadPage(hash))).toBe(hex(page));
    writer.close();
  });

  it("are stored once, however often they are given", () => {
    const path = directory.file();
    const writer = createRecording(path, sampleHeader());
    const { pages } = sampleMemory(9, 200, 8);
    for (let round = 0; round < 3; round++) {
      for (const [hash, page] of pages) writer.storePage(hash, page);
      writer.append(new EventBatch(), "normal");
    }
    writer.finish("closed", { index: false });
    const database = new Database(path, { readonly: true });
    expect(database.prepare("SELECT sum(length(hashes)) FROM page_packs").pluck().get()).toBe(16 * pages.size);
    expect(database.prepare("SELECT sum(page_count) FROM page_packs").pluck().get()).toBe(pages.size);
    database.close();
  });

  it("take less room deflated, and read the same", () => {
    const sizes = (["raw", "deflate"] as const).map((coding) => {
      const path = directory.file();
      const writer = createRecording(path, sampleHeader(), { pages: coding });
      const { pages } = sampleMemory(9, 800, 8);
      for (const [hash, page] of pages) writer.storePage(hash, page);
      writer.finish("closed", { index: false });
      const reader = openRecording(path);
      for (const [hash, page] of pages) expect(hex(reader.loadPage(hash))).toBe(hex(page));
      reader.close();
      return readFileSync(path).length;
    });
    expect(sizes[1]).toBeLessThan((sizes[0] ?? 0) / 4);
  });

  it("survive chains of snapshots that are coded one against the other", () => {
    const path = directory.file();
    const writer = createRecording(path, sampleHeader());
    const run = new SampleRun(2, START, (batch) => writer.append(batch, "normal"));
    const memory = sampleMemory(1, 4096, 4);
    const snapshots = Array.from({ length: 40 }, (_, number) => {
      const pageHashes = memory.pageHashes.slice();
      pageHashes.copyWithin(number * 16, 16 * 200, 16 * (200 + number));
      return takeSampleSnapshot(writer, run, number, { pages: new Map(), pageHashes });
    });
    writer.finish("closed", { index: false });
    const reader = openRecording(path);
    for (const snapshot of snapshots)
      expect(hex(reader.loadSnapshot(snapshot.number).pageHashes)).toBe(hex(snapshot.pageHashes));
    const database = new Database(path, { readonly: true });
    const changeBytes = database.prepare("SELECT sum(length(page_changes)) FROM snapshots").pluck().get() as number;
    expect(changeBytes).toBeLessThan((40 * memory.pageHashes.length) / 8);
    database.close();
    reader.close();
  });

  it("are refused by name when they are not there", () => {
    const { path } = smallRecording(directory.file());
    const reader = openRecording(path);
    expect(() => reader.loadSnapshot(17)).toThrow(new JournalNotFoundError(path, "snapshot 17"));
    expect(() => reader.loadPage("ab".repeat(16))).toThrow("it is missing");
    reader.close();
  });
});

describe("a writer", () => {
  it("leaves one file at a clean end", () => {
    const { path } = smallRecording(directory.file());
    expect(readdirSync(directory.path).filter((name) => name.startsWith(basename(path)))).toEqual([basename(path)]);
    expect(readFileSync(path).subarray(18, 20)).toEqual(Buffer.of(1, 1));
  });

  it("says how the recording ended", () => {
    const { writer, recording } = writeSmallRun(directory.file());
    expect(writer.end.state).toBe("open");
    writer.close();
    expect(openRecording(recording.path).end.state).toBe("open");
    const again = continueRecording(recording.path);
    again.finish("sealed", { index: false });
    expect(openRecording(recording.path).end.state).toBe("sealed");
  });

  it("leaves an existing file alone", () => {
    const path = directory.file();
    writeFileSync(path, "precious");
    expect(() => createRecording(path, sampleHeader())).toThrow(JournalExistsError);
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  it("makes no file beside what is left of one that is gone, which it would take for its own", () => {
    const path = directory.file();
    writeFileSync(`${path}-wal`, "the last commits of a file that was moved away");
    expect(() => createRecording(path, sampleHeader())).toThrow(
      `can't create ${path}: ${path}-wal is left of a recording whose own file is gone`,
    );
    expect(readFileSync(`${path}-wal`, "utf8")).toContain("the last commits");
    writeFileSync(`${path}-wal`, "");
    createRecording(path, sampleHeader()).finish("closed", { index: false });
  });

  it("refuses a batch that does not follow the last one", () => {
    const writer = createRecording(directory.file(), sampleHeader());
    appendRun(writer, 3, START, 100);
    const batch = new EventBatch();
    batch.begin({ ...writer.end, firstSeq: writer.end.firstSeq + 1 });
    batch.appendIrqLine(writer.end.icount, 1, 1);
    expect(() => writer.append(batch, "normal")).toThrow(`the next event is event:${writer.end.firstSeq}`);
    batch.begin({ ...writer.end, icount: writer.end.icount - 1 });
    batch.appendIrqLine(writer.end.icount, 1, 1);
    expect(() => writer.append(batch, "normal")).toThrow("the journal ends at icount:");
    batch.begin(writer.end);
    batch.appendIrqLine(writer.end.icount, 1, 1);
    writer.append(batch, "normal");
    writer.close();
  });

  it("keeps numbers going from its parent's", () => {
    const parent: RecordingHeader["parent"] = {
      id: "ff".repeat(16), path: "src.hvj", chain: "00".repeat(32), seq: 20_330, exitNumber: 9120, icount: 700_000_000, why: "migration",
    }; // prettier-ignore
    const path = directory.file();
    const writer = createRecording(path, sampleHeader({ parent }));
    expect(writer.end).toMatchObject({ firstSeq: 20_331, exitNumber: 9120, icount: 700_000_000 });
    appendRun(writer, 3, writer.end, 200);
    writer.finish("closed", { index: false });
    const reader = openRecording(path);
    expect(reader.header.parent).toEqual(parent);
    expect(reader.seekByExit(9121)).toEqual({ firstSeq: 20_331, exitNumber: 9120, icount: 700_000_000 });
    reader.close();
  });

  it("stops at a full disk with all that it had committed", () => {
    const path = directory.file();
    const writer = createRecording(path, sampleHeader(), { fileBytesMax: 1_000_000 });
    const texts = appendRun(writer, 3, START, 2000);
    const { pages } = sampleMemory(3, 1000, 1);
    const fill = (): void => {
      for (const [hash, page] of pages) writer.storePage(hash, page);
      writer.append(new EventBatch(), "normal");
    };
    expect(fill).toThrow(JournalWriteError);
    expect(fill).toThrow(`there is no room left; it keeps everything up to event:${writer.end.firstSeq - 1}`);
    expect(() => writer.finish("closed", { index: true })).toThrow(JournalWriteError);
    writer.close();
    const reader = openRecording(path);
    expect(batchTexts(reader)).toEqual(texts);
    reader.close();
  });

  it("refuses to go on with a sealed recording unless it is forced", () => {
    const { writer, recording } = writeSmallRun(directory.file());
    writer.finish("sealed", { index: false });
    expect(() => continueRecording(recording.path)).toThrow(JournalSealedError);
    const forced = continueRecording(recording.path, { evenSealed: true });
    forced.appendOwnership({ recording: "x", epoch: 3, owner: "source", state: "reclaimed", detail: {} });
    forced.finish("closed", { index: false });
    expect(
      openRecording(recording.path)
        .ownership()
        .map(({ state }) => state),
    ).toEqual(["taken", "reclaimed"]);
  });

  it("does not share a recording with another writer", () => {
    const path = directory.file();
    const writer = createRecording(path, sampleHeader());
    appendRun(writer, 3, START, 100);
    expect(() => continueRecording(path, { lockTimeoutMs: 20 })).toThrow(JournalBusyError);
    writer.finish("closed", { index: false });
    const next = continueRecording(path, { lockTimeoutMs: 20 });
    next.close();
  });

  it("names the kinds of its events, and those that a continuation adds", () => {
    const path = directory.file();
    createRecording(path, sampleHeader(), { kinds: SMALL_KINDS }).finish("closed", { index: false });
    const more = [...SMALL_KINDS, { name: "Paused", version: 2, role: "bookkeeping" as const, fields: [] }];
    continueRecording(path, { kinds: more }).finish("closed", { index: false });
    const reader = openRecording(path);
    expect(reader.eventKinds()).toHaveLength(4);
    expect(reader.eventKinds()).toEqual(expect.arrayContaining(more));
    reader.close();
  });
});

describe("a file that may be made anew", () => {
  it("has no bytes, or is a database without a table, whatever its log", () => {
    const empty = directory.file();
    expect(holdsNothing(empty)).toBe(false);
    writeFileSync(empty, "");
    expect(holdsNothing(empty)).toBe(true);
    for (const mode of ["DELETE", "WAL"]) {
      const path = directory.file();
      const database = new Database(path);
      database.exec("CREATE TABLE gone(x)");
      database.pragma(`journal_mode = ${mode}`);
      expect(holdsNothing(path)).toBe(false);
      database.exec("DROP TABLE gone");
      expect(holdsNothing(path)).toBe(true);
      database.close();
      expect(holdsNothing(path)).toBe(true);
    }
  });

  it("is no text, no directory, no device, and no recording", () => {
    const text = directory.file();
    writeFileSync(text, "x");
    const { path } = smallRecording(directory.file());
    for (const other of [text, directory.path, "/dev/null", path]) expect(holdsNothing(other)).toBe(false);
  });
});

describe("making", () => {
  it("says of a directory that is not there that nothing can be written, and not that a recording is missing", () => {
    const path = `${directory.path}/nowhere/vm.hvj`;
    const make = (): unknown => createForWriting(path, () => undefined);
    expect(make).toThrow(JournalWriteError);
    expect(make).toThrow(`can't write ${path}: its directory does not exist; make it, or record elsewhere`);
  });
});

describe("opening", () => {
  it("names a missing file, a directory, and what is no recording", () => {
    const path = directory.file();
    expect(() => openRecording(path)).toThrow(`can't open ${path}: no such file`);
    expect(() => openRecording(directory.path)).toThrow(JournalMissingError);
    writeFileSync(path, "");
    expect(() => openRecording(path)).toThrow("is not a recording: it is empty");
    writeFileSync(path, "#!/bin/sh\n".repeat(100));
    expect(() => openRecording(path)).toThrow(JournalFormatError);
    expect(existsSync(`${path}-wal`)).toBe(false);
  });

  it("names another program's database", () => {
    const path = directory.file();
    const database = new Database(path);
    database.exec("CREATE TABLE header(key, value)");
    database.close();
    expect(() => openRecording(path)).toThrow(new JournalFormatError(path, `${path} is not a recording`, undefined));
  });

  it("says that a later format can't be told with this build", () => {
    const path = directory.file();
    createRecording(path, sampleHeader()).finish("closed", { index: false });
    const database = new Database(path);
    database.pragma("user_version = 9");
    // A later format may have another header table.
    database.exec("DROP TABLE header");
    database.close();
    expect(() => openRecording(path)).toThrow(
      expect.objectContaining({ name: "JournalFormatError", formatVersion: 9 }),
    );
  });
});
