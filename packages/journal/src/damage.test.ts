import { EventBatch } from "@hvjournal/core";
import { afterAll, describe, expect, it } from "@jest/globals";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { JournalDamagedError } from "./errors.js";
import { damageBesideBatches, fsck } from "./fsck.js";
import { openRecording, type RecordingReader } from "./recording-reader.js";
import { toItsEnd } from "./steps.js";
import { DATABASE_PAGE_BYTES } from "./store/schema.js";
import { batchText, batchTexts, questions } from "./testing/recorded-answers.js";
import { sampleMemory, SampleRun, SeededNumbers } from "./testing/sample-run.js";
import { SMALL_PAGE_COUNT, smallRecording, takeSampleSnapshot, writeSmallRun } from "./testing/small-recording.js";
import { TemporaryDirectory } from "./testing/temporary-directory.js";

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());

const SEED = Number(process.env["JOURNAL_DAMAGE_SEED"] ?? Date.now() & 0xffff);
const FLIPS = Number(process.env["JOURNAL_DAMAGE_FLIPS"] ?? 60);

type Answers = ReadonlyMap<string, string>;
const LOST = "lost";

/** Each question's answer, or LOST where damage was found and named. Anything else that is thrown is a failure. */
function answersOf(path: string, pages: readonly string[]): Answers {
  const answers = new Map<string, string>();
  const ask = (name: string, act: () => string): void => {
    try {
      answers.set(name, act());
    } catch (error) {
      if (!(error instanceof JournalDamagedError)) throw new Error(`${name}: ${String(error)}`, { cause: error });
      expect(error.place.part).not.toBe("");
      answers.set(name, LOST);
    }
  };
  ask("open", () => {
    const reader = openRecording(path);
    try {
      for (const [name, act] of questions(reader, pages)) ask(name, act);
    } finally {
      reader.close();
    }
    return "open";
  });
  return answers;
}

const original = smallRecording(directory.file());
const pages = [...new Set(original.memories.flatMap((memory) => [...memory.pages.keys()]))];
const whole = answersOf(original.path, pages);
const bytes = readFileSync(original.path);

/** Asks everything of a copy with one bit flipped; gives how many answers were lost. */
function flip(byte: number, bit: number): number {
  const path = directory.file();
  const damaged = Uint8Array.from(bytes);
  damaged[byte] = (damaged[byte] ?? 0) ^ (1 << bit);
  writeFileSync(path, damaged);
  let lost = 0;
  for (const [name, answer] of answersOf(path, pages)) {
    if (answer === LOST) lost += 1;
    else expect({ byte, bit, name, answer }).toEqual({ byte, bit, name, answer: whole.get(name) });
  }
  // What a question lost, the check of the whole file must find as well.
  if (lost > 0) expect({ byte, bit, isWhole: fsck(path).isWhole }).toEqual({ byte, bit, isWhole: false });
  rmSync(path);
  return lost;
}

describe(`a bit that flips in a closed recording (seed ${SEED}, JOURNAL_DAMAGE_SEED)`, () => {
  const numbers = new SeededNumbers(SEED);

  it("changes no answer, or is found and named, wherever it is", () => {
    let found = 0;
    for (let count = 0; count < FLIPS; count++) if (flip(numbers.below(bytes.length), numbers.below(8)) > 0) found += 1;
    // The rest hit room that SQLite left in its pages.
    expect(found).toBeGreaterThan(0);
  });

  it("changes no answer, or is found and named, in SQLite's own header and schema", () => {
    let found = 0;
    const places = [
      ...Array.from({ length: 108 }, (_, byte) => byte),
      ...Array.from({ length: 20 }, () => 108 + numbers.below(3988)),
    ];
    for (const byte of places) if (flip(byte, numbers.below(8)) > 0) found += 1;
    // The magic string, the page size, the marks of the format.
    expect(found).toBeGreaterThan(16);
  });

  it("is the reason for the loss: the same file without it has every answer", () => {
    expect([...whole.values()]).not.toContain(LOST);
    expect(fsck(original.path)).toMatchObject({
      isWhole: true,
      problems: [],
      snapshotCount: 3,
      replaysTo: { seq: original.lastSeq },
    });
  });
});

