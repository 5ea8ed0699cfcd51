/** Invariant 3: every form of position is one exact moment, and an exit shows the pc that its table says. */
import { afterAll, describe, expect, it } from "@jest/globals";
import { arm64 } from "@hvjournal/cpu-arm64";
import {
  ExitWord,
  formatPosition,
  FinishedBy,
  frameU64,
  KvmExit,
  machinePosition,
  parsePosition,
  PositionNotFoundError,
  type Replayer,
  resolvePosition,
  toHex,
} from "@hvjournal/core";
import { openRecording } from "@hvjournal/journal";
import { RandomSource, seedOfRun } from "../arm64/random-source.js";
import { recordGuest } from "../testing/guest-recording.js";
import { exitsOf, goTo, replayerOf, type RecordedExit, withRecording } from "../testing/guest-replay.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { mainScenario } from "../testing/main-scenario.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
const { path } = await recordGuest(mainScenario(), pathOf("main"));
const reader = openRecording(path);
afterAll(() => reader.close());
const exits = exitsOf(reader);
const [model] = arm64.exitModels;
/** One for all tests: where it stood before makes no difference. */
const shared = replayerOf(reader);

async function at(position: string, check: (replayer: Replayer) => void): Promise<void> {
  await keepOnFailure([path], () => {
    goTo(shared, position);
    check(shared);
  });
}

function exitOf(wanted: (exit: RecordedExit) => boolean): RecordedExit {
  const found = exits.find(wanted);
  if (found === undefined) throw new Error("no such exit in the recording");
  return found;
}

function standing({ machine, nextSeq }: Replayer): object {
  const { exitNumber, icount, exitPending, guestTimeNs } = machine;
  return { exitNumber, icount, exitPending, guestTimeNs, seq: nextSeq - 1 };
}

