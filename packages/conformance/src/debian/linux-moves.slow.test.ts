/** A stock Linux that moves three times in the midst of its boot, and goes on to its shell and its power-off. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { copyFileSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { FirmwareFiles, firmwareWords, VENDOR_SERVICES } from "./firmware-handler.js";
import { buildInitrd } from "./initrd.js";
import { stockGuestForTests } from "./stock-guest.js";

jest.setTimeout(900_000);

const guest = await stockGuestForTests();

/** The shell's prompt asks the terminal where its cursor is. */
const session = String.raw`
at console /init: shell[^]*# (\x1b\[6n)?$/ send "nproc; echo $((6 * 7)) in all\n"
at console /42 in all[^]*# (\x1b\[6n)?$/ send "poweroff -f\n"
`;

describeWhere(guest !== undefined)("a stock Linux with four CPUs, PSCI and a vendor's service in the VMM half", () => {
  if (guest === undefined) return;
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());
  const names = ["src", "second", "third", "last"];
  const paths = ["whole", ...names].map((name) => `${name}.hvj`);

  it("moves with a call that failed, with a CPU_ON that nobody was asked yet, and as it runs: nothing in it can tell", async () => {
    await keepOnFailure(
      paths.map((path) => sandbox.path(path)),
      async () => {
        copyFileSync(guest.image, sandbox.path("Image"));
        writeFileSync(sandbox.path("initrd"), buildInitrd(guest));
        writeFileSync(sandbox.path("session.txt"), session);
        const firmware = new FirmwareFiles(sandbox.directory);
        const machine = ["Image", "--initrd", "initrd", "--append", "earlycon=pl011,0x9000000 console=ttyAMA0"];
        const run = ["--seed", "3", "--rtc", "base=2026-01-01", "--input", "session.txt", "--no-index"];
        const words = ["record", ...machine, "--smp", "4", ...firmwareWords, ...run];
        firmware.startBackend();
        sandbox.must(...words, "--headless", "-q", "-o", "whole.hvj");
        firmware.stopBackend();

        sandbox.must(...words, "--detach", "-o", "src.hvj");
        expect(await sandbox.paused("src")).toMatchObject({ pausedBy: "handler failed" });
        sandbox.must("migrate", "src", "second");
        firmware.startBackend();
        const secondCpu = ["ctl", "second", "pause", "--at", "hypercall:0xc4000003#2"];
        const waiting = sandbox.start(...secondCpu);
        await waiting.says(/note: second pauses at hypercall:0xc4000003#2/);
        sandbox.must("ctl", "second", "resume");
        expect(await waiting.finished).toMatchObject({ status: 0 });
        sandbox.must("migrate", "second", "third");
        sandbox.must("ctl", "third", "resume");
        expect(sandbox.must("migrate", "third", "last")).toMatch(/^moved: last runs/m);
        expect(await sandbox.gone("last", 600_000)).toBe(true);

        expect(sandbox.console("third.hvj")).not.toContain("Run /init");
        const whole = sandbox.console("whole.hvj");
        expect(whole).toContain(VENDOR_SERVICES);
        expect(whole).toContain("SMP: Total of 4 processors activated");
        expect(whole).toMatch(/nproc.*\r\n4\r\n42 in all[^]*reboot: Power down/);
        const rest = names.slice(1).map((name) => sandbox.console(`${name}.hvj`, sandbox.handOverSeq(`${name}.hvj`)));
        expect([sandbox.console("src.hvj"), ...rest].join("")).toBe(whole);
        expect(sandbox.must("contract", "src.hvj", "last.hvj")).toMatch(/^\d+ items equal, 0 different\n$/);
        firmware.remove();
        firmware.stopBackend();
        for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
      },
    );
  });
});
