import { beforeAll, describe, expect, it } from "@jest/globals";
import { parseExpression } from "../expression/parse-expression.js";
import { parsePosition } from "../position/parse-position.js";
import { formatPosition, machinePosition } from "../position/print-position.js";
import { resolvePosition } from "../position/resolve-position.js";
import { seek } from "../replay/seek.js";
import type { MemoryJournal } from "../testing/memory-journal.js";
import { Assembler, busyProgram, COUNTER_ADDRESS, DMA_ADDRESS } from "../testing/programs.js";
import { recordSmall, replaySmall } from "../testing/recordings.js";
import { SMALL_RAM_BASE } from "../testing/small-board.js";
import { Op, word, wordImmediate } from "../testing/small-cpu.js";
import {
  bisectCommand,
  BisectSkippedError,
  BisectStoppedError,
  findBoundary,
  verdictOfStatus,
  type Verdict,
} from "./bisect-command.js";
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

describe("a search for a pc", () => {
  it.each([1, 2])("finds what single steps find, all of it, with %d vCPUs", async (vcpuCount) => {
    const program = busyProgram(2, 20);
    const of = await recordSmall({ program, vcpuCount });
    const pcs = Array.from({ length: program.length + 1 }, (_, index) => SMALL_RAM_BASE + 4 * index);
    const sources = pcs.filter((_, index) => index % 3 === 0).map((pc) => `$pc == ${hex(pc)}`);
    const more = sources.flatMap((source) => [`$x1 >= 20 && ${source}`, `${source} && exit.number > 3`]);
    let found = 0;
    for (const source of [...sources, ...more]) {
      const [result, expected] = [true, false].map((breaks) => {
        try {
          return when(source, { of, all: true, build: { breaks } });
        } catch (error) {
          if (error instanceof BisectEndError) return error.message;
          throw error;
        }
      });
      expect([source, result]).toEqual([source, expected]);
      if (typeof expected === "object" && expected.first !== undefined) found += 1;
    }
    expect(found).toBeGreaterThan(10);
  });

  it("asks behind every unit what compares with its first moment", () => {
    const pc = hex(SMALL_RAM_BASE + 4 * 6);
    const source = `$pc == ${pc} && changed(${hex(COUNTER_ADDRESS)}, 4)`;
    expect(when(source, { all: true })).toEqual(when(source, { all: true, build: { breaks: false } }));
  });
});

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

  describe("of a register that has its value between two exits only", () => {
    /** The first moment by asking at every single unit and every event. */
    function firstByHand(isTrue: (register: (name: string) => bigint) => boolean): string {
      const replayer = replaySmall(journal);
      seek(replayer, resolvePosition(parsePosition("start"), journal));
      const { kernel } = replayer.machine;
      for (;;) {
        if (isTrue((name) => kernel.readRegister(0, name))) return formatPosition(machinePosition(replayer.machine));
        if (replayer.advance({ seq: replayer.nextSeq, icount: replayer.machine.icount + 1 }) === "end") return "never";
      }
    }
    const textOf = ({ first }: BisectWhenResult): string => (first ? formatPosition(first.position) : "never");
    /** Places of the guest's code that no event sees. */
    function placesBetweenEvents(): bigint[] {
      const [seen, passed] = [new Set<bigint>(), new Set<bigint>()];
      const replayer = replaySmall(journal);
      seek(replayer, resolvePosition(parsePosition("start"), journal));
      for (;;) {
        const seq = replayer.nextSeq;
        if (replayer.advance({ seq, icount: replayer.machine.icount + 1 }) === "end") break;
        const pc = replayer.machine.kernel.readRegister(0, "pc");
        (replayer.nextSeq > seq || replayer.machine.exitPending ? seen : passed).add(pc);
      }
      return [...passed].filter((pc) => !seen.has(pc));
    }

    it("finds pc at each place of code that no event sees", () => {
      const places = placesBetweenEvents();
      expect(places.length).toBeGreaterThan(3);
      for (const place of places.slice(0, 12)) {
        const result = when(`$pc == ${place}`);
        expect(textOf(result)).toBe(firstByHand((register) => register("pc") === place));
        expect(result.isWatched).toBe(true);
      }
    });

    it("finds a value of a register, who set it, and that it goes again", () => {
      const value = 0x1_0000n;
      const wanted = firstByHand((register) => register("x1") !== 0n && register("x1") < value);
      const result = when(`$x1 != 0 && $x1 < ${value}`, { all: true });
      expect(textOf(result)).toBe(wanted);
      expect(result.writer?.by).toMatch(/^(instruction|answer|event)$/);
    });

    it("says that it never held only where it never did", () => {
      expect(when("$pc == 0x1234").first).toBeUndefined();
      expect(firstByHand((register) => register("pc") === 0x1234n)).toBe("never");
    });

    it("finds an icount and a time between two events, and goes there by the shortest way", () => {
      expect(when("icount == 777").first?.icount).toBe(777);
      expect(when("777 < icount && $pc != 0").first?.icount).toBe(778);
      expect(when("time >= 1001").first).toMatchObject({ guestTimeNs: 1002, icount: 501 });
    });

    it("looks between events only where what is asked beside it holds", () => {
      const third = when("console =~ /rrr/").first?.icount ?? 0;
      const [place] = placesBetweenEvents();
      const result = when(`console =~ /rrr/ && $pc == ${place}`);
      expect(result.first?.icount ?? Infinity).toBeGreaterThanOrEqual(third);
    });

    it("counts each exit once, whatever else is asked", () => {
      const fifth = when("count(exit.reason == SYS64) == 5").first;
      const behind = when("count(exit.reason == SYS64) == 5 && $pc != 0").first;
      expect(behind?.position).toEqual(fifth?.position);
    });
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

  it("goes on reading what the guest's translation hides for a while, however it asks", () => {
    // Mapped in each second round only: x5 counts the rounds.
    const build = { isMapped: (register: (name: string) => bigint) => register("x5") % 2n === 0n };
    const source = `*(u32 *)${hex(COUNTER_ADDRESS)} >= 100 && *(u32 *)${hex(COUNTER_ADDRESS)} != 777`;
    const moments = ({ transitions }: BisectWhenResult): unknown[] =>
      transitions.map(({ holds, moment }) => [holds, moment.icount]);
    const always = when(source, { all: true });
    expect(moments(always)).toHaveLength(3);
    expect(moments(when(source, { all: true, build }))).toEqual(moments(always));
    expect(moments(when(`${source} && icount >= 20`, { all: true, build }))).toEqual(moments(always));
    const unwatched = { ...build, watch: false };
    expect(when(source, { all: true, build: unwatched }).first).toEqual(always.first);
  });

  it("does not know what has never been mapped", () => {
    expect(when(`*(u32 *)${hex(COUNTER_ADDRESS)} == 555`, { build: { isMapped: () => false } }).first).toBeUndefined();
  });

  describe("of changed()", () => {
    /** Each value that the counter takes, by asking at every single unit. */
    function valuesByHand(): [icount: number, before: number, after: number][] {
      const values: [number, number, number][] = [];
      const replayer = replaySmall(journal);
      const { memory } = replayer.machine.kernel;
      const value = (): number => new DataView(memory.read(COUNTER_ADDRESS, 4).buffer).getUint32(0, true);
      seek(replayer, resolvePosition(parsePosition("start"), journal));
      for (let before = value(); ;) {
        if (replayer.advance({ icount: replayer.machine.icount + 1 }) === "end") return values;
        if (value() !== before) values.push([replayer.machine.icount, before, value()]);
        before = value();
      }
    }
    const seen = ({ transitions }: BisectWhenResult): unknown[] =>
      transitions.map(({ moment, change }) => [moment.icount, Number(change?.before), Number(change?.after)]);
    const changed = `changed(${hex(COUNTER_ADDRESS)}, 4)`;

    it("lists every change, with what was there and what is", () => {
      const wanted = valuesByHand();
      expect(wanted.length).toBeGreaterThan(1000);
      expect(seen(when(changed, { all: true }))).toEqual(wanted);
      expect(seen(when(changed))).toEqual(wanted.slice(0, 1));
    });

    it("lists those at which something else holds too", () => {
      const wanted = valuesByHand();
      const [middle = 0] = wanted[500] ?? [];
      expect(seen(when(`${changed} && icount >= ${middle}`, { all: true }))).toEqual(wanted.slice(500));
      const third = when("console =~ /rrr/").first?.icount ?? 0;
      const behind = when(`${changed} && console =~ /rrr/ && $pc != 0`, { all: true });
      expect(seen(behind)).toEqual(wanted.filter(([icount]) => icount > third));
    });

    it("names each DMA once, and the first bytes that differ", () => {
      const result = when(`changed(${hex(DMA_ADDRESS)}, 600)`, { all: true });
      expect(result.writer).toMatchObject({ by: "event", kind: "GuestMemoryWritten" });
      const [{ change, moment } = {}, second] = result.transitions;
      expect(change?.address).toBeGreaterThanOrEqual(BigInt(DMA_ADDRESS));
      expect(change?.before).not.toBe(change?.after);
      expect(second?.moment.icount ?? Infinity).toBeGreaterThan(moment?.icount ?? 0);
    });
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
    await expect(always("skip")).rejects.toThrow(BisectSkippedError);
    await expect(always("good")).rejects.toThrow(/the test says good at the bad end/);
    await expect(always("bad")).rejects.toThrow(/the test says bad at the good end/);
  });

  it("takes a status as git does", () => {
    expect([0, 1, 124, 125, 126, 127].map(verdictOfStatus)).toEqual(["good", "bad", "bad", "skip", "bad", "bad"]);
    for (const status of [128, 255, -1]) expect(() => verdictOfStatus(status)).toThrow(BisectStoppedError);
  });
});