describe("a position", () => {
  const hypercall = exitOf(({ text }) => text.startsWith("HVC64 0xc6000040"));

  it("exit:N is the exit, not yet answered", async () => {
    await at(`exit:${hypercall.number}`, ({ machine, nextSeq }) => {
      expect(machine).toMatchObject({ exitNumber: hypercall.number, icount: hypercall.icount, exitPending: true });
      expect(nextSeq).toBe(hypercall.seq + 1);
      expect(machine.kernel.readRegister(0, "x0")).toBe(0xc600_0040n);
      expect(machine.kernel.exit).toEqual(hypercall.words);
    });
  });

  it("exit:N+K is K units behind the answer", async () => {
    for (const units of [0, 1, 5, 12]) {
      await at(`exit:${hypercall.number}+${units}`, ({ machine }) => {
        expect(machine).toMatchObject({ icount: hypercall.icount + units, exitPending: false });
      });
    }
    await at(`exit:${hypercall.number}+0`, ({ machine }) => {
      expect(machine.kernel.readRegister(0, "x0")).toBe(0xffff_ffff_ffff_ffffn);
    });
  });

  it("exit:N+K counts from the answer where the exit's instruction retires with it", async () => {
    const read = exitOf(({ text }) => text.startsWith("MMIO read 0x09"));
    await at(`exit:${read.number}+0`, ({ machine }) => {
      expect(machine.icount).toBe(machine.answeredIcount);
      expect(machine.kernel.readRegister(0, "pc")).toBe(frameU64(read.words, ExitWord.pcLow));
    });
    await at(`exit:${read.number}+1`, ({ machine }) => {
      expect(machine.icount).toBe(read.icount + 1);
      expect(machine.kernel.readRegister(0, "pc")).toBe(frameU64(read.words, ExitWord.pcLow) + 4n);
    });
  });

  it("icount:N is where N units have been counted", async () => {
    for (const icount of [1, 1_000, 50_000, 123_457])
      await at(`icount:${icount}`, ({ machine }) => expect(machine.icount).toBe(icount));
  });

  it("event:N is where event N has taken effect and the next has not", async () => {
    for (const seq of [hypercall.seq - 1, hypercall.seq, hypercall.seq + 1, hypercall.seq + 2])
      await at(`event:${seq}`, ({ nextSeq }) => expect(nextSeq).toBe(seq + 1));
  });

  it("time:T is where guest time first reaches T: at a unit, or at the end of the idle time that holds T", async () => {
    goTo(shared, "icount:50000");
    const { guestTimeNs } = shared.machine;
    for (const earlier of [0, 1]) {
      await at(`time:${guestTimeNs - earlier}ns`, ({ machine }) => {
        expect(machine).toMatchObject({ icount: 50_000, guestTimeNs });
      });
    }
    goTo(shared, "exit:WFx");
    const { icount, guestTimeNs: asleepNs } = shared.machine;
    await at(`time:${asleepNs + 2}ns`, ({ machine }) => {
      expect(machine).toMatchObject({ icount, skippedIcount: icount });
      expect(machine.guestTimeNs).toBeGreaterThan(asleepNs + 10_000);
    });
  });

  it("console:/RE/ is the exit that writes the byte that completes the match, #K the K-th", async () => {
    for (const [occurrence, tick] of [
      ["", "1"],
      ["#3", "3"],
      ["#-1", "5"],
    ] as const) {
      await at(`console:/tick \\d/${occurrence}`, ({ machine }) => {
        expect(frameU64(machine.kernel.exit, ExitWord.arg1Low)).toBe(BigInt(tick.charCodeAt(0)));
      });
    }
  });

  it("exit:REASON and hypercall:N are the first exits of their kind", async () => {
    const firstWait = exitOf(({ text }) => text.startsWith("WFx"));
    await at("exit:WFx", ({ machine }) => expect(machine.exitNumber).toBe(firstWait.number));
    const firstMmio = exitOf(({ words }) => words[ExitWord.kvmExit] === KvmExit.mmio);
    await at("exit:mmio", ({ machine }) => expect(machine.exitNumber).toBe(firstMmio.number));
    await at("hypercall:0xc6000040", ({ machine }) => expect(machine.exitNumber).toBe(hypercall.number));
    await at("hypercall:0xc6000040#2", ({ machine, nextSeq }) => {
      expect(machine.kernel.exit[ExitWord.reason]).toBe(model?.reasons.findIndex(({ name }) => name === "SMC64"));
      expect(nextSeq).toBeGreaterThan(hypercall.seq);
    });
  });

  it("hypercall:N is found whoever takes the call, a power-off too", async () => {
    await at("hypercall:0x84000008", ({ machine }) => {
      expect(machine.exitNumber).toBe(reader.end.exitNumber);
      expect(machine.kernel.exit[ExitWord.kvmExit]).toBe(KvmExit.systemEvent);
    });
  });

  it("snapshot:N has the state of that snapshot", async () => {
    for (const { number, digest, icount } of reader.snapshots().slice(0, 4)) {
      await at(`snapshot:${number}`, ({ machine }) => {
        expect(machine.icount).toBe(icount);
        expect(toHex(machine.digest())).toBe(toHex(digest));
      });
    }
  });

  it("start has run nothing", async () => {
    await at("start", ({ machine }) => expect(machine).toMatchObject({ icount: 0, exitNumber: 0 }));
  });

  it("that is not in the recording is refused with where it ends", () => {
    const last = reader.end.exitNumber;
    for (const text of [`exit:${last + 1}`, "event:99999999", "icount:999999999", "console:/no such text/"])
      expect(() => resolvePosition(parsePosition(text), reader)).toThrow(PositionNotFoundError);
    expect(() => resolvePosition(parsePosition(`exit:${last + 1}`), reader)).toThrow(
      `exit:${last + 1} is not in this recording: the recording ends at exit:${last} (powered off by PSCI SYSTEM_OFF)`,
    );
  });

  it("that is printed leads back to the same state from any other place", async () => {
    const seed = seedOfRun();
    const random = new RandomSource(seed);
    await keepOnFailure([path], () => {
      for (let visit = 0; visit < 25; visit++) {
        const goal = random.oneIn(2)
          ? { exitNumber: 1 + random.below(reader.end.exitNumber) }
          : { icount: 1 + random.below(reader.end.icount) };
        goTo(shared, goal.exitNumber === undefined ? `icount:${goal.icount}` : `exit:${goal.exitNumber}`);
        const printed = formatPosition(machinePosition(shared.machine));
        const expected = { seed, printed, ...standing(shared), digest: toHex(shared.machine.digest()) };
        goTo(shared, `icount:${1 + random.below(reader.end.icount)}`);
        goTo(shared, printed);
        const found = { seed, printed, ...standing(shared), digest: toHex(shared.machine.digest()) };
        expect(found).toEqual(expected);
      }
    });
  });
});

