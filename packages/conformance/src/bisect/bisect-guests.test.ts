/** Guests with a known fault, and what bisect makes of them. */
import { afterAll, describe, expect, it } from "@jest/globals";
import {
  bisectCommand,
  type BisectCommandResult,
  bisectWhen,
  type BisectWhenResult,
  ExitWord,
  frameU64,
  type GuestMemory,
  parseExpression,
  parsePosition,
  Replayer,
  resolvePosition,
  type Verdict,
} from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
import { digester, type GuestSetup, MIB, recordGuest } from "../testing/guest-recording.js";
import { countedArchitecture } from "../testing/counted-architecture.js";
import { architectureOf, exitsOf, replayerOf } from "../testing/guest-replay.js";
import { BARE_METAL_GUESTS, type BareMetalGuest } from "../guests/bare-metal-guests.js";
import { memoryDrive, randomSectors } from "../testing/memory-drive.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
/** As an ordinary recording of this length has them: few. */
const cadence = { digestEvery: 1_000_000, seekPointEvery: 2_000_000, fullSnapshotEvery: 8_000_000 };

interface Case {
  readonly reader: RecordingReader;
  readonly console: string;
}

async function recorded(name: string, setup: GuestSetup): Promise<Case> {
  const { path, stop, console } = await recordGuest({ cadence, memoryBytes: 16 * MIB, ...setup }, pathOf(name));
  expect(stop.what).toBe("powered off");
  const reader = openRecording(path);
  afterAll(() => reader.close());
  return { reader, console };
}

/** The number behind a word of the guest's console. */
function printedAddress(console: string, pattern: RegExp): string {
  const address = pattern.exec(console)?.[1];
  if (address === undefined) throw new Error(`the guest has not printed ${pattern}`);
  return address;
}

interface Search extends BisectWhenResult {
  /** How often the whole recording has been run, in units. */
  readonly passes: number;
  readonly replayer: Replayer;
}

