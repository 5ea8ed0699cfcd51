/** A stock Linux whose firmware is the VMM half. */
import { expect, it, jest } from "@jest/globals";
import { builtinHandler } from "@hvjournal/vmm";
import { describeWhere } from "../testing/describe-where.js";
import { command, recordGuest } from "../testing/guest-recording.js";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { linuxForTests } from "./linux-guest.js";
import { linuxSession, SESSION_UNITS_MAX } from "./linux-session.js";

jest.setTimeout(600_000);

const linux = await linuxForTests("arm64");
const pathOf = recordingDirectory();

describeWhere(linux !== undefined)("a stock Linux with PSCI and SDEI in the VMM half", () => {
  if (linux === undefined) return;

  it("brings up four CPUs, finds SDEI, powers off; and replays without handlers", async () => {
    const handlers = ["builtin:psci", "builtin:sdei"].flatMap((name) => builtinHandler(name) ?? []);
    const commands = [
      command("smccc-filter", "0x84000000+0x20=forward"),
      command("smccc-filter", "0xc4000000+0x40=forward"),
    ];
    const { setup } = linuxSession(linux, { vcpuCount: 4, handlers, commands });
    const { path, console, stop } = await recordGuest(setup, pathOf("smp"), { unitsMax: SESSION_UNITS_MAX });
    expect(stop).toEqual(linux.powerOff);
    expect(console).toMatch(/psci: PSCIv1\.3 detected in firmware/);
    expect(console).toMatch(/smp: Brought up 1 node, 4 CPUs/);
    expect(console).toMatch(/sdei: SDEIv1\.0 \(0x0\) detected in firmware/);
    await withRecording(path, (reader) => {
      const replayer = replayerOf(reader);
      expect(replayer.advance()).toBe("end");
      expect(replayer.compared).toEqual(countObserved(reader));
    });
  });
});
