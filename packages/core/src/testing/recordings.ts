/** Recordings of small VMs, and what tests read out of them. */
import { NO_EVENT } from "../event/event-cursor.js";
import { HotKind, ROW_EVENT } from "../event/event-kind.js";
import { toHex } from "../memory/page-hash.js";
import { Recorder, type Cadence, type RecorderOptions, type StepResult } from "../record/recorder.js";
import { journalCursor } from "../replay/journal-cursor.js";
import { Replayer } from "../replay/replayer.js";
import { plainDigester } from "./digester.js";
import type { MemoryJournal } from "./memory-journal.js";
import { smallVm, type SmallVmOptions } from "./programs.js";
import { smallArchitecture } from "./small-cpu.js";

export const TEST_CADENCE: Cadence = { digestEvery: 1000, seekPointEvery: 4000, fullSnapshotEvery: 16000 };
const forwards = [0x10, 0x11].map((number) => ({ name: "forward", function: number }));

/** A new VM, booted, at its start. Hypercalls 0x10 and 0x11 go to the VMM half. */
export function createSmall(
  options: SmallVmOptions,
  more: Partial<RecorderOptions> = {},
): { readonly recorder: Recorder; readonly journal: MemoryJournal } {
  const vm = smallVm(options);
  const all: RecorderOptions = { ...vm, digester: plainDigester, cadence: TEST_CADENCE, ...more };
  return { recorder: Recorder.create(all, forwards), journal: vm.writer };
}

/** The tests' own choices, not the VM's: Mulberry32, whose low bits are as good as its high ones. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

export async function runToStop(recorder: Recorder, units: () => number = () => 1e9): Promise<StepResult> {
  for (;;) {
    const result = await recorder.step({ units: units() });
    if (result.why !== "slice") return result;
  }
}

/** Runs to the guest's own end and closes the recording. */
export async function recordSmall(
  options: SmallVmOptions,
  more: Partial<RecorderOptions> = {},
  units?: () => number,
): Promise<MemoryJournal> {
  const { recorder, journal } = createSmall(options, more);
  await runToStop(recorder, units);
  recorder.finish({ index: false });
  return journal;
}

/** A guest that is paused, typed to and operated at random places, with waits for the host. */
export async function recordEventful(options: SmallVmOptions, seed: number): Promise<MemoryJournal> {
  const random = randomNumbers(seed);
  const { recorder, journal } = createSmall(options, { interactive: seed % 2 === 0 });
  for (;;) {
    const goal = random(6) === 0 ? { exitNumber: recorder.machine.exitNumber + 1 } : {};
    const result = await recorder.step({ units: 1 + random(400), goal });
    if (result.why === "stopped") break;
    const choice = random(8);
    if (choice === 0) recorder.pause();
    if (choice === 1) recorder.control({ name: "knob", value: BigInt(random(100)) });
    if (choice === 2) recorder.enqueue({ port: 0, bytes: Uint8Array.of(random(256), 65) });
    if (result.why !== "waiting") continue;
    const now = recorder.machine.guestTimeNs;
    const wakeAtNs = result.wakeAtNs ?? now + 100;
    if (random(3) === 0 && wakeAtNs > now + 2) recorder.endWait(now + 1);
    else recorder.wake(wakeAtNs);
    if (random(4) === 0) recorder.pause();
  }
  recorder.finish({ index: false });
  return journal;
}

export function replaySmall(reader: MemoryJournal, build: Parameters<typeof smallArchitecture>[0] = {}): Replayer {
  return new Replayer({ architecture: smallArchitecture(build), digester: plainDigester, reader });
}

function plainText(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === "bigint" ? `${item}n` : item instanceof Uint8Array ? toHex(item) : item,
  );
}

/** Every event as one line of text: what must be equal between two recordings. */
export function eventTexts(journal: MemoryJournal): string[] {
  const texts: string[] = [];
  for (const cursor = journalCursor(journal, 1); cursor.kind !== NO_EVENT; cursor.next()) {
    const contents: { readonly [kind: number]: () => unknown } = {
      [HotKind.exited]: () => [...cursor.exit],
      [HotKind.exitHandled]: () => cursor.handled,
      [HotKind.exitCompleted]: () => cursor.completed,
      [HotKind.outputProduced]: () => [cursor.outputPort, cursor.outputBytes],
      [HotKind.irqLineSet]: () => cursor.irqLine,
      [HotKind.digested]: () => cursor.digest,
      [ROW_EVENT]: () => cursor.row,
    };
    texts.push(`${cursor.seq} ${cursor.kind} ${cursor.icount} ${plainText(contents[cursor.kind]?.())}`);
  }
  return texts;
}

export function consoleText(journal: MemoryJournal): string {
  let text = "";
  for (const cursor = journalCursor(journal, 1); cursor.kind !== NO_EVENT; cursor.next())
    if (cursor.kind === HotKind.outputProduced) text += String.fromCharCode(...cursor.outputBytes);
  return text;
}

export function rowKinds(journal: MemoryJournal): string[] {
  const kinds: string[] = [];
  for (const cursor = journalCursor(journal, 1); cursor.kind !== NO_EVENT; cursor.next())
    if (cursor.kind === ROW_EVENT) kinds.push(cursor.row.kind);
  return kinds;
}
