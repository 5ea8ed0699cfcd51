import { afterAll, afterEach, describe, expect, it, jest } from "@jest/globals";
import { existsSync } from "node:fs";
import { VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterEach(() => sandbox.endAll());
afterAll(() => sandbox.close());

/** It writes 16 MiB over and over: a VM of few pages is there before anybody can end the move. */
const DIRTY = "scenario=dirty megabytes=16 every=64";
const POLL_MS = 50;
const SOON_MS = 20_000;

/** Kept once `is` holds. */
async function until(is: () => boolean): Promise<void> {
  for (const end = performance.now() + SOON_MS; !is();) {
    if (performance.now() > end) throw new Error("it never came to it");
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** A move that does not come to its end, in the midst of it: no standstill is as short as it must be. */
async function startSlowMove(src: string, dst: string): Promise<ReturnType<VmSandbox["start"]>> {
  const moving = sandbox.start("migrate", src, dst, "--bandwidth", "1K", "--downtime-limit", "1");
  await until(() => existsSync(sandbox.path(`${dst}.hvj`)));
  expect(sandbox.vm(dst)?.state).toBe("receiving");
  return moving;
}

describe("a move that is given up", () => {
  it.each(["SIGINT", "SIGTERM"] as const)(
    "ends on both sides when migrate gets %s, and may be tried again",
    async (signal) => {
      const [src, dst] = [`${signal.toLowerCase()}-src`, `${signal.toLowerCase()}-dst`];
      sandbox.recordDetached(src, DIRTY);
      const { child, finished } = await startSlowMove(src, dst);
      child.kill(signal);
      const { status, stdout, stderr } = await finished;
      expect([status, stdout]).toEqual([130, ""]);
      expect(stderr).toContain(
        `error: can't migrate ${src} to ${dst}: interrupted (${signal}); ${src} still owns the VM\nnext: hvjournal migrate ${src} ${dst}\n`,
      );
      await until(() => sandbox.vm(dst) === undefined);
      expect(existsSync(sandbox.path(`${dst}.hvj`))).toBe(false);
      expect(sandbox.vm(src)?.state).toBe("running");
      expect(sandbox.must("migrate", src, dst)).toContain(`moved: ${dst} runs`);
    },
  );

  it("after --timeout ends with status 124, and the source runs on", async () => {
    sandbox.recordDetached("late-src", DIRTY);
    const slowly = ["--bandwidth", "1K", "--downtime-limit", "1", "--timeout", "500ms"];
    const { status, stderr } = await sandbox.start("migrate", "late-src", "late-dst", ...slowly).finished;
    expect([status, stderr]).toEqual([
      124,
      expect.stringContaining(
        "error: can't migrate late-src to late-dst: ran out of --timeout; late-src still owns the VM\nnext: hvjournal migrate late-src late-dst\n",
      ),
    ]);
    await until(() => sandbox.vm("late-dst") === undefined);
    expect([sandbox.vm("late-src")?.state, existsSync(sandbox.path("late-dst.hvj"))]).toEqual(["running", false]);
  });

  it("from a recording: the recording still owns the VM, and may be moved again", async () => {
    sandbox.recordWhole("kept", DIRTY, "--until", "icount:2000000");
    // All pages at once: they never arrive.
    const { child, finished } = sandbox.start("migrate", "kept.hvj", "kept-dst", "--bandwidth", "1K");
    await until(() => sandbox.vm("kept-dst")?.state === "receiving");
    child.kill("SIGTERM");
    const { status, stderr } = await finished;
    expect([status, stderr]).toEqual([
      130,
      expect.stringContaining("to kept-dst: interrupted (SIGTERM); kept.hvj still owns the VM\n"),
    ]);
    await until(() => sandbox.vm("kept-dst") === undefined);
    expect(existsSync(sandbox.path("kept-dst.hvj"))).toBe(false);
    expect(sandbox.must("migrate", "kept.hvj", "kept-dst")).toContain("moved: kept-dst runs");
  });

  it("ends by ctl quit of the destination: the VM stays where it is", async () => {
    sandbox.recordDetached("stays", DIRTY);
    const { finished } = await startSlowMove("stays", "ended");
    expect(sandbox.must("ctl", "ended", "quit")).toBe("ended waits for no VM any more\n");
    const { status, stderr } = await finished;
    expect([status, stderr]).toEqual([128, expect.stringContaining("stays still owns the VM")]);
    expect(existsSync(sandbox.path("ended.hvj"))).toBe(false);
    expect(sandbox.vm("stays")?.state).toBe("running");
  });
});

describe("a VM that ends while it is copied", () => {
  it("has not moved: its recording says how its guest ended, and there is nothing to go on with", async () => {
    // All pages are written by then, and the guest has some way to go.
    sandbox.recordDetached("ends", `${DIRTY} passes=240`, "--paused");
    const { says, finished: pausedThere } = sandbox.start("ctl", "ends", "pause", "--at", "icount:2000000");
    await says(/ends pauses at icount:2000000/);
    sandbox.must("ctl", "ends", "resume");
    await pausedThere;
    const { finished } = await startSlowMove("ends", "ends-dst");
    sandbox.must("ctl", "ends", "resume");
    const { status, stderr } = await finished;
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(
        /error: can't migrate ends to ends-dst: ends ended meanwhile, at exit:\d+ \(powered off by PSCI SYSTEM_OFF\); nothing has moved, its recording is ends\.hvj\nnext: hvjournal replay ends\.hvj\n$/,
      ),
    ]);
    await until(() => sandbox.vms().length === 0);
    expect(existsSync(sandbox.path("ends-dst.hvj"))).toBe(false);
    sandbox.must("replay", "ends.hvj");
  });

  it("has not moved where its operator ends it: it may move from its recording", async () => {
    sandbox.recordDetached("quits", DIRTY);
    const { finished } = await startSlowMove("quits", "quits-dst");
    sandbox.must("ctl", "quits", "quit");
    const { status, stderr } = await finished;
    expect([status, stderr]).toEqual([
      128,
      expect.stringMatching(
        /\(stopped by ctl quit\); nothing has moved.*\nnext: hvjournal migrate quits\.hvj quits-dst\n$/,
      ),
    ]);
    expect(sandbox.must("migrate", "quits.hvj", "quits-dst")).toContain("moved: quits-dst runs");
  });
});

describe("a receive to which no VM has come", () => {
  it("ends by ctl quit", async () => {
    const { finished, says } = sandbox.start("receive", "--name", "idle");
    await says(/waiting for a VM/);
    sandbox.must("ctl", "idle", "quit");
    expect((await finished).status).toBe(0);
  });
});
