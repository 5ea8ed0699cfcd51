/** bisect asks about registers behind every instruction: each answer is compared with one found by single steps alone. */
import { afterAll, describe, expect, it } from "@jest/globals";
import {
  bisectWhen,
  type BisectWhenResult,
  formatPosition,
  type KernelHalf,
  machinePosition,
  parseExpression,
  parsePosition,
  Replayer,
  resolvePosition,
  seek,
} from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
import { countedArchitecture } from "../testing/counted-architecture.js";
import { BARE_METAL_GUESTS, type BareMetalGuest } from "../guests/bare-metal-guests.js";
import { digester, MIB, recordGuest } from "../testing/guest-recording.js";
import { architectureOf, replayerOf } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
/** Of the amd64 guest's timer. */
const TIMER_VECTOR = 0x30;

interface Moment {
  readonly position: string;
  readonly icount: number;
  readonly pc: bigint;
  readonly sp: bigint;
  /** A register that calls keep. */
  readonly kept: bigint;
  readonly isEvent: boolean;
}

/** What an architecture calls its registers, and how one sees that an interrupt was taken. */
interface Words {
  /** So many that more than one interrupt is taken. */
  readonly ticks: number;
  readonly registers: Readonly<Record<"pc" | "sp" | "kept", string>>;
  /** `kernel` at the end of the run. */
  readonly interruptVectors: (kernel: KernelHalf) => (moment: Moment) => boolean;
}

const WORDS: Readonly<Record<BareMetalGuest["name"], Words>> = {
  arm64: {
    ticks: 1,
    registers: { pc: "pc", sp: "sp", kept: "x19" },
    // Vectors of the current level with its own stack, and of EL0: offsets of 0x280 and 0x480 are interrupts.
    interruptVectors:
      () =>
      ({ pc }) =>
        (pc & 0x7ffn) === 0x280n || (pc & 0x7ffn) === 0x480n,
  },
  amd64: {
    ticks: 2,
    registers: { pc: "rip", sp: "rsp", kept: "rbx" },
    // The gate of the timer's vector (SDM 6.14.1): the guest's pages are below 4 GiB.
    interruptVectors: (kernel) => {
      const gate = Number(kernel.readRegister(0, "idtr_base")) + 16 * TIMER_VECTOR;
      const bytes = kernel.memory.read(gate, 8);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const entry = BigInt((view.getUint16(6, true) << 16) | view.getUint16(0, true));
      return ({ pc }) => pc === entry;
    },
  },
};

interface Subject {
  readonly guest: BareMetalGuest;
  readonly reader: RecordingReader;
}

const subjects = await Promise.all(
  BARE_METAL_GUESTS.map(async (guest): Promise<Subject> => {
    const setup = {
      ...guest.setup,
      memoryBytes: 16 * MIB,
      append: `scenario=main input=none ticks=${WORDS[guest.name].ticks}`,
    };
    return { guest, reader: openRecording((await recordGuest(setup, pathOf(guest.name))).path) };
  }),
);
afterAll(() => subjects.forEach(({ reader }) => reader.close()));