describe("pc at exit:N", () => {
  /** What stands at the address that the exit shows, or before it. */
  const instructions: Readonly<Record<string, RegExp>> = {
    WFx: /^wfi/,
    HVC64: /^hvc/,
    SMC64: /^smc/,
    SYS64: /^(mrs|msr)/,
    DABT_LOW: /^(ld|st)/,
  };

  function expectPc(replayer: Replayer, name: string, pc: "at" | "behind"): void {
    const row = model?.reasons.findIndex((reason) => reason.name === name);
    const some = exitsOf(reader).filter(({ words }) => words[ExitWord.reason] === row);
    expect(some.length).toBeGreaterThan(0);
    for (const exit of [some[0], some.at(-1)]) {
      goTo(replayer, `exit:${exit?.number ?? 0}`);
      const { kernel } = replayer.machine;
      const shown = frameU64(kernel.exit, ExitWord.pcLow);
      expect(kernel.readRegister(0, "pc")).toBe(shown);
      const [instruction] = kernel.disassemble(0, pc === "at" ? shown : shown - 4n, 1);
      expect(instruction?.text).toMatch(instructions[name] ?? "no such reason");
    }
  }

  // No instruction makes these; a guest under a board is never suspended.
  const asynchronous = ["IRQ", "KVM_REQ_SUSPEND"];

  it.each(
    model?.reasons.filter(({ name }) => !asynchronous.includes(name)).map(({ name, pc }) => [name, pc] as const) ?? [],
  )("of %s is %s the instruction that left", async (name, pc) => {
    await keepOnFailure([path], () => expectPc(shared, name, pc));
  });

  it("of IRQ is the instruction at which the guest goes on", async () => {
    const busy = await recordGuest({ append: "scenario=loop period=10 every=1 count=5" }, pathOf("busy"));
    await keepOnFailure([busy.path], () =>
      withRecording(busy.path, (busyReader) => {
        const interrupts = exitsOf(busyReader).filter(({ text }) => text === "IRQ");
        expect(interrupts.length).toBeGreaterThan(3);
        for (const { number, words } of interrupts.slice(0, 4)) {
          const replayer = replayerOf(busyReader);
          goTo(replayer, `exit:${number}`);
          const pc = frameU64(words, ExitWord.pcLow);
          expect(replayer.machine.kernel.readRegister(0, "pc")).toBe(pc);
          replayer.advance({ exitNumber: number, unitsAfter: 1 });
          // Either the next instruction, or the guest's own interrupt vector with the way back.
          const { kernel } = replayer.machine;
          const isTaken = kernel.readRegister(0, "elr_el1") === pc;
          expect(isTaken || kernel.readRegister(0, "pc") === pc + 4n).toBe(true);
        }
      }),
    );
  });

  it("goes on at the next instruction once the exit is answered, whoever answers it", async () => {
    for (const by of [FinishedBy.kernelHalf, FinishedBy.vmmHalf]) {
      const read = exitOf(({ words, text }) => words[ExitWord.finishedBy] === by && text.startsWith("MMIO read"));
      await at(`exit:${read.number}+1`, ({ machine }) => {
        expect(machine.kernel.readRegister(0, "pc")).toBe(frameU64(read.words, ExitWord.pcLow) + 4n);
      });
    }
  });
});
