/** A stock Linux that moves again and again, and goes on to its shell and its power-off. */
import { afterAll, afterEach, beforeAll, expect, it, jest } from "@jest/globals";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { CallingGuest } from "./calling-guest.js";
import { buildInitrd } from "./initrd.js";
import { type LinuxGuest, linuxForTests, TROUBLE } from "./linux-guest.js";
import { testMove } from "./move-tests.js";

jest.setTimeout(900_000);

const LAST_MOVE_MS = 600_000;
const guests = { arm64: await linuxForTests("arm64"), amd64: await linuxForTests("amd64") };

/** The shell's prompt asks the terminal where its cursor is. A VM in the background sleeps as long as it says: it is there to be moved. */
const session = String.raw`
at console /init: shell[^]*# (\x1b\[6n)?$/ send "nproc; sleep 30; echo $((6 * 7)) in all\n"
at console /42 in all[^]*# (\x1b\[6n)?$/ send "poweroff -f\n"
`;

/** Consoles of one VM's recordings in their order, as one. */
function joinedConsoles(sandbox: VmSandbox, [first = "", ...rest]: readonly string[]): string {
  return sandbox.console(first) + rest.map((path) => sandbox.console(path, sandbox.handOverSeq(path))).join("");
}

for (const [name, linux] of Object.entries(guests))
  describeWhere(linux !== undefined)(
    `a stock ${name} Linux with four CPUs, some of whose calls are the VMM half's`,
    () => {
      if (linux !== undefined) bootTest(linux);
    },
  );

function bootTest(linux: LinuxGuest): void {
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());
  const moved = ["src.hvj", "second.hvj", "third.hvj", "last.hvj"];

  it("moves with a call that failed, with its CPUs half up, and as it runs: nothing in it can tell", async () => {
    const paths = ["whole.hvj", ...moved];
    await keepOnFailure(
      paths.map((path) => sandbox.path(path)),
      async () => {
        const guest = new CallingGuest(sandbox, linux);
        const { words } = guest;
        writeFileSync(sandbox.path("initrd"), buildInitrd(linux.guest));
        writeFileSync(sandbox.path("session.txt"), session);
        const run = ["record", ...guest.machine, "--initrd", "initrd", "--input", "session.txt", "--no-index"];
        guest.startBackend();
        sandbox.must(...run, "--headless", "-q", "-o", "whole.hvj");
        guest.stopBackend();

        sandbox.must(...run, "--detach", "-o", "src.hvj");
        expect(await sandbox.paused("src")).toMatchObject({ pausedBy: "handler failed" });
        sandbox.must("migrate", "src", "second");
        guest.startBackend();
        const waiting = sandbox.start("ctl", "second", "pause", "--at", words.halfUp);
        await waiting.says(/note: second pauses at /);
        sandbox.must("ctl", "second", "resume");
        expect(await waiting.finished).toMatchObject({ status: 0 });
        sandbox.must("migrate", "second", "third");
        sandbox.must("ctl", "third", "resume");
        expect(sandbox.must("migrate", "third", "last")).toMatch(/^moved: last runs/m);
        expect(await sandbox.gone("last", LAST_MOVE_MS)).toBe(true);

        expect(sandbox.console("second.hvj")).not.toContain(words.allUp);
        const whole = sandbox.console("whole.hvj");
        expect(whole).toContain(words.says);
        expect(whole).toContain(words.allUp);
        expect(whole).toMatch(/nproc.*\r\n4\r\n42 in all[^]*reboot: Power down/);
        expect(whole).not.toMatch(TROUBLE);
        expect(joinedConsoles(sandbox, moved)).toBe(whole);
        expect(sandbox.must("contract", "src.hvj", "last.hvj")).toMatch(/^\d+ items equal, 0 different\n$/);
        guest.removeHandler();
        for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
      },
    );
  });
}

testMove(guests.amd64);

/** Two processes at once, each of which sums up what it does: a lost or doubled step is another sum. */
const PROCESSES = `
work() {
  sum=$1; i=0
  while [ $i -lt 120 ]; do
    sum=$(echo $1 $sum $i | sha256sum); i=$((i+1))
    [ $((i % 10)) = 0 ] && echo "$1 at $i: $sum"
  done
}
work first & work second & wait
echo both are done
`;

describeWhere(guests.amd64 !== undefined)("a stock amd64 Linux with two CPUs and two busy processes", () => {
  if (guests.amd64 === undefined) return;
  const { guest } = guests.amd64;
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());
  const moved = ["intel.hvj", "amd.hvj", "back.hvj"];

  beforeAll(() => {
    copyFileSync(guest.image, sandbox.path("bzImage"));
    writeFileSync(sandbox.path("initrd"), buildInitrd(guest, { command: PROCESSES }));
  });
  afterEach(() => {
    for (const path of ["whole.hvj", ...moved]) rmSync(sandbox.path(path), { force: true });
  });

  /** Runs a VM that stands still, to a moment to come. */
  async function runTo(name: string, position: string): Promise<void> {
    const pause = sandbox.start("ctl", name, "pause", "--at", position);
    await pause.says(/note: \w+ pauses at /);
    sandbox.must("ctl", name, "resume");
    expect(await pause.finished).toMatchObject({ status: 0 });
  }

  const hostChanges = (path: string): string => sandbox.must("log", path, "--kind", "x86.HostChanged");

  it.each([
    ["KVM", []],
    ["Microsoft Hyper-V", ["--hv", "all", "--handler", "builtin:hv-ext"]],
  ])(
    "on %s moves from Intel's host to AMD's and back: no step of a process is lost or doubled",
    async (says, words) => {
      const paths = ["whole.hvj", ...moved];
      await keepOnFailure(
        paths.map((path) => sandbox.path(path)),
        async () => {
          const machine = ["bzImage", "--initrd", "initrd", "--append", "console=ttyS0", "--smp", "2", ...words];
          const run = ["record", ...machine, "--seed", "3", "--rtc", "base=2026-01-01", "--no-index"];
          sandbox.must(...run, "--headless", "-q", "-o", "whole.hvj");
          sandbox.must(...run, "--paused", "--detach", "-o", "intel.hvj");
          await runTo("intel", "console:/first at 30/");
          sandbox.must("migrate", "--host-vendor", "amd", "intel", "amd");
          await runTo("amd", "console:/first at 60/");
          sandbox.must("migrate", "--host-vendor", "intel", "amd", "back");
          sandbox.must("ctl", "back", "resume");
          expect(await sandbox.gone("back", LAST_MOVE_MS)).toBe(true);

          expect(hostChanges("amd.hvj")).toMatch(/intel version 1 -> amd version 1/);
          expect(hostChanges("back.hvj")).toMatch(/amd version 1 -> intel version 1/);
          const [whole, joined] = [sandbox.console("whole.hvj"), joinedConsoles(sandbox, moved)];
          expect(joined).toContain(`Hypervisor detected: ${says}`);
          expect(joined).not.toMatch(TROUBLE);
          const steps = (console: string): string[] => console.match(/^(first|second) at \d+: .*$/gm)?.toSorted() ?? [];
          expect(steps(whole)).toHaveLength(24);
          expect(steps(joined)).toEqual(steps(whole));
          expect(joined).toMatch(/both are done\r\ninit: command ended with status 0[^]*reboot: Power down/);
          for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
          for (const path of moved.slice(1)) expect(sandbox.must("verify", path)).toContain("equal");
        },
      );
    },
  );
});
