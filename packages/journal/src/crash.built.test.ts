import { afterAll, describe, expect, it } from "@jest/globals";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { JournalDamagedError } from "./errors.js";
import { fsck } from "./fsck.js";
import { holdsNothing } from "./recording-files.js";
import { openRecording } from "./recording-reader.js";
import { continueRecording, createRecording } from "./recording-writer.js";
import { DATABASE_PAGE_BYTES } from "./store/schema.js";
import { batchText, batchTexts } from "./testing/recorded-answers.js";
import { sampleHeader, sampleMemory, SampleRun, SeededNumbers } from "./testing/sample-run.js";
import { takeSampleSnapshot } from "./testing/small-recording.js";
import { TemporaryDirectory } from "./testing/temporary-directory.js";

const directory = new TemporaryDirectory();
afterAll(() => directory.remove());
const SEED = Number(process.env["JOURNAL_CRASH_SEED"] ?? Date.now() & 0xffff);
const NOBODY = 65_534;

function built(name: string): string {
  return fileURLToPath(new URL(`../dist/testing/${name}.js`, import.meta.url));
}

/** Records in another process, which is killed once it has committed `commits` batches. Gives the last event it had told of. */
function recordAndKill(path: string, seed: number, commits: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [built("crash-child"), path, String(seed)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let told = "";
    child.stdout.on("data", (text: Buffer) => {
      told += text.toString();
      if (told.split("\n").length > commits) child.kill("SIGKILL");
    });
    child.on("error", reject);
    child.on("exit", (_, signal) => {
      const lines = told.split("\n").slice(0, -1);
      if (signal === "SIGKILL") resolve(Number(lines.at(-1)));
      else reject(new Error(`the recording process ended by itself: ${told}`));
    });
  });
}

/** The batches that a recording of this seed begins with, at least up to event `lastSeq`. */
function expectedTexts(seed: number, lastSeq: number): string[] {
  const texts: string[] = [];
  const writer = createRecording(directory.file(), sampleHeader());
  const run = new SampleRun(seed, { firstSeq: 1, exitNumber: 0, icount: 0 }, (batch) => {
    writer.append(batch, "normal");
    texts.push(batchText(batch));
  });
  for (let number = 0; run.batch.nextSeq <= lastSeq + 4096; number++) {
    takeSampleSnapshot(writer, run, number, sampleMemory(number, 256, 8));
    run.run(run.exitNumber + 400);
  }
  writer.close();
  return texts;
}

describe(`a recording whose process is killed (seed ${SEED}, JOURNAL_CRASH_SEED)`, () => {
  const numbers = new SeededNumbers(SEED);

  it.each([1, 2, 3, 4, 5])("is a whole prefix of its run, round %i", async () => {
    const path = directory.file();
    const seed = numbers.below(1000);
    const lastTold = await recordAndKill(path, seed, 1 + numbers.below(40));
    const report = fsck(path);
    expect(report).toMatchObject({ isWhole: true, problems: [], notes: [], end: { state: "open" } });
    const reader = openRecording(path);
    const lastSeq = reader.end.firstSeq - 1;
    expect(lastSeq).toBeGreaterThanOrEqual(lastTold);
    const texts = batchTexts(reader);
    expect(texts).toEqual(expectedTexts(seed, lastSeq).slice(0, texts.length));
    for (const { number } of reader.snapshots()) reader.loadSnapshot(number);
    reader.close();
  });

  it("goes on behind its last event", async () => {
    const path = directory.file();
    await recordAndKill(path, 1, 12);
    const reader = openRecording(path);
    const before = batchTexts(reader);
    reader.close();
    const writer = continueRecording(path);
    const appended: string[] = [];
    const run = new SampleRun(2, writer.end, (batch) => {
      writer.append(batch, "normal");
      appended.push(batchText(batch));
    });
    run.run(writer.end.exitNumber + 300);
    run.end();
    writer.finish("closed", { index: false });
    expect(batchTexts(openRecording(path))).toEqual([...before, ...appended]);
    expect(fsck(path).isWhole).toBe(true);
    expect(existsSync(`${path}-wal`)).toBe(false);
  });

  it("opens without its -wal, up to the last batch that had reached the file, and says so", async () => {
    const path = directory.file();
    await recordAndKill(path, 3, 40);
    const whole = batchTexts(openRecording(path));
    const copy = directory.file();
    copyFileSync(path, copy);
    const reader = openRecording(copy);
    const texts = batchTexts(reader);
    expect(texts).toEqual(whole.slice(0, texts.length));
    // What is not in the file yet is at most a write-ahead log of 1 MiB.
    expect(texts.length).toBeGreaterThan(0);
    expect(reader.notes).toMatchObject([{ code: "wal-missing" }]);
    expect(reader.notes[0]?.text).toContain(`event:${reader.end.firstSeq - 1}`);
    reader.close();
    const { isWhole, problems, replaysTo } = fsck(copy);
    expect({ isWhole, parts: problems.map(({ place }) => place.part) }).toEqual({ isWhole: false, parts: ["end"] });
    expect(replaysTo?.seq).toBe(reader.end.firstSeq - 1);
    expect(readdirSync(directory.path).filter((name) => name.startsWith(basename(copy)))).toEqual([basename(copy)]);
  });
});

