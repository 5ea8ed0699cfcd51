/** A stock Linux that moves while a call waits for its firmware, in the midst of its boot. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { copyFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { FirmwareFiles, firmwareWords, forwardedRanges, VENDOR_SERVICES } from "./firmware-handler.js";
import { stockGuestForTests } from "./stock-guest.js";

jest.setTimeout(300_000);

const guest = await stockGuestForTests();

describeWhere(guest !== undefined)("a stock Linux with four CPUs, PSCI and a vendor's service in the VMM half", () => {
  if (guest === undefined) return;
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());

  it("moves while the vendor's call waits; the destination answers it, brings up all CPUs, and is the same VM", async () => {
    const paths = ["whole.hvj", "src.hvj", "dst.hvj"];
    await keepOnFailure(
      paths.map((path) => sandbox.path(path)),
      async () => {
        copyFileSync(guest.image, sandbox.path("Image"));
        const firmware = new FirmwareFiles(sandbox.directory);
        const machine = [
          "Image",
          "--append",
          "earlycon=pl011,0x9000000 console=ttyAMA0",
          "--smp",
          "4",
          ...firmwareWords,
        ];
        const run = ["--seed", "3", "--rtc", "base=2026-01-01", "--until", "console:/Total of 4 processors activated/"];
        firmware.startBackend();
        sandbox.must("record", ...machine, ...run, "--headless", "-q", "-o", "whole.hvj");
        firmware.stopBackend();
        sandbox.must("record", ...machine, ...run, "--detach", "-o", "src.hvj");
        expect(await sandbox.paused("src")).toMatchObject({ pausedBy: "handler failed" });

        expect(sandbox.must("migrate", "--explain", "src", "dst")).toMatch(/^nothing blocks, \d+ equal\n$/);
        sandbox.must("migrate", "src", "dst");
        expect(sandbox.must("contract", "src.hvj", "dst.hvj")).toMatch(/^\d+ items equal, 0 different\n$/);
        const contract = sandbox.must("contract", "dst.hvj");
        for (const range of forwardedRanges) expect(contract).toContain(`KVM_ARM_VM_SMCCC_FILTER ${range}`);
        firmware.startBackend();
        sandbox.must("ctl", "dst", "resume");
        expect(await sandbox.gone("dst")).toBe(true);

        expect(sandbox.must("log", "src.hvj", "--hypercalls")).toMatch(/VENDOR_HYP_KVM_FEATURES .*-> pending .*\n$/);
        expect(sandbox.must("log", "dst.hvj", "--hypercalls")).toMatch(
          /^.* answer +x0 <- 0x5a .*0x86000000 VENDOR_HYP_KVM_FEATURES .*made in the parent recording {2}filter event:\d+ forward/,
        );
        const whole = sandbox.console("whole.hvj");
        expect(whole).toContain(VENDOR_SERVICES);
        expect(whole).toContain("SMP: Total of 4 processors activated");
        expect(sandbox.console("src.hvj")).toMatch(/Booting Linux[^]*psci: PSCIv1\.3 detected/);
        expect(sandbox.joinedConsole("src.hvj", "dst.hvj")).toBe(whole);
        const endOf = (path: string): unknown =>
          sandbox.open(path, ({ end: { icount, exitNumber } }) => ({ icount, exitNumber }));
        expect(endOf("dst.hvj")).toEqual(endOf("whole.hvj"));

        expect(sandbox.must("verify", "dst.hvj")).toContain("equal");
        firmware.remove();
        firmware.stopBackend();
        for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
      },
    );
  });
});
