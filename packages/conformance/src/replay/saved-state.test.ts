/** Invariant 5: all that shapes a guest's future is in the saved state, and the digest sees each bit of it. */
import { afterAll, describe, expect, it } from "@jest/globals";
import { arm64 } from "@hvjournal/cpu-arm64";
import {
  decodeCanonicalMap,
  encodeCanonical,
  type EventPayload,
  isPlainMap,
  Machine,
  parseMachine,
  PayloadFields,
  type PlainValue,
  type Replayer,
  type Snapshot,
  type StateSection,
  toHex,
} from "@hvjournal/core";
import { BOUNCE_BYTES } from "@hvjournal/engine";
import { openRecording } from "@hvjournal/journal";
import { RandomSource, seedOfRun } from "../arm64/random-source.js";
import { createBoard, digester, recordGuest } from "../testing/guest-recording.js";
import { goTo, replayerOf } from "../testing/guest-replay.js";
import { mainScenario } from "../testing/main-scenario.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
const { path } = await recordGuest(mainScenario({ vcpuCount: 2 }), pathOf("main"));
const reader = openRecording(path);
afterAll(() => reader.close());
const machineDescription = parseMachine(reader.header.machine);

function emptyMachine(): Machine {
  return new Machine({ architecture: arm64, digester, machine: machineDescription });
}

function restored(snapshot: Snapshot, into = emptyMachine()): Machine {
  into.restore(snapshot, (hash) => reader.loadPage(hash));
  return into;
}

function sectionTexts(machine: Machine): string[] {
  return machine.saveSections().map(({ name, version, bytes }) => `${name} ${version} ${toHex(bytes)}`);
}

function replayerAt(position: string): Replayer {
  const replayer = replayerOf(reader);
  goTo(replayer, position);
  return replayer;
}

/** Bytes that are saved as they come and have no meaning where they stand. */
function bytesWithoutFuture({ name, bytes }: StateSection): number {
  const NZCV_RES0_BYTES = 3;
  const NEXT_PC_BYTES = 8;
  if (isVcpu(name)) return NZCV_RES0_BYTES;
  if (name !== "arm64.engine") return 0;
  const pending = new PayloadFields(name, decodeCanonicalMap(bytes)).array("pending").map(Number);
  // Of the buffer for device writes, those that are yet to go out; of the way on, only what a write in flight has.
  const inFlight = pending.filter((_, index) => index % 3 === 1).reduce((sum, count) => sum + count, 0);
  return BOUNCE_BYTES - inFlight + (inFlight === 0 ? NEXT_PC_BYTES : 0);
}

function isVcpu(section: string): boolean {
  return /^arm64\.vcpu\d+$/.test(section);
}

interface Change {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A section with one number, truth or byte changed, for each that it holds. */
function changesOf(section: StateSection): Change[] {
  if (isVcpu(section.name)) return byteChanges("", section.bytes, (bytes) => bytes);
  const tree = decodeCanonicalMap(section.bytes);
  return valueChanges("", tree).map(({ name, value }) => ({ name, bytes: encodeCanonical(value as EventPayload) }));
}

function byteChanges<Result>(
  name: string,
  bytes: Uint8Array,
  result: (changed: Uint8Array) => Result,
): { readonly name: string; readonly bytes: Result }[] {
  return Array.from(bytes, (byte, at) => ({ name: `${name}+${at}`, bytes: result(bytes.with(at, byte ^ 1)) }));
}

function valueChanges(name: string, value: PlainValue): { readonly name: string; readonly value: PlainValue }[] {
  if (typeof value === "number") return [{ name, value: value ^ 1 }];
  if (typeof value === "bigint") return [{ name, value: value ^ 1n }];
  if (typeof value === "boolean") return [{ name, value: !value }];
  if (value instanceof Uint8Array)
    return byteChanges(name, value, (bytes) => bytes).map((change) => ({ name: change.name, value: change.bytes }));
  if (Array.isArray(value))
    return value.flatMap((item: PlainValue, index) =>
      valueChanges(`${name}[${index}]`, item).map((change) => ({ ...change, value: value.with(index, change.value) })),
    );
  if (!isPlainMap(value)) return [];
  return Object.entries(value).flatMap(([key, item]) =>
    valueChanges(`${name}.${key}`, item).map((change) => ({ ...change, value: { ...value, [key]: change.value } })),
  );
}

const IN_FLIGHT = "with a device write in flight";

describe("the saved state of a VM", () => {
  it("is byte-equal when it is saved again behind a restore, at every snapshot of both halves", () => {
    const heads = reader.snapshots();
    expect(heads.length).toBeGreaterThan(3);
    for (const { number, kind } of heads) {
      const snapshot = reader.loadSnapshot(number);
      const machine = restored(snapshot);
      expect(machine.saveSections()).toEqual(snapshot.guestSections);
      expect(machine.plainControl()).toEqual(snapshot.control);
      expect(toHex(machine.digest())).toBe(toHex(snapshot.digest));
      if (kind !== "full") continue;
      const board = createBoard(mainScenario({ vcpuCount: 2 }));
      const own = snapshot.vmmSections.filter(({ name }) => !name.startsWith("core."));
      board.half.restore(own);
      expect(board.half.save()).toEqual(own);
    }
  });

  it("is byte-equal at random moments, with exits pending and without, over a machine that has run elsewhere", () => {
    const seed = seedOfRun();
    const random = new RandomSource(seed);
    const replayer = replayerOf(reader);
    const used = restored(reader.loadSnapshot(1));
    used.kernel.run(used.icount + 1_000);
    for (let visit = 0; visit < 20; visit++) {
      const position = random.oneIn(2)
        ? `exit:${1 + random.below(reader.end.exitNumber)}`
        : `icount:${1 + random.below(reader.end.icount)}`;
      goTo(replayer, position);
      const checkpoint = replayer.machine.checkpoint();
      used.restoreCheckpoint(checkpoint, (hash) => reader.loadPage(hash));
      expect({ seed, position, sections: sectionTexts(used) }).toEqual({
        seed,
        position,
        sections: sectionTexts(replayer.machine),
      });
      expect(toHex(used.digest())).toBe(toHex(replayer.machine.digest()));
    }
  });

  it.each([
    [IN_FLIGHT, "console:/tick 2/"],
    ["at a hypercall", "hypercall:0xc6000040"],
  ])("has another digest for each field that is changed, %s", (where, position) => {
    const { machine } = replayerAt(position);
    const { kernel } = machine;
    const sections = kernel.save();
    const digest = toHex(machine.digest());
    for (const [index, section] of sections.entries()) {
      if (isVcpu(section.name) && where !== IN_FLIGHT) continue;
      const lost = changesOf(section).filter(({ bytes }) => {
        try {
          kernel.restore(sections.with(index, { ...section, bytes }));
        } catch (error) {
          // What can't be is refused, and says where.
          expect(error).toMatchObject({ name: "StateSectionError", section: section.name });
          return false;
        }
        return toHex(machine.digest()) === digest;
      });
      expect(lost.map(({ name }) => name)).toHaveLength(bytesWithoutFuture(section));
    }
    kernel.restore(sections);
    expect(toHex(machine.digest())).toBe(digest);
  });
});
