/** A recorded session, typed and operated again at its anchors: in the same guest, and in others. */
import { describe, expect, it } from "@jest/globals";
import { parseExpression } from "../expression/parse-expression.js";
import { encodeUtf8 } from "../canonical/utf8.js";
import { parseInputScript } from "../record/input-script.js";
import { plainDigester } from "../testing/digester.js";
import type { MemoryJournal } from "../testing/memory-journal.js";
import { Assembler, busyProgram, echoProgram, smallVm, type SmallVmOptions } from "../testing/programs.js";
import {
  consoleText,
  createSmall,
  eventTexts,
  randomNumbers,
  recordSmall,
  TEST_CADENCE,
} from "../testing/recordings.js";
import { CONSOLE_DATA } from "../testing/small-board.js";
import { Op, smallExitModel, word, wordImmediate } from "../testing/small-cpu.js";
import { Recorder } from "../record/recorder.js";
import { AnchoredInputs } from "./anchored-inputs.js";
import { ExitSequenceComparison } from "./exit-sequence.js";
import { Outcome } from "./outcome.js";
import { rerun, type RerunResult } from "./rerun.js";
import { outsideActs } from "./schedule.js";

const FOREVER_NS = 1e9;

interface RunAgain extends RerunResult {
  readonly journal: MemoryJournal;
  readonly inputs: AnchoredInputs;
  readonly recorder: Recorder;
}

interface Again {
  readonly untilNs?: number;
  readonly atExit?: (recorder: Recorder) => boolean;
  readonly expect?: string;
}

async function runAgain(recorded: MemoryJournal, options: SmallVmOptions, again: Again = {}): Promise<RunAgain> {
  const { acts, firstCommands } = outsideActs(recorded);
  const inputs = new AnchoredInputs(acts);
  const vm = smallVm(options);
  const cadence = TEST_CADENCE;
  const recorder = Recorder.create({ ...vm, digester: plainDigester, cadence, inputs }, firstCommands);
  const atExit = again.atExit ?? (() => false);
  const result = await rerun({
    ...{ recorder, inputs, untilNs: again.untilNs ?? FOREVER_NS },
    atExit: () => atExit(recorder),
  });
  recorder.finish({ index: false });
  return { ...result, journal: vm.writer, inputs, recorder };
}

const typed = parseInputScript('at console /login: $/ send "hello"\nat console /hello/ send "q"');
const echo: SmallVmOptions = { program: echoProgram() };

/** Counts to `count` in digits of its own, then greets, waits for a line of input, asks again, and ends at "q". */
function sessionProgram(banner: string, work: number, prompt = "name: "): number[] {
  const program = new Assembler();
  program
    .set(4, work)
    .label("work")
    .emit(wordImmediate(Op.addi, 4, -1))
    .jumpIfNotZero(4, "work");
  program.print(`${banner}\n`);
  for (const [index, text] of [prompt, "# ", "# "].entries()) {
    program.print(text).label(`wait${index}`).emit(word(Op.wfi)).label(`read${index}`);
    program.set(2, CONSOLE_DATA).emit(word(Op.load, 1, 2));
    program
      .set(3, 0xffff_ffff)
      .emit(word(Op.sub, 3, 3, 1))
      .jumpIfNotZero(3, `got${index}`)
      .jump(`wait${index}`);
    program.label(`got${index}`).emit(word(Op.store, 1, 2));
    program.emit(wordImmediate(Op.movi, 3, "\n".charCodeAt(0)), word(Op.sub, 3, 3, 1)).jumpIfNotZero(3, `read${index}`);
    program.print(`did ${index}\n`);
  }
  return program.emit(word(Op.off)).finish();
}

const session = parseInputScript(
  'at console /: $/ send "ab\\n"\nat console /# $/ send "c\\n"\nat console /# $/ send "d\\n"',
);