describe("bisect --with", () => {
  const everySubset = (wanted: readonly number[]) => (applied: readonly number[]) =>
    Promise.resolve(wanted.every((item) => applied.includes(item)) ? ("bad" as const) : ("good" as const));

  it("finds a single cause among 6 in at most 7 runs, both ends among them", async () => {
    for (let cause = 0; cause < 6; cause++) {
      const result = await minimizeChanges(6, everySubset([cause]));
      expect(result.cause).toEqual([cause]);
      expect(result.runs.length).toBeLessThanOrEqual(7);
    }
  });

  it("finds two changes that only fail together, whichever they are", async () => {
    for (let first = 0; first < 6; first++)
      for (let second = first + 1; second < 6; second++)
        expect((await minimizeChanges(6, everySubset([first, second]))).cause).toEqual([first, second]);
  });

  it("finds one of two changes that each suffice", async () => {
    const result = await minimizeChanges(6, (applied) =>
      Promise.resolve(applied.includes(1) || applied.includes(4) ? "bad" : "good"),
    );
    expect([[1], [4]]).toContainEqual(result.cause);
  });

  it.each([[[3]], [[0, 6]], [[1, 2, 5]], [[0, 1, 2, 3, 4, 5, 6]]])(
    "finds exactly the changes %j that make it bad together, where some sets are refused",
    async (wanted) => {
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
    },
  );

  it("names changes together that can't be told apart, because each without the other is refused", async () => {
    const result = await minimizeChanges(4, (applied) =>
      Promise.resolve(
        applied.includes(1) !== applied.includes(2) ? "skip" : applied.includes(2) ? ("bad" as const) : "good",
      ),
    );
    expect(result.cause).toEqual([1, 2]);
  });

  it("says which end is not what it was taken for", async () => {
    await expect(minimizeChanges(3, () => Promise.resolve("bad"))).rejects.toThrow(BisectEndError);
    await expect(minimizeChanges(3, () => Promise.resolve("good"))).rejects.toThrow("with all changes applied");
  });
});
