/** bisect asks about registers behind every instruction: each answer is compared with one found by single steps alone. */
import { afterAll, describe, expect, it } from "@jest/globals";
import {
  bisectWhen,
  type BisectWhenResult,
  formatPosition,
  machinePosition,
  parseExpression,
  parsePosition,
  Replayer,
  resolvePosition,
  seek,
} from "@hvjournal/core";
import { openRecording } from "@hvjournal/journal";
import { countedArm64 } from "../testing/counted-architecture.js";
import { digester, MIB, recordGuest } from "../testing/guest-recording.js";
import { replayerOf } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
const { path } = await recordGuest(
  { memoryBytes: 16 * MIB, append: "scenario=main input=none ticks=1" },
  pathOf("steps"),
);
const reader = openRecording(path);
afterAll(() => reader.close());
const start = resolvePosition(parsePosition("start"), reader);

interface Moment {
  readonly position: string;
  readonly icount: number;
  readonly pc: bigint;
  readonly sp: bigint;
  readonly x19: bigint;
  readonly isEvent: boolean;
}

/** Every moment of the run, in order: behind each unit, and behind each event. */
function moments(): Moment[] {
  const replayer = replayerOf(reader);
  seek(replayer, start);
  const found: Moment[] = [];
  for (;;) {
    const { nextSeq, machine } = replayer;
    const { exitPending, exitNumber, icount } = machine;
    const goal = exitPending ? { exitNumber, unitsAfter: 0 } : { icount: icount + 1 };
    if (nextSeq >= reader.end.firstSeq || replayer.advance({ seq: nextSeq, ...goal }) === "end") return found;
    const register = (name: string): bigint => replayer.machine.kernel.readRegister(0, name);
    const [pc, sp, x19] = [register("pc"), register("sp"), register("x19")];
    const isEvent = replayer.nextSeq > nextSeq;
    const position = formatPosition(machinePosition(replayer.machine));
    found.push({ position, icount: replayer.machine.icount, pc, sp, x19, isEvent });
  }
}

const all = moments();
const firstWhere = (isTrue: (moment: Moment) => boolean): string => all.find(isTrue)?.position ?? "never";

function when(source: string, good = start): BisectWhenResult & { readonly passes: number; readonly at: string } {
  const { architecture, unitsRun } = countedArm64();
  const replayer = new Replayer({ architecture, digester, reader });
  const lastSeq = reader.end.firstSeq - 1;
  const result = bisectWhen({ replayer, expression: parseExpression(source), good, lastSeq });
  const at = result.first === undefined ? "never" : formatPosition(result.first.position);
  return { ...result, at, passes: unitsRun() / reader.end.icount };
}

/** Values that a register has at no event at all. */
function unseen(of: "pc" | "sp" | "x19"): bigint[] {
  const seen = new Set(all.filter(({ isEvent }) => isEvent).map((moment) => moment[of]));
  return [...new Set(all.map((moment) => moment[of]))].filter((value) => !seen.has(value));
}

describe("a register's value that no event sees", () => {
  it.each(["pc", "sp", "x19"] as const)("is found in $%s, at the moment that single steps find", (name) => {
    const values = unseen(name);
    expect(values.length).toBeGreaterThan(2);
    for (const value of [values.at(0), values.at(values.length >> 1), values.at(-1)]) {
      const { at, passes } = when(`$${name} == 0x${value?.toString(16)}`);
      expect(at).toBe(firstWhere((moment) => moment[name] === value));
      expect(passes).toBeLessThanOrEqual(2);
    }
  });

  it("is found together with another's", () => {
    const { pc = 0n, sp = 0n } = all.findLast(({ isEvent }) => !isEvent) ?? {};
    expect(when(`$pc == 0x${pc.toString(16)} && $sp <= 0x${sp.toString(16)}`).at).toBe(
      firstWhere((moment) => moment.pc === pc && moment.sp <= sp),
    );
  });

  it("is said never to be only where single steps don't find it", () => {
    expect(when("$pc == 0x1234").at).toBe(firstWhere(({ pc }) => pc === 0x1234n));
    expect(when("$x19 == 0x1901").at).toBe("never");
  });

  it("is named by the instruction that wrote it, and found again behind a given icount", () => {
    const [value = 0n] = unseen("x19");
    const call = when(`$x19 == 0x${value.toString(16)}`);
    expect(call.writer).toMatchObject({ by: "instruction", vcpu: 0 });
    const late = when(`$x19 == 0x${value.toString(16)} && icount > ${call.first?.icount ?? 0}`);
    expect(late.at).toBe(firstWhere(({ x19, icount }) => x19 === value && icount > (call.first?.icount ?? 0)));
  });
});
