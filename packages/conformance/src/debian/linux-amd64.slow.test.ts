/** Debian's amd64 kernel as it comes: boots from its bzImage and by PVH, reads its disk, powers off by ACPI, and replays. */
import { expect, it, jest } from "@jest/globals";
import { readFileSync } from "node:fs";
import { amd64 } from "@hvjournal/cpu-x86";
import { describeWhere } from "../testing/describe-where.js";
import { recordGuest } from "../testing/guest-recording.js";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { linuxSession, SESSION_UNITS_MAX } from "./linux-session.js";
import { stockGuestForTests } from "./stock-guest.js";
import { vmlinuxOf } from "./vmlinux.js";

jest.setTimeout(900_000);

const guest = await stockGuestForTests("amd64");
const pathOf = recordingDirectory();

describeWhere(guest !== undefined)("a stock amd64 Linux", () => {
  if (guest === undefined) return;
  const image = readFileSync(guest.image);
  const bzImage = { name: guest.image, bytes: new Uint8Array(image) };
  const vmlinux = { name: "vmlinux", bytes: new Uint8Array(vmlinuxOf(image)) };

  it.each([
    ["from its bzImage", { kernel: bzImage, vcpuCount: 1, exitModel: "kvm-intel" }],
    ["by PVH, on AMD", { kernel: vmlinux, vcpuCount: 1, exitModel: "kvm-amd" }],
    ["with four CPUs", { kernel: bzImage, vcpuCount: 4, exitModel: "kvm-intel" }],
  ])("boots to a shell %s, powers off, and replays without files", async (name, changes) => {
    const session = linuxSession(guest, { architecture: amd64, ...changes });
    const { path, stop, console } = await recordGuest(session.setup, pathOf(name), { unitsMax: SESSION_UNITS_MAX });
    expect(console).toContain(`Linux version ${guest.release}`);
    expect(console).toMatch(/Hypervisor detected: KVM/);
    expect(console).toMatch(new RegExp(`smp: Brought up 1 node, ${changes.vcpuCount} CPU`));
    expect(console).toMatch(/uname -m.*\r\nx86_64\r\n/);
    expect(console).toContain(`${session.diskHash}  /dev/vda\r\n`);
    expect(console).toMatch(/head -c 8 \/dev\/vda\r\nwritten\r?\n/);
    expect(console).not.toMatch(/Oops|BUG:|WARNING:|Call Trace|Kernel panic|soft lockup|rcu:.*stall/);
    expect(stop).toEqual({ what: "powered off", by: "ACPI S5" });
    await withRecording(path, (reader) => {
      const replayer = replayerOf(reader);
      expect(replayer.advance()).toBe("end");
      expect(replayer.compared).toEqual(countObserved(reader));
      expect([...replayer.machine.kernel.unimplemented()]).toEqual([]);
    });
  });
});
