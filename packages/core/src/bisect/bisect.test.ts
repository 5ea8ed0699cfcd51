import { beforeAll, describe, expect, it } from "@jest/globals";
import { parseExpression } from "../expression/parse-expression.js";
import { parsePosition } from "../position/parse-position.js";
import { formatPosition, machinePosition } from "../position/print-position.js";
import { resolvePosition } from "../position/resolve-position.js";
import { seek } from "../replay/seek.js";
import type { MemoryJournal } from "../testing/memory-journal.js";
import { Assembler, busyProgram, COUNTER_ADDRESS, DMA_ADDRESS } from "../testing/programs.js";
import { recordSmall, replaySmall } from "../testing/recordings.js";
import { Op, word, wordImmediate } from "../testing/small-cpu.js";
import { bisectCommand, BisectStoppedError, findBoundary, verdictOfStatus, type Verdict } from "./bisect-command.js";
import { BisectEndError, bisectWhen, findInJournal, type BisectWhenResult } from "./bisect-when.js";
import { minimizeChanges } from "./minimize-changes.js";

const hex = (address: number): string => `0x${address.toString(16)}`;

let journal: MemoryJournal;
beforeAll(async () => {
  journal = await recordSmall({ program: busyProgram(6, 200) });
});

function when(
  source: string,
  options: { build?: Parameters<typeof replaySmall>[1]; good?: string; all?: boolean; of?: MemoryJournal } = {},
): BisectWhenResult {
  const of = options.of ?? journal;
  return bisectWhen({
    replayer: replaySmall(of, options.build),
    expression: parseExpression(source),
    good: resolvePosition(parsePosition(options.good ?? "start"), of),
    lastSeq: of.end.firstSeq - 1,
    all: options.all ?? false,
  });
}

/** The first moment by asking at every single unit. */
function byHand(isTrue: (read: (address: number) => number) => boolean): string {
  const replayer = replaySmall(journal);
  seek(replayer, resolvePosition(parsePosition("start"), journal));
  for (let icount = 1; ; icount++) {
    if (replayer.advance({ icount }) === "end") throw new Error("never");
    const { memory } = replayer.machine.kernel;
    if (isTrue((address) => new DataView(memory.read(address, 4).buffer).getUint32(0, true)))
      return formatPosition(machinePosition(replayer.machine));
  }
}

describe("bisect --when", () => {
  it("finds the very instruction that first makes a word of memory a value that the guest never meant", () => {
    const result = when(`*(u32 *)${hex(COUNTER_ADDRESS)} == 555`);
    expect(result.first && formatPosition(result.first.position)).toBe(byHand((read) => read(COUNTER_ADDRESS) === 555));
    expect(result).toMatchObject({
      writer: { by: "instruction", vcpu: 0, written: { physical: COUNTER_ADDRESS, bytes: 4 } },
      isWatched: true,
    });
  });

  it("finds a value that comes and goes between two exits", () => {
    // 555 stands in memory for five units, 200 units away from any exit.
    const result = when(`*(u32 *)${hex(COUNTER_ADDRESS)} == 555`, { all: true });
    expect(result.transitions.map(({ holds }) => holds)).toEqual([true, false]);
    const [up, down] = result.transitions;
    expect((down?.moment.icount ?? 0) - (up?.moment.icount ?? 0)).toBe(5);
  });

  it("finds the same first moment unit by unit where nothing can be watched, as long as it lasts to the next event", () => {
    const source = `*(u32 *)${hex(COUNTER_ADDRESS)} >= 555`;
    const watched = when(source);
    const unwatched = when(source, { build: { watch: false } });
    expect(unwatched.first).toEqual(watched.first);
    expect(unwatched.isWatched).toBe(false);
    expect(unwatched.writer).toMatchObject({ by: "instruction", vcpu: 0 });
    expect(watched.writer).toMatchObject({ pc: unwatched.writer?.by === "instruction" ? unwatched.writer.pc : 0n });
  });

  it("names the DMA that wrote, and the exit that it answers", () => {
    const result = when(`changed(phys_page(${hex(DMA_ADDRESS + 100)}), 8)`);
    expect(result.writer).toMatchObject({
      by: "event",
      kind: "GuestMemoryWritten",
      written: { physical: DMA_ADDRESS, bytes: 600 },
    });
    expect(result.first?.position.at).toBe("exit");
  });

  it("finds the unit at which a register takes a value that lasts", () => {
    const result = when("$x5 == 4", { good: "exit:8" });
    expect(result.writer).toMatchObject({ by: "instruction" });
    const replayer = replaySmall(journal);
    seek(replayer, { icount: (result.first?.icount ?? 0) - 1 });
    expect(replayer.machine.kernel.readRegister(0, "x5")).toBe(5n);
    seek(replayer, { icount: result.first?.icount ?? 0 });
    expect(replayer.machine.kernel.readRegister(0, "x5")).toBe(4n);
  });

  it("names the answer to an exit that set a register", () => {
    const result = when("$x0 == 42");
    expect(result.writer).toMatchObject({ by: "event", kind: "RegisterSet" });
    expect(when("$x6 != 0").writer).toMatchObject({ by: "answer" });
  });

  it("asks about exits and the console too", () => {
    expect(when("count(exit.reason == SYS64) == 5").first?.position).toEqual({ at: "exit", number: 33 });
    const third = findInJournal(replaySmall(journal), parseExpression("console =~ /rrr/"), {
      first: 1,
      last: Infinity,
    });
    expect({ seq: third }).toEqual(resolvePosition(parsePosition("console:/rrr/"), journal));
    expect(when("console =~ /rrr/ && $pc").first?.seq).toBe(third);
  });

  it("watches places that lie far apart one after the other", () => {
    const result = when(`*(u32 *)${hex(COUNTER_ADDRESS)} == 300 || *(u32 *)${hex(COUNTER_ADDRESS + 0x20000)} == 1`);
    expect(result).toMatchObject({ isWatched: true, writer: { by: "instruction" } });
    expect(result.first && formatPosition(result.first.position)).toBe(byHand((read) => read(COUNTER_ADDRESS) === 300));
  });

  it("follows a pointer that changes", async () => {
    const pointer = COUNTER_ADDRESS + 0x100;
    const program = new Assembler()
      .set(3, pointer)
      .set(1, COUNTER_ADDRESS)
      .emit(word(Op.store, 1, 3))
      .print("a");
    program
      .set(2, COUNTER_ADDRESS + 0x40)
      .set(1, 77)
      .emit(word(Op.store, 1, 2))
      .print("b");
    program
      .set(1, COUNTER_ADDRESS + 0x40)
      .emit(word(Op.store, 1, 3), wordImmediate(Op.nop, 0, 0))
      .print("c")
      .emit(word(Op.off));
    const of = await recordSmall({ program: program.finish() });
    const result = when(`*(u32 *)(u64)*(u32 *)${hex(pointer)} == 77`, { of });
    expect(result.writer).toMatchObject({ by: "instruction", written: { physical: pointer } });
  });

  it("refuses a good end at which it holds, and says so when it never holds", () => {
    expect(() => when(`*(u32 *)${hex(COUNTER_ADDRESS)} == 0`)).toThrow(BisectEndError);
    expect(when(`*(u32 *)${hex(COUNTER_ADDRESS)} == 123456`).first).toBeUndefined();
  });
});