describe("what came from outside in a recording", () => {
  it("comes again at the same moments in the same guest, event for event", async () => {
    const recorded = await recordSmall(echo, { script: typed });
    const again = await runAgain(recorded, echo);
    expect(again.stop).toEqual({ what: "powered off", by: "OFF" });
    expect(eventTexts(again.journal)).toEqual(eventTexts(recorded));
  });

  it("comes again so where somebody typed at random places", async () => {
    const seed = 20261126;
    const random = randomNumbers(seed);
    const { recorder, journal } = createSmall({ program: busyProgram(30, 200) });
    for (let result = await recorder.step({ units: 1 + random(900) }); result.why !== "stopped";) {
      if (random(3) === 0) recorder.enqueue({ port: 0, bytes: Uint8Array.of(65 + random(26)) });
      result = await recorder.step({ units: 1 + random(900) });
    }
    recorder.finish({ index: false });
    expect(outsideActs(journal).acts.length).toBeGreaterThan(2);
    const again = await runAgain(journal, { program: busyProgram(30, 200) });
    const withoutBookkeeping = (texts: readonly string[]): string[] =>
      texts
        .map((text) => text.replace(/^\d+ /, "").replace(/"seq":\d+/, ""))
        .filter((text) => !/"(Paused|Resumed|SnapshotTaken)"/.test(text));
    expect({ seed, left: again.inputs.left.count }).toEqual({ seed, left: 0 });
    expect({ seed, events: withoutBookkeeping(eventTexts(again.journal)) }).toEqual({
      seed,
      events: withoutBookkeeping(eventTexts(journal)),
    });
  });

  it("is operated again in the same order, among the same lines", async () => {
    const { recorder, journal } = createSmall({ program: busyProgram(8, 200) });
    for (const value of [3n, 1n, 2n]) {
      await recorder.step({ units: 1500 });
      recorder.control({ name: "knob", value });
    }
    while ((await recorder.step({ units: 1e6 })).why !== "stopped");
    recorder.finish({ index: false });
    const again = await runAgain(journal, { program: busyProgram(8, 400) });
    const story = (of: MemoryJournal): string[] =>
      eventTexts(of).flatMap(
        (text) => /KnobSet.*"value":"\d+n"/.exec(text)?.[0].slice(-4) ?? (/^\d+ 4 .*"72"/.test(text) ? "r" : []),
      );
    expect(again.refused).toEqual([]);
    expect(story(again.journal)).toEqual(story(journal));
  });

  it("that the rules refuse in another machine is told", async () => {
    const { recorder, journal } = createSmall({ program: busyProgram(3, 200) });
    await recorder.step({ units: 500 });
    recorder.control({ name: "knob", value: 1n });
    while ((await recorder.step({ units: 1e6 })).why !== "stopped");
    recorder.finish({ index: false });
    const late = { name: "forward", function: 0x12 };
    const inputs = new AnchoredInputs(
      outsideActs(journal).acts.map((each) => ({ ...each, act: { what: "command", command: late } as const })),
    );
    const vm = smallVm({ program: busyProgram(3, 200) });
    const other = Recorder.create({ ...vm, digester: plainDigester, cadence: TEST_CADENCE, inputs });
    const { refused } = await rerun({ recorder: other, inputs, untilNs: FOREVER_NS });
    expect(refused).toMatchObject([{ command: late, refusal: { errno: "EBUSY" } }]);
  });

  it("waits for the prompts of another build, whose banner and speed are others", async () => {
    const recorded = await recordSmall({ program: sessionProgram("build 1.0 at 0x1234", 100) }, { script: session });
    const again = await runAgain(recorded, { program: sessionProgram("release 22.17: another banner", 4000) });
    expect(again.stop?.what).toBe("powered off");
    expect(consoleText(again.journal)).toBe("release 22.17: another banner\nname: ab\ndid 0\n# c\ndid 1\n# d\ndid 2\n");
    expect(again.inputs.left.count).toBe(0);
  });

  it("does not come where its anchor never does, and what is nearest is told", async () => {
    const recorded = await recordSmall({ program: sessionProgram("build 1", 100) }, { script: session });
    const again = await runAgain(recorded, { program: sessionProgram("build 2", 100, "user name? ") });
    expect(again.stop).toMatchObject({ what: "waiting" });
    expect(again.inputs.left.count).toBe(3);
    expect(again.inputs.left.waiting).toMatchObject([
      {
        number: 1,
        nearest: "user name? ",
        act: { anchor: { line: { text: "name: ", occurrence: 1, isWhole: false } } },
      },
    ]);
  });

  it("comes by time alone where the guest has written nothing", async () => {
    const { recorder, journal } = createSmall({ program: busyProgram(3, 3000) });
    await recorder.step({ units: 50 });
    const texts = consoleText(journal);
    recorder.enqueue({ port: 0, bytes: encodeUtf8("x") });
    while ((await recorder.step({ units: 1e6 })).why !== "stopped");
    recorder.finish({ index: false });
    const [act] = outsideActs(journal).acts;
    expect({ texts, sinceNs: act?.anchor.sinceNs }).toEqual({ texts: "", sinceNs: 100 });
    expect(act?.anchor.line === undefined || act.anchor.line.text.length > 0).toBe(true);
    const again = await runAgain(journal, { program: busyProgram(3, 3000) });
    expect(again.inputs.left.count).toBe(0);
  });

  it("counts how often a line has stood: the second prompt is not the first", async () => {
    const second = parseInputScript('at console /# \\n# $/ send "c\\n"');
    const program = (): number[] => {
      const wait = new Assembler();
      wait.print("# ").print("\n").print("# ").label("wait").emit(word(Op.wfi));
      wait
        .set(2, CONSOLE_DATA)
        .emit(word(Op.load, 1, 2), word(Op.store, 1, 2))
        .print("end\n")
        .emit(word(Op.off));
      return wait.finish();
    };
    const recorded = await recordSmall({ program: program() }, { script: second });
    expect(outsideActs(recorded).acts[0]?.anchor.line).toMatchObject({ text: "# ", occurrence: 2 });
    const again = await runAgain(recorded, { program: program() });
    expect(eventTexts(again.journal)).toEqual(eventTexts(recorded));
  });
});

