/** Every way in which Debian's amd64 kernel is entered, by number of CPUs and by the hypervisor that it finds. */
import { describe, expect, it, jest } from "@jest/globals";
import { readFileSync } from "node:fs";
import { recordingSizes } from "@hvjournal/journal";
import { describeWhere } from "../testing/describe-where.js";
import { command, MIB, recordGuest } from "../testing/guest-recording.js";
import { countObserved, replayerOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { linuxForTests, TROUBLE } from "./linux-guest.js";
import { linuxSession, SESSION_UNITS_MAX } from "./linux-session.js";
import { vmlinuxOf } from "./vmlinux.js";

jest.setTimeout(900_000);

const linux = await linuxForTests("amd64");
const pathOf = recordingDirectory();

/** What the console says of the hypervisor, and the commands that make it one. */
const HYPERVISORS: readonly (readonly [string, RegExp | undefined, readonly (readonly [string, string])[]])[] = [
  ["on nothing that it could name", undefined, [["policy", "x86.cpuid.hypervisor=plain"]]],
  ["on KVM", /Hypervisor detected: KVM/, []],
  ["on Hyper-V", /Hypervisor detected: Microsoft Hyper-V/, [["hv", "all"]]],
];

/** What a boot with `quiet` may cost at most. */
const QUIET_EXITS_MAX = 10_000;
const QUIET_JOURNAL_BYTES_MAX = MIB;

describeWhere(linux !== undefined)("a stock amd64 Linux", () => {
  if (linux === undefined) return;
  const image = readFileSync(linux.guest.image);
  const kernels = [
    ["its bzImage", "kvm-intel", { name: linux.guest.image, bytes: new Uint8Array(image) }],
    ["its ELF file, by PVH, on AMD", "kvm-amd", { name: "vmlinux", bytes: new Uint8Array(vmlinuxOf(image)) }],
  ] as const;

  describe.each(kernels)("entered from %s", (_from, exitModel, kernel) => {
    describe.each(HYPERVISORS)("%s", (_hypervisor, says, words) => {
      it.each([1, 4])("with %d CPUs boots to a shell, powers off, and replays without files", async (vcpuCount) => {
        const commands = words.map(([word, text]) => command(word, text, linux.architecture));
        const session = linuxSession(linux, { kernel, exitModel, vcpuCount, commands });
        const { path, stop, console } = await recordGuest(
          session.setup,
          pathOf(`${exitModel}-${vcpuCount}-${words.length === 0 ? "kvm" : words.map(([word]) => word).join("-")}`),
          {
            unitsMax: SESSION_UNITS_MAX,
          },
        );
        expect(console).toContain(`Linux version ${linux.guest.release}`);
        if (says === undefined) expect(console).not.toContain("Hypervisor detected");
        else expect(console).toMatch(says);
        expect(console).toMatch(new RegExp(`smp: Brought up 1 node, ${vcpuCount} CPU`));
        expect(console).toMatch(/uname -m.*\r\nx86_64\r\n/);
        expect(console).toContain(`${session.diskHash}  /dev/vda\r\n`);
        expect(console).not.toMatch(TROUBLE);
        expect(stop).toEqual(linux.powerOff);
        session.removeFiles();
        await withRecording(path, (reader) => {
          const replayer = replayerOf(reader);
          expect(replayer.advance()).toBe("end");
          expect(replayer.compared).toEqual(countObserved(reader));
          expect([...replayer.machine.kernel.unimplemented()]).toEqual([]);
        });
      });
    });
  });

  it("boots quietly in ten thousand exits at most, and a journal of one mebibyte", async () => {
    const append = `console=${linux.serialPort} quiet`;
    const { path } = await recordGuest(linuxSession(linux, { append }).setup, pathOf("quiet"), {
      unitsMax: SESSION_UNITS_MAX,
    });
    await withRecording(path, (reader) => {
      expect(reader.end.exitNumber).toBeLessThanOrEqual(QUIET_EXITS_MAX);
      expect(recordingSizes(reader).events).toBeLessThanOrEqual(QUIET_JOURNAL_BYTES_MAX);
    });
  });
});