describe("a recording that was cut off", () => {
  const WRITE_AND_READ_VERSION = 18;
  const half = Math.floor(bytes.length / 2);

  function cutOff(change: (copy: Buffer) => void = () => undefined): string {
    const path = directory.file();
    const copy = Buffer.from(bytes.subarray(0, half));
    change(copy);
    writeFileSync(path, copy);
    return path;
  }

  it("says how much of it is there", () => {
    const path = cutOff();
    const what = `it is cut off: it has ${half} of ${bytes.length} bytes`;
    expect(() => openRecording(path)).toThrow(`${path} is damaged at byte ${half}: ${what}`);
    const [problem] = fsck(path).problems;
    expect(problem).toMatchObject({ what, place: { part: `byte ${half}` } });
  });

  /** Every batch up to event `seq`: none of them may be damaged. */
  function textsUpTo(reader: RecordingReader, seq: number): string[] {
    const texts: string[] = [];
    if (seq === 0) return texts;
    reader.readBatches(0, new EventBatch(), (batch) => {
      texts.push(batchText(batch));
      return batch.nextSeq <= seq;
    });
    return texts;
  }

  it("opens with what is whole of it, when asked to, and fsck says up to where", () => {
    const reader = openRecording(original.path);
    const before = batchTexts(reader);
    reader.close();
    const kept = new Set<number>();
    for (let bytesLeft = DATABASE_PAGE_BYTES; bytesLeft < bytes.length; bytesLeft += DATABASE_PAGE_BYTES) {
      const path = directory.file();
      writeFileSync(path, bytes.subarray(0, bytesLeft));
      const { isWhole, replaysTo, end } = fsck(path);
      expect(isWhole).toBe(false);
      if (end === undefined || replaysTo === undefined) continue;
      const salvaged = openRecording(path, { salvage: true });
      expect(salvaged.notes).toMatchObject([{ code: "salvaged" }]);
      const texts = textsUpTo(salvaged, replaysTo.seq);
      expect(texts).toEqual(before.slice(0, texts.length));
      expect(salvaged.tables.batches.position.seq).toBeGreaterThanOrEqual(replaysTo.seq);
      kept.add(texts.length);
      salvaged.close();
    }
    expect(Math.max(...kept)).toBe(before.length);
  });

  it("says where the rest was when it is a copy, without the -wal, from the middle of a checkpoint", () => {
    const path = cutOff((copy) => copy.fill(2, WRITE_AND_READ_VERSION, WRITE_AND_READ_VERSION + 2));
    expect(() => openRecording(path)).toThrow(`the rest was in ${path}-wal, which is missing`);
  });
});

describe("a damaged batch", () => {
  /** A recording whose batch `number` has one bit flipped in its columns. */
  function damageBatch(number: number): { path: string; byte: number } {
    const path = directory.file();
    copyFileSync(original.path, path);
    const reader = openRecording(path);
    const blob = reader.tables.connection.database
      .prepare("SELECT bytes FROM batch_columns WHERE number = ?")
      .pluck()
      .get(number);
    reader.close();
    const damaged = Buffer.from(bytes);
    const place = damaged.indexOf((blob as Buffer).subarray(0, 64));
    damaged[place + 20] = (damaged[place + 20] ?? 0) ^ 4;
    writeFileSync(path, damaged);
    return { path, byte: place + 20 };
  }

  it("is named with its events and exits, and with how far the recording replays", () => {
    const { path } = damageBatch(3);
    const heads = openRecording(path).tables.batches.heads;
    const [before, head] = [heads[1], heads[2]];
    const damage: unknown = (() => {
      try {
        return batchTexts(openRecording(path));
      } catch (error) {
        return error;
      }
    })();
    const first = head?.firstSeq ?? 0;
    expect(damage).toMatchObject({
      name: "JournalDamagedError",
      code: "journal-damaged",
      next: `hvjournal fsck ${path}`,
      place: { part: "batch 3", events: [first, first + (head?.eventCount ?? 0) - 1] },
      replaysTo: { seq: first - 1, exitNumber: head?.exitsBefore, icount: before?.lastIcount },
    });
    expect(String(damage)).toContain(`it replays up to event:${first - 1}`);
  });

  it("does not keep the batches before it from being read", () => {
    const { path } = damageBatch(3);
    const seen: number[] = [];
    const reader = openRecording(path);
    const visit = (batch: EventBatch): boolean => seen.push(batch.firstSeq) > 0;
    expect(() => reader.readBatches(0, new EventBatch(), visit)).toThrow(JournalDamagedError);
    expect(seen).toEqual(reader.tables.batches.heads.slice(0, 2).map(({ firstSeq }) => firstSeq));
    reader.close();
  });

  it("is what fsck reports", () => {
    const { path, byte } = damageBatch(2);
    const report = fsck(path);
    const head = openRecording(path).tables.batches.heads[1];
    expect(report.isWhole).toBe(false);
    const [problem] = report.problems;
    const [first = Infinity, last = 0] = problem?.bytes ?? [];
    expect(problem?.place.part).toBe("batch 2");
    expect(first).toBeLessThanOrEqual(byte);
    expect(last).toBeGreaterThanOrEqual(byte);
    expect(last - first).toBeLessThan(4 * 4096);
    expect(report.replaysTo?.seq).toBe((head?.firstSeq ?? 0) - 1);
  });
});

