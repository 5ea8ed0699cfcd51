/** A test of a stock Linux that moves while a call waits for its handler, in the midst of its boot. */
import { afterAll, expect, it } from "@jest/globals";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { CallingGuest } from "./calling-guest.js";
import type { LinuxGuest } from "./linux-guest.js";

/** undefined: there is no such guest here, and it is skipped. */
export function testMove(linux: LinuxGuest | undefined): void {
  describeWhere(linux !== undefined)("a stock Linux with four CPUs, some of whose calls are the VMM half's", () => {
    if (linux !== undefined) moveTest(linux);
  });
}

function moveTest(linux: LinuxGuest): void {
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());

  it("moves while a call waits; the destination answers it, brings up all CPUs, and is the same VM", async () => {
    const paths = ["whole.hvj", "src.hvj", "dst.hvj"];
    await keepOnFailure(
      paths.map((path) => sandbox.path(path)),
      async () => {
        const guest = new CallingGuest(sandbox, linux);
        const { words } = guest;
        const run = ["record", ...guest.machine, "--until", `console:/${words.allUp}/`];
        guest.startBackend();
        sandbox.must(...run, "--headless", "-q", "-o", "whole.hvj");
        guest.stopBackend();
        sandbox.must(...run, "--detach", "-o", "src.hvj");
        expect(await sandbox.paused("src")).toMatchObject({ pausedBy: "handler failed" });

        expect(sandbox.must("migrate", "--explain", "src", "dst")).toMatch(
          /^OPEN {3}call .* of vcpu0, exit:\d+, is pending: .*\nnothing blocks, \d+ equal\n$/,
        );
        sandbox.must("migrate", "src", "dst");
        expect(sandbox.must("contract", "src.hvj", "dst.hvj")).toMatch(/^\d+ items equal, 0 different\n$/);
        const contract = sandbox.must("contract", "dst.hvj");
        for (const item of words.contract) expect(contract).toContain(item);
        guest.startBackend();
        sandbox.must("ctl", "dst", "resume");
        expect(await sandbox.gone("dst")).toBe(true);

        expect(sandbox.must("log", "src.hvj", "--hypercalls")).toMatch(words.pending);
        expect(sandbox.must("log", "dst.hvj", "--hypercalls")).toMatch(words.answered);
        const whole = sandbox.console("whole.hvj");
        expect(whole).toContain(words.says);
        expect(whole).toContain(words.allUp);
        expect(sandbox.console("src.hvj")).toMatch(words.before);
        expect(sandbox.console("src.hvj")).not.toContain(words.says);
        expect(sandbox.joinedConsole("src.hvj", "dst.hvj")).toBe(whole);
        const endOf = (path: string): unknown =>
          sandbox.open(path, ({ end: { icount, exitNumber } }) => ({ icount, exitNumber }));
        expect(endOf("dst.hvj")).toEqual(endOf("whole.hvj"));

        expect(sandbox.must("verify", "dst.hvj")).toContain("equal");
        guest.removeHandler();
        for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
      },
    );
  });
}