function when(reader: RecordingReader, source: string, options: { good?: string; all?: boolean } = {}): Search {
  const { architecture, unitsRun } = countedArchitecture(architectureOf(reader));
  const replayer = new Replayer({ architecture, digester, reader });
  const result = bisectWhen({
    replayer,
    expression: parseExpression(source),
    good: resolvePosition(parsePosition(options.good ?? "start"), reader),
    lastSeq: reader.end.firstSeq - 1,
    all: options.all ?? false,
  });
  return { ...result, passes: unitsRun() / reader.end.icount, replayer };
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

function word(memory: GuestMemory, physical: number): bigint {
  const bytes = memory.read(physical, 8);
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}

function textAt({ machine }: Replayer, pc: bigint): string {
  return machine.kernel.disassemble(0, pc, 1)[0]?.text ?? "";
}

const WATCHED_VALUE = 0x51a7n;

/** The exit that writes the last byte of a text. */
function exitOfText(reader: RecordingReader, text: string): number {
  const goal = resolvePosition(parsePosition(`console:/${text} /`), reader);
  const exit = exitsOf(reader).findLast(({ seq }) => seq <= (goal.seq ?? 0));
  if (exit === undefined) throw new Error(`no exit writes ${text}`);
  return exit.number;
}

interface Cases extends BareMetalGuest, FaultWords {
  readonly overwritten: Case;
  readonly whole: Case;
  readonly never: Case;
  readonly dma: Case;
  readonly register: Case;
}

/** What an architecture has in the place of the other's. */
interface FaultWords {
  /** As it is disassembled. */
  readonly byteStore: RegExp;
  readonly keptIsWritten: RegExp;
  /** A register that calls keep, and the exit of a hypercall. */
  readonly kept: string;
  readonly callExit: string;
  /** In the exit's text, as `log` has it. */
  readonly call: string;
  readonly deviceWrite: string;
}

const WORDS: Readonly<Record<BareMetalGuest["name"], FaultWords>> = {
  arm64: {
    byteStore: /^strb /,
    keptIsWritten: /^mov\s+x19, x1/,
    kept: "x19",
    callExit: "HVC64",
    call: "PSCI_VERSION",
    deviceWrite: "MMIO write 0x0a00",
  },
  amd64: {
    byteStore: /^mov BYTE PTR /,
    keptIsWritten: /^mov rbx,rdi/,
    kept: "rbx",
    callExit: "VMCALL",
    call: "VMCALL",
    deviceWrite: "MMIO write 0xfeb0",
  },
};

async function casesOf(guest: BareMetalGuest): Promise<Cases> {
  const { name, setup } = guest;
  const record = (fault: string, append: string, more: Partial<GuestSetup> = {}): Promise<Case> =>
    recorded(`${name}-${fault}`, { ...setup, ...more, append: `scenario=fault-${append}` });
  return {
    ...guest,
    ...WORDS[name],
    overwritten: await record("memory", "memory at=5 until=12"),
    whole: await record("memory-none", "memory fault=none"),
    never: await record("memory-never", "memory at=7 until=99"),
    dma: await record("dma", "dma at=5", { drives: [memoryDrive("disk0", randomSectors(16, 3), true)] }),
    register: await record("register", "register at=9"),
  };
}

const all = await Promise.all(BARE_METAL_GUESTS.map(casesOf));

describe.each(all)("in an $name guest", (cases) => {
  const { overwritten, whole, never, dma, register, byteStore, keptIsWritten, kept, callExit, call, deviceWrite } =
    cases;

  describe("a word that one instruction overwrites and another mends millions of units later", () => {
    const { reader, console } = overwritten;
    const virtual = printedAddress(console, /watched word at (0x[0-9a-f]+)/);
    const physical = Number(printedAddress(console, /physical (0x[0-9a-f]+)/));
    const [good, bad] = [5, 6].map((step) => exitOfText(reader, `step ${step - 1}`));

    it("is found by its physical address: the very store, in one pass", () => {
      const { first, writer, before, after, isWatched, passes, replayer } = when(
        reader,
        `phys(u64, ${hex(physical)}) != ${hex(WATCHED_VALUE)}`,
      );
      expect({ before, after, isWatched }).toEqual({ before: 0n, after: 1n, isWatched: true });
      expect(writer).toMatchObject({ by: "instruction", vcpu: 0, written: { physical, bytes: 1 } });
      if (writer?.by !== "instruction" || first === undefined) throw new Error("no instruction");
      expect(textAt(replayer, writer.pc)).toMatch(byteStore);
      // The replayer stands right behind the store, between the lines of the steps around it.
      expect(replayer.machine.icount).toBe(first.icount);
      expect(word(replayer.machine.kernel.memory, physical)).not.toBe(WATCHED_VALUE);
      expect(first.exitNumber).toBeGreaterThanOrEqual(good ?? 0);
      expect(first.exitNumber).toBeLessThan(bad ?? 0);
      expect(passes).toBeLessThanOrEqual(2);
      // One unit before, the word was whole.
      const earlier = replayerOf(reader);
      earlier.advance({ icount: first.icount - 1 });
      expect(word(earlier.machine.kernel.memory, physical)).toBe(WATCHED_VALUE);
    });

    it("is the same moment by its virtual address, which the guest has mapped itself", () => {
      const byPhysical = when(reader, `phys(u64, ${hex(physical)}) != ${hex(WATCHED_VALUE)}`);
      const byVirtual = when(reader, `*(u64 *)${virtual} != ${hex(WATCHED_VALUE)}`);
      expect(byVirtual.first).toEqual(byPhysical.first);
      expect(byVirtual.writer).toEqual(byPhysical.writer);
      expect(byVirtual.passes).toBeLessThanOrEqual(2);
    });

    it("is seen to come and go: overwritten at step 5, mended at step 12", () => {
      const { transitions } = when(reader, `phys(u64, ${hex(physical)}) != ${hex(WATCHED_VALUE)}`, { all: true });
      expect(transitions.map(({ holds }) => holds)).toEqual([true, false]);
      const [up, down] = transitions;
      expect((down?.moment.icount ?? 0) - (up?.moment.icount ?? 0)).toBeGreaterThan(1_000_000);
    });

    it("is refused when the good end has it already", () => {
      expect(() => when(reader, `phys(u64, ${hex(physical)}) == ${hex(WATCHED_VALUE)}`)).toThrow(
        "can't bisect: the expression holds at the good end already",
      );
    });

    it("holds nowhere in the same guest without the fault", () => {
      const { first, writer } = when(whole.reader, `phys(u64, ${hex(physical)}) != ${hex(WATCHED_VALUE)}`);
      expect({ first, writer }).toEqual({ first: undefined, writer: undefined });
    });

    describe("and never mended, so that a test of one's own can halve", () => {
      const exits = never.reader.end.exitNumber;
      const runsMax = Math.ceil(Math.log2(exits)) + 2;

      async function search(goodExit: number, badExit: number): Promise<BisectCommandResult> {
        return bisectCommand({ replayer: replayerOf(never.reader), goodExit, badExit, test });
      }
      function test({ machine }: Replayer): Promise<Verdict> {
        const isWhole = word(machine.kernel.memory, physical) === WATCHED_VALUE;
        return Promise.resolve(isWhole ? "good" : "bad");
      }

      it("ends at the moment that an exact search names, with at most log2(exits) + 2 runs", async () => {
        const { exits: found, units } = await search(0, exits);
        const { first } = when(never.reader, `phys(u64, ${hex(physical)}) != ${hex(WATCHED_VALUE)}`);
        expect(found.bad).toBe(found.good + 1);
        expect(found.probes).toBeLessThanOrEqual(runsMax);
        expect(first?.position).toEqual({ at: "exit", number: found.good, unitsAfter: units?.bad });
        expect(units?.bad).toBe((units?.good ?? 0) + 1);
      });

      it("is refused with an end that has the wrong answer, by its name", async () => {
        await expect(search(exits - 1, exits)).rejects.toMatchObject({ name: "BisectEndError", end: "good" });
        await expect(search(0, 10)).rejects.toMatchObject({ name: "BisectEndError", end: "bad" });
      });
    });
  });

  describe("a disk read that lands on the page beside its buffer", () => {
    const { reader, console } = dma;
    const canary = Number(printedAddress(console, /canary page at 0x[0-9a-f]+, physical (0x[0-9a-f]+)/));
    const SECTOR_BYTES = 512;

    it("is named by the exit whose answer wrote, and by what it wrote", () => {
      const { first, writer, passes } = when(reader, `changed(${hex(canary)}, 4096)`, {
        good: "console:/canary page at/",
      });
      expect(first).toBeDefined();
      expect(passes).toBeLessThanOrEqual(2);
      expect(writer).toMatchObject({ by: "event", kind: "GuestMemoryWritten" });
      expect(writer?.by === "event" && writer.written?.physical).toBe(canary + SECTOR_BYTES);
      // The notification of the fifth read: VIRTIO_MMIO_QUEUE_NOTIFY of the drive.
      const notifications = exitsOf(reader).filter(
        ({ words, text }) => text.includes(deviceWrite) && (frameU64(words, ExitWord.arg0Low) & 0x1ffn) === 0x50n,
      );
      expect(notifications).toHaveLength(16);
      expect(first?.exitNumber).toBe(notifications[4]?.number);
    });
  });

  describe("a register that is wrong at one hypercall and only there", () => {
    const { reader } = register;
    const calls = exitsOf(reader).filter(({ text }) => text.includes(call));
    const wrong = calls.at(9 - 1 - 16);

    it("is found as the exit, among sixteen that look alike", () => {
      const { first, writer, passes } = when(reader, `exit.reason == ${callExit} && $${kept} == 0x1901`);
      expect(calls.length).toBeGreaterThanOrEqual(16);
      expect(writer).toEqual({ by: "exit", exitNumber: wrong?.number });
      expect(first?.position).toEqual({ at: "exit", number: wrong?.number });
      expect(passes).toBeLessThanOrEqual(2);
    });

    it("is found as the instruction that writes it, just before the call", () => {
      const { writer, replayer, passes } = when(reader, `$${kept} == 0x1901`);
      if (writer?.by !== "instruction") throw new Error(`by ${writer?.by ?? "nobody"}`);
      expect(textAt(replayer, writer.pc)).toMatch(keptIsWritten);
      expect(passes).toBeLessThanOrEqual(2);
    });
  });
});