describe("a run", () => {
  const busy: SmallVmOptions = { program: busyProgram(5, 100) };

  it("ends when its time is up, however long the guest would go on", async () => {
    const recorded = await recordSmall(busy);
    const forever = new Assembler().label("loop").print("x").jump("loop");
    const again = await runAgain(recorded, { program: forever.finish() }, { untilNs: 20_000 });
    expect(again.why).toBe("time");
    expect(again.recorder.machine.guestTimeNs).toBeGreaterThanOrEqual(20_000);
    expect(again.recorder.machine.guestTimeNs).toBeLessThan(20_100);
  });

  it("ends as soon as an EXPR that can only become true does", async () => {
    const recorded = await recordSmall(busy);
    let outcome: Outcome | undefined;
    const again = await runAgain(recorded, busy, {
      atExit: (recorder) => {
        if (outcome === undefined) {
          const begun = new Outcome(parseExpression("console =~ /boot/"), recorder.machine);
          recorder.onOutput((port, bytes) => begun.noteOutput(port, bytes));
          outcome = begun;
        }
        return outcome.atExit();
      },
    });
    expect(again.why).toBe("decided");
    expect(again.recorder.machine.exitNumber).toBe(5);
  });

  it("has the same exits to the VMM half where its answers alone are others", async () => {
    const recorded = await recordSmall(busy);
    const comparison = new ExitSequenceComparison(recorded);
    const again = await runAgain(
      recorded,
      { ...busy, answer: 43n },
      { atExit: ({ machine }) => comparison.atExit(machine) },
    );
    comparison.end(again.stop?.what ?? again.why);
    expect(comparison.difference).toBeUndefined();
    expect(comparison.equal).toBeGreaterThan(20);
  });

  it("differs at the first exit that is another, or that is missing", async () => {
    const recorded = await recordSmall(busy);
    for (const program of [busyProgram(4, 100), busyProgram(6, 100)]) {
      const comparison = new ExitSequenceComparison(recorded);
      const again = await runAgain(recorded, { program }, { atExit: ({ machine }) => comparison.atExit(machine) });
      comparison.end(again.stop?.what ?? again.why);
      const { recorded: was, now } = comparison.difference ?? {};
      expect(was?.number).toBe(now?.number);
      expect(was?.frame).not.toEqual(now?.frame);
    }
    const off = new Assembler().print("boot\n").emit(word(Op.off)).finish();
    const longer = new Assembler().print("boot\n!").emit(word(Op.off)).finish();
    const comparison = new ExitSequenceComparison(await recordSmall({ program: longer }));
    const again = await runAgain(recorded, { program: off }, { atExit: ({ machine }) => comparison.atExit(machine) });
    comparison.end(again.stop?.what ?? again.why);
    expect(comparison).toMatchObject({ equal: 5, difference: { recorded: { number: 6 }, now: { number: 6 } } });
  });

  it("compares what the VMM sees where the run has an exit model of its own, and by reason too where it has the recorded one", async () => {
    const recorded = await recordSmall(busy);
    const compare = async (name: string, program: readonly number[]): Promise<ExitSequenceComparison> => {
      const comparison = new ExitSequenceComparison(recorded);
      const exitModel = { name, reasons: smallExitModel.reasons.map((reason) => ({ name: `OTHER_${reason.name}` })) };
      const atExit = ({ machine: { kernel, exitNumber, icount } }: Recorder): boolean =>
        comparison.atExit({ kernel, exitNumber, icount, exitModel });
      const again = await runAgain(recorded, { program }, { atExit });
      comparison.end(again.stop?.what ?? again.why);
      return comparison;
    };
    const other = await compare("other", busyProgram(5, 100));
    expect(other.difference).toBeUndefined();
    expect(other.equal).toBeGreaterThan(20);
    expect((await compare("other", busyProgram(4, 100))).difference?.recorded?.number).toBeGreaterThan(1);
    expect(await compare(smallExitModel.name, busyProgram(5, 100))).toMatchObject({
      equal: 0,
      difference: { recorded: { number: 1 }, now: { number: 1 } },
    });
  });

  it("is like a recording that its host ended once all that was recorded is equal", async () => {
    const { recorder, journal } = createSmall(busy);
    await recorder.step({ units: 1e6, goal: { exitNumber: 9 } });
    recorder.finish({ index: false });
    const comparison = new ExitSequenceComparison(journal);
    const again = await runAgain(journal, busy, { atExit: ({ machine }) => comparison.atExit(machine) });
    expect(again.why).toBe("decided");
    expect(comparison.isOver).toBe(true);
  });
});