describe("a killed recording whose -wal is damaged", () => {
  const HEADER_BYTES = 32;
  const FRAME_BYTES = 24 + DATABASE_PAGE_BYTES;

  /** Frames since the log last began anew; behind them may stand older ones. */
  function framesOf(log: Buffer): number {
    const salts = log.subarray(16, 24);
    let count = 0;
    const startOf = (frame: number): number => HEADER_BYTES + frame * FRAME_BYTES;
    const saltsOf = (frame: number): Buffer => log.subarray(startOf(frame) + 8, startOf(frame) + 16);
    while (startOf(count + 1) <= log.byteLength && saltsOf(count).equals(salts)) count += 1;
    return count;
  }

  /** A copy, with a bit of its -wal the other way round. */
  function flipped(path: string, log: Buffer, at: number): string {
    const copy = directory.file();
    copyFileSync(path, copy);
    const changed = Buffer.from(log);
    changed.writeUInt8(changed.readUInt8(at) ^ 0x10, at);
    writeFileSync(`${copy}-wal`, changed);
    return copy;
  }

  /** Pages that a checkpoint had written may be newer than what is left of the log: then nothing fits any more. */
  function codesOf(path: string, whole: readonly string[]): string[] {
    try {
      const reader = openRecording(path);
      const texts = batchTexts(reader);
      expect(texts).toEqual(whole.slice(0, texts.length));
      reader.close();
      return reader.notes.map(({ code }) => code);
    } catch (error) {
      if (!(error instanceof JournalDamagedError)) throw error;
      return ["wal-damaged"];
    }
  }

  it("is damaged, unless it is the last frame, which may have been half written", async () => {
    let [path, log] = ["", Buffer.alloc(0)];
    for (let round = 6; framesOf(log) < 4; round++) {
      path = directory.file();
      await recordAndKill(path, round, 40);
      log = readFileSync(`${path}-wal`);
    }
    const whole = batchTexts(openRecording(path));
    const count = framesOf(log);
    const inFrame = (frame: number): number => HEADER_BYTES + frame * FRAME_BYTES + 1000;
    for (const at of [17, inFrame(0), inFrame(count >> 1), inFrame(count - 2)])
      expect([at, codesOf(flipped(path, log, at), whole)]).toEqual([at, ["wal-damaged"]]);
    expect(fsck(flipped(path, log, inFrame(count - 2))).isWhole).toBe(false);
    expect(codesOf(flipped(path, log, inFrame(count - 1)), whole)).toEqual([]);
  });
});