describe("a damaged page", () => {
  it("is missing by name, and fsck says where it stands in the file", () => {
    const path = directory.file();
    const [hash, content] = [...(original.memories[1]?.pages ?? [])][0] ?? ["", new Uint8Array()];
    const start = content.findIndex((byte) => byte !== 0);
    const byte = bytes.indexOf(content.subarray(start, start + 20));
    const damaged = Uint8Array.from(bytes);
    damaged[byte] = (damaged[byte] ?? 0) ^ 0x10;
    writeFileSync(path, damaged);
    const reader = openRecording(path);
    expect(() => reader.loadPage(hash)).toThrow(
      `${path} is damaged at page ${hash}: its content is not what its hash says`,
    );
    const passedBy = toItsEnd(damageBesideBatches(reader));
    reader.close();
    const { problems, replaysTo } = fsck(path);
    expect(problems.map(({ place }) => place.part)).toEqual([`page ${hash}`, "snapshot 1"]);
    expect(passedBy).toEqual(problems);
    expect(problems[0]?.bytes?.[0]).toBeLessThanOrEqual(byte);
    expect(problems[0]?.bytes?.[1]).toBeGreaterThanOrEqual(byte);
    expect(replaysTo?.seq).toBe(original.lastSeq);
  });
});

describe("a recording that is still being written", () => {
  it("is not damaged by what came after it was opened", () => {
    const path = directory.file();
    const { writer } = writeSmallRun(path);
    const reader = openRecording(path);
    const run = new SampleRun(6, reader.end, (batch) => writer.append(batch, "normal"));
    takeSampleSnapshot(writer, run, 3, sampleMemory(14, SMALL_PAGE_COUNT, 12));
    run.run(500);
    run.end();
    expect(toItsEnd(damageBesideBatches(reader))).toEqual([]);
    expect(fsck(path)).toMatchObject({ isWhole: true, snapshotCount: 4, end: { state: "open" } });
    reader.close();
    writer.close();
  });
});

describe("a recording of which half was cut off", () => {
  it("is told of once for each part, in words of its own", () => {
    const path = directory.file();
    for (const share of [0.9, 0.5, 0.2]) {
      writeFileSync(path, bytes.subarray(0, bytes.length * share));
      const { problems } = fsck(path);
      const texts = problems.map(({ what, place }) => `${place.part}: ${what}`);
      expect(texts[0]).toContain("it is cut off");
      expect(new Set(texts).size).toBe(texts.length);
      expect(texts.join("\n")).not.toContain("malformed");
    }
  });
});

describe("a recording whose index is damaged", () => {
  it("opens with what is whole of it, when asked to", () => {
    const path = directory.file();
    const damaged = Buffer.from(bytes);
    const reader = openRecording(original.path);
    const [, , third] = reader.tables.batches.heads;
    const place = damaged.indexOf(Buffer.from(third?.chain ?? []));
    const before = batchTexts(reader);
    reader.close();
    damaged[place] = (damaged[place] ?? 0) ^ 1;
    writeFileSync(path, damaged);
    expect(() => openRecording(path)).toThrow(`damaged at batch 3, its row of the index`);
    const salvaged = openRecording(path, { salvage: true });
    expect(batchTexts(salvaged)).toEqual(before.slice(0, 2));
    expect(salvaged.end).toMatchObject({ state: "open", firstSeq: third?.firstSeq });
    expect(salvaged.notes).toMatchObject([{ code: "salvaged" }]);
    expect(salvaged.snapshots().map(({ number }) => number)).toEqual(
      [0, 1].filter((number) => (original.snapshots[number]?.seq ?? 0) < (third?.firstSeq ?? 0)),
    );
    salvaged.close();
  });
});

describe(`a bit that flips in the -wal of a recording that was not closed (seed ${SEED})`, () => {
  it("costs what came after it, and nothing before it", () => {
    const path = directory.file();
    const { writer } = writeSmallRun(path);
    const main = readFileSync(path);
    const log = readFileSync(`${path}-wal`);
    const texts = batchTexts(writer);
    writer.close();
    const numbers = new SeededNumbers(SEED);
    for (let count = 0; count < 40; count++) {
      const copy = directory.file();
      const damaged = Uint8Array.from(log);
      const byte = numbers.below(log.length);
      damaged[byte] = (damaged[byte] ?? 0) ^ (1 << numbers.below(8));
      writeFileSync(copy, main);
      writeFileSync(`${copy}-wal`, damaged);
      const reader = openRecording(copy);
      const found = batchTexts(reader);
      expect({ byte, found }).toEqual({ byte, found: texts.slice(0, found.length) });
      reader.close();
    }
  });
});
