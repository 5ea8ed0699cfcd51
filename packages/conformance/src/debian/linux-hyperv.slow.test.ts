/** A stock Linux as a guest of Hyper-V's: what it asks of its VMM as it comes up, and a move while it waits for the answer. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { copyFileSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { stockGuestForTests } from "./stock-guest.js";

jest.setTimeout(600_000);

const guest = await stockGuestForTests("amd64");

/** A handler is asked for ports that no device has, too: those it leaves alone. */
const AWAY = `export default (call, vm) => {
  if (call.type !== "hv-call") return vm.notHandled;
  throw new Error("no backend");
};
`;

describeWhere(guest !== undefined)("a stock amd64 Linux with all of Hyper-V's enlightenments", () => {
  if (guest === undefined) return;
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());

  it("asks once which extended calls there are; a VM that moves meanwhile is answered at its destination, and is the same", async () => {
    const paths = ["whole.hvj", "src.hvj", "dst.hvj"];
    await keepOnFailure(
      paths.map((path) => sandbox.path(path)),
      async () => {
        copyFileSync(guest.image, sandbox.path("bzImage"));
        const machine = [
          "bzImage",
          "--append",
          "console=ttyS0",
          "--hv",
          "all",
          "--seed",
          "3",
          "--rtc",
          "base=2026-01-01",
        ];
        const until = ["--until", "console:/PTP clock support registered/"];
        sandbox.must(
          ...["record", ...machine, ...until, "--handler", "builtin:hv-ext", "--headless", "-q", "-o", "whole.hvj"],
        );
        const whole = sandbox.console("whole.hvj");
        expect(whole).toContain("Hypervisor detected: Microsoft Hyper-V");
        expect(sandbox.must("log", "whole.hvj", "--hypercalls")).toMatch(
          /^\S+ +exit:\d+ +vcpu0 +VMCALL +HYPERV 0x8001 HvExtCallQueryCapabilities +builtin:hv-ext +-> rax=0 .*\n$/,
        );

        writeFileSync(sandbox.path("away.mjs"), AWAY);
        sandbox.must("record", ...machine, ...until, "--handler", "away.mjs", "--detach", "-o", "src.hvj");
        expect(await sandbox.paused("src")).toMatchObject({ pausedBy: "handler failed" });
        sandbox.must("migrate", "src", "dst", "--handler", "builtin:hv-ext");
        sandbox.must("ctl", "dst", "resume");
        expect(await sandbox.gone("dst")).toBe(true);
        expect(sandbox.must("log", "src.hvj", "--hypercalls")).toMatch(/HvExtCallQueryCapabilities .*-> pending .*\n$/);
        expect(sandbox.joinedConsole("src.hvj", "dst.hvj")).toBe(whole);
        const endOf = (path: string): unknown =>
          sandbox.open(path, ({ end: { icount, exitNumber } }) => ({ icount, exitNumber }));
        expect(endOf("dst.hvj")).toEqual(endOf("whole.hvj"));
        expect(sandbox.must("verify", "dst.hvj")).toContain("equal");
        for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
      },
    );
  });
});
