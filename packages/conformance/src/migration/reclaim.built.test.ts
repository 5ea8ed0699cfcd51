import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const LONG = "scenario=main input=none ticks=5 rounds=3000";
const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];

function ownership(name: string): string[] {
  return sandbox.open(name, (reader) => reader.ownership().map(({ epoch, state }) => `${epoch} ${state}`));
}

describe("a VM whose destination has gone on, when its source is to have it back", () => {
  beforeAll(async () => {
    sandbox.recordWhole("src", LONG, ...forwarded, "--until", "hypercall:0xc6000000");
    sandbox.must("migrate", "src", "dst");
    sandbox.run("ctl", "dst", "quit");
    await sandbox.gone("dst");
  });

  it.each([["dst.hvj"], ["dst"], []])("stays where it is unless what is lost is named: %s", (...destination) => {
    const { status, stderr } = sandbox.run("migrate", "src.hvj", ...destination, "--force-reclaim");
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(
        /^error: can't reclaim src\.hvj: \S*dst\.hvj owns the VM, and has gone on to exit:\d+ \(event:\d+\); \d+ exits of the VM would be lost\n {2}to give that up: hvjournal migrate src\.hvj .*--force-reclaim --lose event:\d+\nnext: hvjournal receive --continue -o \S*dst\.hvj\n$/,
      ),
    ]);
    expect([ownership("src.hvj"), ownership("dst.hvj")]).toEqual([["2 moved"], ["2 prepared", "2 taken"]]);
  });

  it("is not taken from a file that is not there, or that is another's", () => {
    const missing = sandbox.run("migrate", "src.hvj", "nosuch", "--force-reclaim");
    expect([missing.status, missing.stderr]).toEqual([
      128,
      expect.stringContaining("there is no recording nosuch.hvj"),
    ]);
    sandbox.recordWhole("other", "scenario=loop count=10");
    const other = sandbox.run("migrate", "src.hvj", "other", "--force-reclaim");
    expect([other.status, other.stderr]).toEqual([1, expect.stringContaining("and other.hvj is another")]);
    expect(ownership("src.hvj")).toEqual(["2 moved"]);
  });

  it("comes back by naming it; then the destination can't go on, and the source can", async () => {
    const last = sandbox.open("dst.hvj", ({ end }) => end.firstSeq - 1);
    const wrong = sandbox.run("migrate", "src", "dst", "--force-reclaim", "--lose", `event:${last - 1}`);
    expect([wrong.status, wrong.stderr]).toEqual([1, expect.stringContaining("is not where it stands")]);
    const told = sandbox.must("migrate", "src", "dst", "--force-reclaim", "--lose", `event:${last}`);
    expect(told).toBe("src.hvj owns the VM again, in epoch 3; dst.hvj does not any more\n");
    expect(ownership("dst.hvj")).toEqual(["2 prepared", "2 taken", "3 moved"]);
    for (const words of [
      ["migrate", "dst", "elsewhere"],
      ["receive", "--continue", "-o", "dst.hvj"],
      ["record", "--from", "dst.hvj", "-o", "elsewhere.hvj"],
    ]) {
      const { status, stderr } = sandbox.run(...words);
      expect([status, stderr]).toEqual([1, expect.stringContaining("in epoch 3 by migrate --force-reclaim")]);
    }
    for (const name of ["src.hvj", "dst.hvj"]) {
      expect(sandbox.must("replay", name)).toContain("equal");
      expect(sandbox.must("fsck", name)).toContain("whole");
    }
    // It was stopped at the call, and not paused: so it is again.
    expect(sandbox.must("migrate", "src", "dst2")).toMatch(/epoch 4[^]*moved: dst2 runs/);
    sandbox.run("ctl", "dst2", "quit");
    await sandbox.gone("dst2");
  });

  it("of which nothing is to be found comes back with a note", () => {
    renameSync(sandbox.path("dst2.hvj"), sandbox.path("hidden.hvj"));
    const { status, stdout, stderr } = sandbox.run("migrate", "src.hvj", "--force-reclaim");
    expect([status, stdout]).toEqual([0, expect.stringMatching(/^src\.hvj owns the VM again, in epoch 5; recording /)]);
    expect(stderr).toContain("could not be looked at");
    rmSync(sandbox.path("hidden.hvj"));
  });
});

