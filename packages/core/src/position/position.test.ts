import { beforeAll, describe, expect, it } from "@jest/globals";
import { resolvePosition, PositionNotFoundError, resolveRange, describeEnding } from "./resolve-position.js";
import { parseFileAtPosition, parsePosition, parseRange, PositionError } from "./parse-position.js";
import { formatPosition, machinePosition } from "./print-position.js";
import { seek } from "../replay/seek.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { HotKind } from "../event/event-kind.js";
import { eachEvent } from "../event/each-event.js";
import { toHex } from "../memory/page-hash.js";
import type { MemoryJournal } from "../testing/memory-journal.js";
import { busyProgram } from "../testing/programs.js";
import { recordSmall, replaySmall } from "../testing/recordings.js";

let journal: MemoryJournal;
beforeAll(async () => {
  journal = await recordSmall({ program: busyProgram(6, 200) });
});

/** The state at a position, and where it says it is. */
function stateAt(text: string): { readonly printed: string; readonly digest: string } {
  const replayer = replaySmall(journal);
  seek(replayer, resolvePosition(parsePosition(text), journal));
  return { printed: formatPosition(machinePosition(replayer.machine)), digest: toHex(replayer.machine.digest()) };
}

describe("a position", () => {
  it.each([
    "start",
    "end",
    "exit:4821",
    "exit:4821+12",
    "event:7",
    "icount:42",
    "time:1.65s",
    "time:0.000000001s",
    "console:/login: $/",
    "console:/a\\/b/i#2",
    "hypercall:0xc4000003",
    "exit:HVC64",
    "exit:MMIO#-1",
    "snapshot:3",
  ])("%s is printed as it is read", (text) => {
    const printed = formatPosition(parsePosition(text));
    expect(formatPosition(parsePosition(printed))).toBe(printed);
    if (!text.startsWith("time:")) expect(printed).toBe(text);
  });

  it("may be two words", () => {
    expect(parsePosition("exit 4821")).toEqual({ at: "exit", number: 4821 });
    expect(parsePosition("console /login: $/#2")).toMatchObject({ at: "console", occurrence: 2 });
    expect(parsePosition("time 20ms")).toEqual({ at: "time", timeNs: 20_000_000 });
  });

  it.each([
    "",
    "exit:",
    "exit:0",
    "exit:3#2",
    "exit:-1",
    "icount:1e3",
    "icount:99999999999999999999",
    "time:3",
    "console:login",
    "console:/(/",
    "console:/a/#0",
    "snapshot:x",
    "icount:4#2",
    "hypercall:0xg",
    "nowhere:3",
    "4821",
  ])("'%s' is refused with a reason", (text) => {
    expect(() => parsePosition(text)).toThrow(PositionError);
    expect(() => parsePosition(text)).toThrow(/^can't read the position '/);
  });

  it("bounds a range at either end, also behind a regular expression with dots", () => {
    expect(parseRange("exit:3..exit:9")).toEqual({ from: { at: "exit", number: 3 }, to: { at: "exit", number: 9 } });
    expect(parseRange("time:1.65s..")).toEqual({ from: { at: "time", timeNs: 1_650_000_000 }, to: undefined });
    expect(parseRange("console:/a..b/..end")).toMatchObject({ from: { at: "console" }, to: { at: "end" } });
    expect(parseRange("exit:3")).toEqual({ from: { at: "exit", number: 3 }, to: { at: "exit", number: 3 } });
  });

  it("follows a file's name, which may have an @ of its own", () => {
    expect(parseFileAtPosition("a@b.hvj@exit:4")).toEqual({ file: "a@b.hvj", position: { at: "exit", number: 4 } });
    expect(parseFileAtPosition("a@b.hvj")).toEqual({ file: "a@b.hvj", position: undefined });
    expect(parseFileAtPosition("a.hvj@console:/user@host/")).toMatchObject({
      file: "a.hvj",
      position: { at: "console" },
    });
  });

  it.each([
    "exit:9",
    "exit:9+0",
    "exit:9+3",
    "exit:20+150",
    "icount:1",
    "console:/rr/",
    "hypercall:0x12#2",
    "exit:HVC64#-1",
    "time:20us",
  ])("%s can be pasted back from where the machine says it stands", (text) => {
    const { printed, digest } = stateAt(text);
    // The output of an exit's answer is a moment within that exit, whose number is what can be pasted.
    expect(stateAt(printed).digest).toBe(digest);
  });

  it("at the end says how the recording ended when it lies beyond it", () => {
    expect(describeEnding(journal)).toBe("powered off by OFF");
    expect(() => resolvePosition(parsePosition("exit:90000"), journal)).toThrow(PositionNotFoundError);
    expect(() => resolvePosition(parsePosition("exit:90000"), journal)).toThrow(
      `exit:90000 is not in this recording: the recording ends at exit:${journal.end.exitNumber} (powered off by OFF)`,
    );
    for (const text of ["console:/never/", "event:99999", "icount:99999999", "snapshot:77", "console:/boot/#2"])
      expect(() => resolvePosition(parsePosition(text), journal)).toThrow(PositionNotFoundError);
    expect(() => resolvePosition(parsePosition("exit:NONE"), journal)).toThrow(/this machine's exits are HVC64/);
  });

  it("on the console is where the guest has written the byte that completes the match", () => {
    const replayer = replaySmall(journal);
    let text = "";
    replayer.outputListeners.add((_, bytes) => (text += String.fromCharCode(...bytes)));
    replayer.advance(resolvePosition(parsePosition("console:/r/#3"), journal));
    expect(text).toBe("boot\nrrr");
  });

  it.each([
    ["exit:6..exit:4", "exit:6..exit:4 is reversed: exit:4 lies before exit:6; did you mean exit:4..exit:6?"],
    ["end..start", "end..start is reversed"],
    ["icount:101..icount:100", "icount:101..icount:100 is reversed"],
    ["exit:4+2..exit:4+1", "exit:4+2..exit:4+1 is reversed"],
  ])("%s is no range", (text, message) => {
    expect(() => resolveRange(parseRange(text), journal)).toThrow(message);
  });

  it.each(["exit:4..exit:4", "exit:4+1..exit:4+1", "icount:100..icount:100", "start..end", "start..exit:1"])(
    "%s is a range",
    (text) => {
      expect(() => resolveRange(parseRange(text), journal)).not.toThrow();
    },
  );

  it("selects the events of a range", () => {
    const range = resolveRange(parseRange("exit:4..exit:6"), journal);
    const exits: number[] = [];
    const count = eachEvent(journalCursor(journal, 1), range, (cursor) => {
      if (cursor.kind === HotKind.exited) exits.push(cursor.exitsBefore + 1);
    });
    expect(exits).toEqual([4, 5, 6]);
    expect(count).toBe(range.last - range.first + 1);
    expect(resolveRange(parseRange(".."), journal)).toEqual({ first: 1, last: journal.end.firstSeq - 1 });
    const byUnits = resolveRange(parseRange("icount:100..icount:1500"), journal);
    eachEvent(journalCursor(journal, 1), byUnits, (cursor) => {
      expect(cursor.icount).toBeGreaterThanOrEqual(100);
      expect(cursor.icount).toBeLessThanOrEqual(1500);
    });
  });
});