describe.each(subjects)("in an $guest.name guest", ({ guest, reader }) => {
  const { registers, interruptVectors } = WORDS[guest.name];
  const start = resolvePosition(parsePosition("start"), reader);

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
      const [pc, sp, kept] = [register(registers.pc), register(registers.sp), register(registers.kept)];
      const isEvent = replayer.nextSeq > nextSeq;
      const position = formatPosition(machinePosition(replayer.machine));
      found.push({ position, icount: replayer.machine.icount, pc, sp, kept, isEvent });
    }
  }

  const all = moments();
  const firstWhere = (isTrue: (moment: Moment) => boolean): string => all.find(isTrue)?.position ?? "never";

  interface Search extends BisectWhenResult {
    readonly at: string;
    readonly passes: number;
    readonly runs: number;
  }

  function when(source: string, good = start, withAll = false): Search {
    const { architecture, unitsRun, runs } = countedArchitecture(architectureOf(reader));
    const replayer = new Replayer({ architecture, digester, reader });
    const lastSeq = reader.end.firstSeq - 1;
    const result = bisectWhen({ replayer, expression: parseExpression(source), good, lastSeq, all: withAll });
    const at = result.first === undefined ? "never" : formatPosition(result.first.position);
    return { ...result, at, passes: unitsRun() / reader.end.icount, runs: runs() };
  }

  /** Values that a register has at no event at all. */
  function unseen(of: "pc" | "sp" | "kept"): bigint[] {
    const seen = new Set(all.filter(({ isEvent }) => isEvent).map((moment) => moment[of]));
    return [...new Set(all.map((moment) => moment[of]))].filter((value) => !seen.has(value));
  }

  describe("a register's value that no event sees", () => {
    it.each(["pc", "sp", "kept"] as const)("is found in its %s, at the moment that single steps find", (name) => {
      const values = unseen(name);
      expect(values.length).toBeGreaterThan(2);
      for (const value of [values.at(0), values.at(values.length >> 1), values.at(-1)]) {
        const { at, passes } = when(`$${registers[name]} == 0x${value?.toString(16)}`);
        expect(at).toBe(firstWhere((moment) => moment[name] === value));
        expect(passes).toBeLessThanOrEqual(2);
      }
    });

    it("is found together with another's", () => {
      const { pc = 0n, sp = 0n } = all.findLast(({ isEvent }) => !isEvent) ?? {};
      expect(when(`$${registers.pc} == 0x${pc.toString(16)} && $${registers.sp} <= 0x${sp.toString(16)}`).at).toBe(
        firstWhere((moment) => moment.pc === pc && moment.sp <= sp),
      );
    });

    it("is said never to be only where single steps don't find it", () => {
      expect(when("$pc == 0x1234").at).toBe(firstWhere(({ pc }) => pc === 0x1234n));
      expect(when(`$${registers.kept} == 0x1901`).at).toBe("never");
    });

    it("is named by the instruction that wrote it, and found again behind a given icount", () => {
      const [value = 0n] = unseen("kept");
      const call = when(`$${registers.kept} == 0x${value.toString(16)}`);
      expect(call.writer).toMatchObject({ by: "instruction", vcpu: 0 });
      const late = when(`$${registers.kept} == 0x${value.toString(16)} && icount > ${call.first?.icount ?? 0}`);
      expect(late.at).toBe(firstWhere(({ kept, icount }) => kept === value && icount > (call.first?.icount ?? 0)));
    });
  });

  describe("a pc that must hold", () => {
    const hex = (value: bigint): string => `0x${value.toString(16)}`;
    const atEnd = replayerOf(reader);
    atEnd.advance();
    const isInterruptVector = interruptVectors(atEnd.machine.kernel);
    const interrupts = all.flatMap((moment, index) => (isInterruptVector(moment) ? [index] : []));
    /** Events at all of which the search stops anyway. */
    const eventCount = all.filter(({ isEvent }) => isEvent).length;

    /** All changes of an answer behind the start, by single steps. */
    function changes(holds: (moment: Moment) => boolean): (readonly [string, boolean])[] {
      const found: (readonly [string, boolean])[] = [];
      let before = false;
      for (const moment of all) {
        if (holds(moment) !== before) found.push([moment.position, !before]);
        before = holds(moment);
      }
      return found;
    }

    function expectChanges(source: string, holds: (moment: Moment) => boolean): void {
      const expected = changes(holds);
      const visits = all.filter(({ pc }) => source.includes(hex(pc))).length;
      const { transitions, runs } = when(source, start, true);
      expect([source, transitions.map((each) => [formatPosition(each.moment.position), each.holds])]).toEqual([
        source,
        expected.slice(0, transitions.length),
      ]);
      expect([source, transitions.length]).toEqual([source, Math.min(expected.length, 10_000)]);
      // Two runs for each visit, some for each event: no single steps elsewhere.
      expect(runs).toBeLessThan(3 * visits + 4 * eventCount + 100);
    }

    const places = [0.1, 0.3, 0.5, 0.7, 0.9, 0.99].map((part) => all[Math.floor(part * all.length)] as Moment);
    /** Each two of them once, now the earlier one first and now the later. */
    const pairs = places.flatMap((one, index) =>
      places
        .slice(index)
        .map((other, distance): [Moment, Moment] => (distance % 2 === 0 ? [one, other] : [other, one])),
    );

    it("is found at each of its moments, as by single steps", () => {
      for (const { pc } of places) expectChanges(`$pc == ${hex(pc)}`, (moment) => moment.pc === pc);
    });

    it("is found together with what a register holds there", () => {
      for (const { pc, kept, sp } of places) {
        expectChanges(
          `$${registers.kept} == ${hex(kept)} && ${hex(pc)} == $${registers.pc}`,
          (each) => each.pc === pc && each.kept === kept,
        );
        expectChanges(
          `$pc == ${hex(pc)} && ($${registers.sp} < ${hex(sp)} || $${registers.kept} != ${hex(kept)})`,
          (each) => {
            return each.pc === pc && (each.sp < sp || each.kept !== kept);
          },
        );
      }
    });

    it("is found at a vector, and where the interrupt was taken in front of an instruction", () => {
      expect(interrupts.length).toBeGreaterThan(1);
      for (const index of [interrupts.at(0), interrupts.at(-1)]) {
        const [at, taken] = [all[index ?? 0], all[(index ?? 0) - 1]] as [Moment, Moment];
        expectChanges(`$pc == ${hex(at.pc)}`, ({ pc }) => pc === at.pc);
        expectChanges(`$pc == ${hex(taken.pc)} && icount >= ${taken.icount}`, ({ pc, icount }) => {
          return pc === taken.pc && icount >= taken.icount;
        });
        // By the vector's moment the interrupted instruction has not run: it is the one that is named.
        const { writer } = when(`$pc == ${hex(at.pc)} && icount >= ${at.icount}`);
        expect(writer).toMatchObject({ by: "instruction", pc: taken.pc });
      }
    });

    it("is named by the instruction in front of it", () => {
      for (const { pc } of places) {
        const index = all.findIndex((moment) => moment.pc === pc);
        const [before, first] = [all[index - 1], all[index]];
        const { writer, at } = when(`$pc == ${hex(pc)}`);
        expect(at).toBe(first?.position);
        if (first?.isEvent === false) expect(writer).toEqual({ by: "instruction", vcpu: 0, pc: before?.pc });
      }
    });

    it("is found where something else may hold too, without single steps", () => {
      for (const [{ pc }, other] of pairs) {
        const { at, runs } = when(`$pc == ${hex(pc)} || count(1) >= 5 || $${registers.pc} == ${hex(other.pc)}`);
        const fifth = all.findIndex(({ position }) => position === "exit:5");
        const first = all.find((each, index) => each.pc === pc || each.pc === other.pc || index >= fifth);
        expect([pc, other.pc, at]).toEqual([pc, other.pc, first?.position]);
        expect(runs).toBeLessThan(12 * eventCount + 300);
      }
    });

    it("is found behind a later good end", () => {
      const { pc } = places[5] as Moment;
      const good = all.find((moment) => moment.icount > all.length / 2 && moment.isEvent && moment.pc !== pc) as Moment;
      const from = all.indexOf(good);
      const { at } = when(`$pc == ${hex(pc)}`, resolvePosition(parsePosition(good.position), reader));
      expect(at).toBe(all.slice(from + 1).find((moment) => moment.pc === pc)?.position ?? "never");
    });
  });
});