describe("a recording whose process is killed before its first event", () => {
  function killed(where: "creating" | "filling"): string {
    const path = directory.file();
    const { signal, stderr } = spawnSync(process.execPath, [built("killed-child"), path, where], { encoding: "utf8" });
    expect({ signal, stderr }).toEqual({ signal: "SIGKILL", stderr: "" });
    return path;
  }

  it("is not there when it was being made, and can be made again", () => {
    const path = killed("creating");
    expect(existsSync(path)).toBe(false);
    createRecording(path, sampleHeader()).close();
    expect(openRecording(path).header).toEqual(sampleHeader());
  });

  it("is whole without the snapshot that was being written, and nothing is changed by reading it", () => {
    const path = killed("filling");
    const files = [path, `${path}-journal`];
    const before = files.map((file) => readFileSync(file));
    const reader = openRecording(path);
    expect({ header: reader.header, end: reader.end, snapshots: reader.snapshots() }).toMatchObject({
      ...{ header: sampleHeader(), end: { state: "open", firstSeq: 1, exitNumber: 0 }, snapshots: [] },
    });
    reader.close();
    expect(fsck(path)).toMatchObject({ isWhole: true, problems: [] });
    expect(files.map((file, index) => before[index]?.equals(readFileSync(file)))).toEqual([true, true]);
    expect(holdsNothing(path)).toBe(false);
  });

  it("goes on as an empty one when its snapshot was being written", () => {
    const path = killed("filling");
    const writer = continueRecording(path);
    writer.finish("closed", { index: false });
    expect(existsSync(`${path}-journal`)).toBe(false);
    expect(fsck(path)).toMatchObject({ isWhole: true, problems: [], end: { state: "closed" } });
  });
});

describe("a recording in a directory that can't be written", () => {
  /** Reads as a user for whom the directory is read-only, which nothing is for root. */
  function readThere(path: string): {
    lastSeq: number;
    notes: { code: string }[];
    batches: number;
    snapshots: number[];
  } {
    const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
    return JSON.parse(execFileSync(process.execPath, [built("read-child"), path], { ...user, encoding: "utf8" }));
  }

  /** A directory with copies of a recording's files. */
  function place(path: string, suffixes: readonly string[]): string {
    chmodSync(directory.path, 0o755);
    const target = `${path}.there`;
    mkdirSync(target);
    for (const suffix of suffixes) {
      copyFileSync(`${path}${suffix}`, join(target, `vm.hvj${suffix}`));
      chmodSync(join(target, `vm.hvj${suffix}`), 0o444);
    }
    chmodSync(target, 0o555);
    return join(target, "vm.hvj");
  }

  it("is read when it was closed", () => {
    const path = directory.file();
    const writer = createRecording(path, sampleHeader());
    const run = new SampleRun(1, { firstSeq: 1, exitNumber: 0, icount: 0 }, (batch) => writer.append(batch, "normal"));
    takeSampleSnapshot(writer, run, 0, sampleMemory(0, 512, 4));
    run.run(500);
    run.end();
    writer.finish("closed", { index: true });
    expect(readThere(place(path, [""]))).toMatchObject({ lastSeq: run.batch.nextSeq - 1, notes: [], snapshots: [0] });
  });

  it("is read to its end when its process was killed and its -wal is there", async () => {
    const path = directory.file();
    await recordAndKill(path, 4, 9);
    const reader = openRecording(path);
    const there = place(path, ["", "-wal"]);
    const before = readFileSync(there);
    expect(readThere(there)).toMatchObject({ lastSeq: reader.end.firstSeq - 1, notes: [], batches: reader.batchCount });
    expect(readFileSync(there).equals(before)).toBe(true);
    expect(readdirSync(`${path}.there`)).toEqual(["vm.hvj", "vm.hvj-wal"]);
    reader.close();
  });

  it("is read as far as the file goes when its -wal is not there", async () => {
    const path = directory.file();
    await recordAndKill(path, 5, 30);
    expect(readThere(place(path, [""]))).toMatchObject({ notes: [{ code: "wal-missing" }] });
  });
});