describe("a VM that was paused while a forwarded call waits for its answer", () => {
  beforeAll(() => {
    sandbox.recordInteractive("held", LONG, ...forwarded);
    sandbox.must("ctl", "held", "pause", "--at", "hypercall:0xc6000000#2");
  });

  it("is paused behind a kill, behind a reclaim, and behind each move", async () => {
    sandbox.must("migrate", "held", "held2");
    const { processId = 0, exit } = sandbox.vm("held2") ?? {};
    process.kill(processId, "SIGKILL");
    await sandbox.gone("held2");
    const { says, finished } = sandbox.start("receive", "--continue", "-o", "held2.hvj");
    await says(/received held2: .*; it is paused, as it was\nnext: hvjournal ctl held2 resume/);
    expect(sandbox.vm("held2")).toMatchObject({ state: "paused", exit });
    sandbox.must("ctl", "held2", "quit");
    await finished;
    sandbox.must("migrate", "held", "held2", "--force-reclaim");
    expect(sandbox.must("migrate", "held", "held3")).toContain("moved: held3 is paused");
    sandbox.must("ctl", "held3", "quit");
    await sandbox.gone("held3");
    expect(sandbox.must("migrate", "held3.hvj", "held4")).toContain("moved: held4 is paused");
    expect(sandbox.vm("held4")).toMatchObject({ state: "paused", exit });
    sandbox.must("ctl", "held4", "resume");
    sandbox.must("ctl", "held4", "quit");
    await sandbox.gone("held4");
    for (const name of ["held", "held2", "held3", "held4"])
      expect(sandbox.must("replay", `${name}.hvj`)).toContain("equal");
    expect(sandbox.must("verify", "held4.hvj")).toContain("equal");
  });
});

describe("a receiver", () => {
  it("stays after it was only asked", async () => {
    sandbox.recordWhole("asks", "scenario=loop count=300", "--until", "icount:1000000");
    const { says, finished } = sandbox.start("receive", "--name", "stays", "--listen", "unix:stays.sock");
    await says(/waiting for a VM/);
    for (let time = 0; time < 2; time++)
      expect(sandbox.must("migrate", "asks", "unix:stays.sock", "--explain")).toContain("nothing blocks");
    await says(/note: somebody asked what would block a move \(--explain\); still waiting/);
    expect(sandbox.must("migrate", "asks", "unix:stays.sock")).toMatch(/moved: stays runs/);
    await finished;
    expect(sandbox.must("replay", "stays.hvj")).toContain("equal");
  });

  it("stays after it refused, and says why", async () => {
    writeFileSync(sandbox.path("disk.img"), Buffer.alloc(1 << 16, "disk "));
    writeFileSync(sandbox.path("other.img"), Buffer.alloc(1 << 16, "other"));
    const drive = ["--drive", "file=disk.img,id=root"];
    sandbox.recordWhole("disk", "scenario=loop count=300", ...drive, "--until", "icount:1000000");
    const receive = ["receive", "--name", "refuses", "--listen", "unix:refuses.sock", "--drive", "root=other.img"];
    const { child, says, finished } = sandbox.start(...receive);
    await says(/waiting for a VM/);
    for (let time = 0; time < 2; time++) {
      const { status, stderr } = sandbox.run("migrate", "disk", "unix:refuses.sock");
      expect([status, stderr]).toEqual([1, expect.stringContaining("disk.hvj still owns the VM")]);
    }
    await says(/note: refused a VM: .*other\.img is not the image that was recorded.*; still waiting/);
    child.kill("SIGKILL");
    await finished;
  });
});