describe("bisect --run", () => {
  it("ends at the boundary between two units", async () => {
    const wanted = byHand((read) => read(COUNTER_ADDRESS) === 555);
    const replayer = replaySmall(journal);
    const test = (): Promise<Verdict> => {
      const { memory } = replayer.machine.kernel;
      return Promise.resolve(
        new DataView(memory.read(COUNTER_ADDRESS, 4).buffer).getUint32(0, true) >= 555 ? "bad" : "good",
      );
    };
    const { exits, units } = await bisectCommand({ replayer, goodExit: 0, badExit: journal.end.exitNumber, test });
    expect(`exit:${exits.good}+${units?.bad}`).toBe(wanted);
  });

  it("skips what can't be tested, and says what it may be then", async () => {
    const probes: number[] = [];
    const search = (skip: (n: number) => boolean): ReturnType<typeof findBoundary> =>
      findBoundary({
        good: 0,
        bad: 1000,
        test: (n) => {
          probes.push(n);
          return Promise.resolve(skip(n) ? "skip" : n >= 700 ? "bad" : "good");
        },
      });
    expect(await search(() => false)).toMatchObject({ good: 699, bad: 700, skipped: [] });
    expect(probes.slice(0, 2)).toEqual([0, 1000]);
    expect(probes.length).toBeLessThan(14);
    expect(await search((n) => n > 690 && n < 705)).toMatchObject({ good: 690, bad: 705 });
  });

  it("does not search between ends with the wrong answers", async () => {
    const always = (verdict: Verdict): Promise<unknown> =>
      findBoundary({ good: 0, bad: 9, test: () => Promise.resolve(verdict) });
    await expect(always("good")).rejects.toThrow(/the test says good at the bad end/);
    await expect(always("bad")).rejects.toThrow(/the test says bad at the good end/);
  });

  it("takes a status as git does", () => {
    expect([0, 1, 124, 125, 126, 127].map(verdictOfStatus)).toEqual(["good", "bad", "bad", "skip", "bad", "bad"]);
    for (const status of [128, 255, -1]) expect(() => verdictOfStatus(status)).toThrow(BisectStoppedError);
  });
});

describe("bisect --with", () => {
  it.each([[[3]], [[0, 6]], [[1, 2, 5]]])("finds exactly the changes %j that make it bad together", async (wanted) => {
    const result = await minimizeChanges(7, (applied) =>
      Promise.resolve(
        wanted.every((item) => applied.includes(item))
          ? "bad"
          : applied.length === 4 && !applied.includes(0)
            ? "skip"
            : "good",
      ),
    );
    expect(result.cause).toEqual(wanted);
  });
});
