import { describe, expect, it } from "@jest/globals";
import { randomNumbers, recordSmall, replaySmall } from "../testing/recordings.js";
import { busyProgram, COUNTER_ADDRESS } from "../testing/programs.js";
import { smallArchitecture } from "../testing/small-cpu.js";
import { controlHistory, diffControl } from "./control-diff.js";
import { diffExits, type DiffSide } from "./exit-diff.js";
import { NO_EVENT } from "../event/event-cursor.js";
import { ExitWord, FinishedBy } from "../event/exit-frame.js";
import { HotKind, ROW_EVENT } from "../event/event-kind.js";
import type { JournalReader } from "../ports/journal-store.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { SameAnswers } from "./same-answers.js";
import { diffSequences } from "./sequence-diff.js";
import { diffState, isSameState } from "./state-diff.js";

describe("two sequences", () => {
  it("are equal outside of the hunks, and the hunks are few", () => {
    const seed = 3;
    const random = randomNumbers(seed);
    for (let round = 0; round < 300; round++) {
      const a = Array.from({ length: random(30) }, () => random(5));
      const b = [...a];
      for (let edits = random(5); edits > 0; edits--) {
        if (random(2) === 0) b.splice(random(b.length + 1), 0, random(5));
        else b.splice(random(b.length), 1);
      }
      const { hunks } = diffSequences(a, b);
      const restA = a.filter((_, index) => !hunks.some(({ atA, countA }) => index >= atA && index < atA + countA));
      const restB = b.filter((_, index) => !hunks.some(({ atB, countB }) => index >= atB && index < atB + countB));
      expect({ seed, round, rest: restA }).toEqual({ seed, round, rest: restB });
      expect(hunks.reduce((sum, { countA, countB }) => sum + countA + countB, 0)).toBeLessThanOrEqual(5);
    }
  });

  it("that have nothing in common are one hunk, and long ones say that they are not aligned", () => {
    expect(diffSequences([1, 2], [3, 4, 5])).toMatchObject({
      hunks: [{ atA: 0, countA: 2, atB: 0, countB: 3 }],
      isTruncated: false,
    });
    const long = (first: number): number[] => Array.from({ length: 3000 }, (_, index) => first + index * 2);
    expect(diffSequences(long(0), long(1))).toMatchObject({ hunks: [{ atA: 0, countA: 3000 }], isTruncated: true });
  });
});

/** No event of another kind stands between the exit and what the guest does next. */
function isAnsweredByHotEvents(reader: JournalReader, seq: number): boolean {
  const cursor = journalCursor(reader, seq);
  const { icount } = cursor;
  for (cursor.next(); cursor.kind !== NO_EVENT && cursor.kind !== HotKind.exited; cursor.next()) {
    if (cursor.icount !== icount) return true;
    if (cursor.kind === ROW_EVENT) return false;
  }
  return true;
}

