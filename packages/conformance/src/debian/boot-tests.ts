/** Tests of Debian's kernel as it comes: boots, reads its disk, computes, powers off, and does it all again from the recording alone. */
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { parsePosition, type Recorder, resolvePosition, seek, toHex } from "@hvjournal/core";
import { openRecording, type RecordingReader } from "@hvjournal/journal";
import { describeWhere } from "../testing/describe-where.js";
import { collectConsole, createGuest, runGuest } from "../testing/guest-recording.js";
import { countObserved, goTo, replayerOf } from "../testing/guest-replay.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { expectedPositions } from "./linux-positions.js";
import { type LinuxGuest, TROUBLE } from "./linux-guest.js";
import { linuxSession, SESSION_UNITS_MAX } from "./linux-session.js";

const TIMEOUT_MS = 300_000;

/** undefined: there is no such guest here, and they are skipped. */
export function testBoot(linux: LinuxGuest | undefined): void {
  describeWhere(linux !== undefined)("a stock Linux", () => {
    if (linux !== undefined) bootTests(linux);
  });
}

function bootTests(linux: LinuxGuest): void {
  const path = recordingDirectory()("linux");
  const session = linuxSession(linux);
  let recorder: Recorder;
  let console: string;
  let reader: RecordingReader;

  beforeAll(async () => {
    recorder = createGuest(session.setup, path);
    const text = collectConsole(recorder);
    await keepOnFailure([path], () => runGuest(recorder, { unitsMax: SESSION_UNITS_MAX }));
    console = text();
    session.removeFiles();
    reader = openRecording(path);
  }, TIMEOUT_MS);
  afterAll(() => reader.close());

  it("boots to a shell, says what it is, and powers off", () => {
    expect(recorder.stopped).toEqual(linux.powerOff);
    expect(console).toContain(`Linux version ${linux.guest.release}`);
    expect(console).toMatch(new RegExp(`uname -m.*\\r\\n${linux.machineName}\\r\\n`));
    expect(console).not.toMatch(TROUBLE);
    expect(recorder.scriptLeft).toEqual([]);
  });

  it("knows every instruction that it ran", () => {
    expect([...recorder.machine.kernel.unimplemented()]).toEqual([]);
  });

  it("reads its virtio disk byte for byte, and reads back what it writes there", () => {
    expect(console).toContain(`${session.diskHash}  /dev/vda\r\n`);
    expect(console).toMatch(/head -c 8 \/dev\/vda\r\nwritten\r?\n/);
  });

  it("computes in floating point as IEEE 754 says", () => {
    const digits = (value: number): string => value.toPrecision(17).replace(/0+$/, "");
    expect(console).toContain(`\r\n${digits(3.14 * 2)} ${digits(2 / 3)} inf\r\n`);
  });

  it(
    "passes every exit and digest again, with kernel, initrd and disk gone",
    async () => {
      await keepOnFailure([path], () => {
        const replayer = replayerOf(reader);
        expect(replayer.advance()).toBe("end");
        expect(replayer.compared).toEqual(countObserved(reader));
        expect(replayer.compared.exits).toBeGreaterThan(20_000);
        expect(replayer.compared.digests).toBeGreaterThan(40);
        expect(toHex(replayer.machine.digest())).toBe(toHex(recorder.machine.digest()));
      });
    },
    TIMEOUT_MS,
  );

  it(
    "stands at exit 4821 with the same state, from the start and from a snapshot behind it",
    async () => {
      await keepOnFailure([path], () => {
        const fromStart = replayerOf(reader);
        expect(fromStart.advance({ exitNumber: 4821 })).toBe("reached");
        const last = reader.snapshots().at(-1);
        const comesBack = replayerOf(reader);
        comesBack.restore(reader.loadSnapshot(last?.number ?? 0));
        goTo(comesBack, "exit 4821");
        for (const { machine } of [fromStart, comesBack])
          expect(machine).toMatchObject({ exitNumber: 4821, exitPending: true });
        expect(toHex(comesBack.machine.digest())).toBe(toHex(fromStart.machine.digest()));
      });
    },
    TIMEOUT_MS,
  );

  it(
    "is at exactly the moment that each form of position names",
    async () => {
      await keepOnFailure([path], () => {
        const replayer = replayerOf(reader);
        for (const { position, moment } of expectedPositions(reader, linux.positions)) {
          goTo(replayer, position);
          const { exitNumber, icount, exitPending } = replayer.machine;
          const found = { exitNumber, icount, exitPending, seq: replayer.nextSeq - 1 };
          expect({ position, ...found }).toMatchObject({ position, ...moment });
        }
        expect(seek(replayer, resolvePosition(parsePosition("end"), reader))).toBe("end");
        expect(replayer.machine).toMatchObject({ exitNumber: reader.end.exitNumber, icount: reader.end.icount });
        expect(() => resolvePosition(parsePosition("console:/power/#99"), reader)).toThrow("there is no such match");
      });
    },
    TIMEOUT_MS,
  );

  it(
    "is units behind an exit's answer, and where guest time first reaches a moment",
    async () => {
      await keepOnFailure([path], () => {
        const replayer = replayerOf(reader);
        goTo(replayer, "exit:100+5");
        const { icount, answeredIcount, guestTimeNs } = replayer.machine;
        expect([icount - answeredIcount, replayer.machine.exitNumber]).toEqual([5, 100]);
        goTo(replayer, `time:${guestTimeNs + 1}ns`);
        expect(replayer.machine.icount).toBe(icount + 1);
        goTo(replayer, `time:${guestTimeNs}ns`);
        expect(replayer.machine).toMatchObject({ icount, guestTimeNs });
      });
    },
    TIMEOUT_MS,
  );
}