describe("two recordings", () => {
  const whole = { first: 1, last: Infinity };
  const architecture = smallArchitecture();

  it("of one guest differ in nothing", async () => {
    const [a, b] = [
      await recordSmall({ program: busyProgram(3, 50) }),
      await recordSmall({ program: busyProgram(3, 50) }),
    ];
    const diff = diffExits({ architecture, reader: a, range: whole }, { architecture, reader: b, range: whole });
    expect(diff.hunks).toEqual([]);
    expect(diff.equal).toBe(a.end.exitNumber);
  });

  it("say the same of each exit when they are of one run, and not when an answer differs", async () => {
    const [a, b] = [
      await recordSmall({ program: busyProgram(3, 50) }),
      await recordSmall({ program: busyProgram(3, 50) }),
    ];
    const { a: exits } = diffExits(
      { architecture, reader: a, range: whole },
      { architecture, reader: b, range: whole },
    );
    const answers = new SameAnswers(a, b);
    const seqs = Array.from({ length: exits.length }, (_, index) => exits.at(index)?.seq ?? 0);
    // In any order: what is asked for may lie behind.
    for (const seq of [...seqs, ...seqs.toReversed()])
      expect({ seq, same: answers.areSame(seq, seq) }).toEqual({ seq, same: isAnsweredByHotEvents(a, seq) });
    const firstKind = (seq: number): number => journalCursor(a, seq + 1).kind;
    const others = seqs.filter((seq) => firstKind(seq) !== firstKind(seqs[0] ?? 0));
    expect(others.length).toBeGreaterThan(0);
    for (const seq of others) expect(answers.areSame(seqs[0] ?? 0, seq)).toBe(false);
  });

  it("have their exits aligned by what they are", async () => {
    const [a, b] = [
      await recordSmall({ program: busyProgram(3, 50) }),
      await recordSmall({ program: busyProgram(4, 50) }),
    ];
    const diff = diffExits({ architecture, reader: a, range: whole }, { architecture, reader: b, range: whole });
    const added = diff.hunks.reduce((sum, { countA, countB }) => sum + countB - countA, 0);
    expect(added).toBe(b.end.exitNumber - a.end.exitNumber);
    // The hypercalls of each round pass entropy and the rounds that are left.
    expect(diff.equal).toBe(a.end.exitNumber - 9);
    const { atB } = diff.hunks[0] ?? { atB: -1 };
    expect(diff.b.at(atB)?.number).toBeGreaterThan(5);
  });

  it("of hosts of two vendors are compared by what the VMM half sees, though their exit model is one", async () => {
    const [a, b] = [
      await recordSmall({ program: busyProgram(3, 50) }),
      await recordSmall({ program: busyProgram(3, 50) }),
    ];
    const sideOf = (reader: JournalReader, vendor: string | undefined): DiffSide => ({
      architecture: { ...architecture, vendorOfExit: () => vendor },
      reader,
      range: whole,
    });
    const comparedBy = (one: string | undefined, other: string | undefined): string =>
      diffExits(sideOf(a, one), sideOf(b, other)).comparedBy;
    expect([comparedBy("x", "x"), comparedBy("x", undefined), comparedBy("x", "y")]).toEqual([
      "reason",
      "reason",
      "vmm",
    ]);
    const { a: exits, equal } = diffExits(sideOf(a, "x"), sideOf(b, "y"));
    expect(equal).toBe(exits.length);
    const frames = Array.from({ length: exits.length }, (_, index) => exits.at(index)?.frame[ExitWord.finishedBy]);
    expect(new Set(frames)).toEqual(new Set([FinishedBy.vmmHalf]));
    expect(exits.length).toBeLessThan(a.end.exitNumber);
  });

  it("show the decisions that one of them has more", async () => {
    const [a, b] = [
      await recordSmall({ program: busyProgram(1, 5) }),
      await recordSmall({ program: busyProgram(1, 5), seed: 9n }),
    ];
    const fork = controlHistory(architecture, b, { first: 1, last: b.end.firstSeq - 1 });
    const early = controlHistory(architecture, a, { first: 1, last: 4 });
    const diff = diffControl(early, fork);
    expect(diff.onlyA.map(({ kind }) => kind)).toEqual(["VmCreated"]);
    expect(diff.onlyB.map(({ kind }) => kind)).toEqual(["VmCreated", "small.ForwardSet"]);
    expect(diff.patches).toContainEqual({ op: "replace", path: ["core", "machine", "seed"], before: 7n, after: 9n });
    expect(diff.patches).toContainEqual({
      op: "add",
      path: ["architecture", "forwards", 1],
      after: { function: 17 },
    });
  });

  it("show what was decided before the events that are compared, without the number of the event that did", async () => {
    const a = await recordSmall({ program: busyProgram(1, 5) });
    const all = { first: 1, last: a.end.firstSeq - 1 };
    const seqs = controlHistory(architecture, a, all).events.flatMap(({ kind, seq }) =>
      kind === "small.ForwardSet" ? [seq] : [],
    );
    const [, second = 0] = seqs;
    const [early, late] = [second, second + 1].map((first) => controlHistory(architecture, a, { ...all, first }));
    if (early === undefined || late === undefined) throw new Error("no history");
    expect(diffControl(early, late)).toMatchObject({
      before: [{ op: "add", path: ["architecture", "forwards", 1], after: { function: 17 } }],
      onlyA: [{ kind: "small.ForwardSet" }],
      onlyB: [],
      patches: [],
    });
    expect(diffControl(late, late).before).toEqual([]);
  });

  it("show registers and pages that differ at a moment", async () => {
    const journal = await recordSmall({ program: busyProgram(3, 50) });
    const [a, b] = [replaySmall(journal), replaySmall(journal)];
    a.advance({ icount: 100 });
    b.advance({ icount: 100 });
    expect(diffState(a.machine, b.machine)).toEqual({ registers: [], pages: [], shapes: [] });
    b.advance({ icount: 105 });
    const { registers, pages } = diffState(a.machine, b.machine);
    expect(registers.map(({ name }) => name)).toEqual(["x1", "x4"]);
    expect(pages).toEqual([
      { physical: COUNTER_ADDRESS, bytes: 1, words: [{ physical: COUNTER_ADDRESS, a: 16n, b: 17n }] },
    ]);
  });

  it("of machines with other vCPU counts are compared as far as both have them", async () => {
    const [a, b] = [
      replaySmall(await recordSmall({ program: busyProgram(3, 50), vcpuCount: 4 })),
      replaySmall(await recordSmall({ program: busyProgram(3, 50) })),
    ];
    const diff = diffState(a.machine, b.machine);
    expect(diff).toEqual({ registers: [], pages: [], shapes: [{ of: "vcpus", a: 4, b: 1 }] });
    expect(isSameState(diff)).toBe(false);
  });
});
