import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { existsSync, writeFileSync } from "node:fs";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

/** Long enough for every test; what a test that was cut leaves behind ends by itself. */
const ENDLESS = "scenario=loop count=20000";
const EXITS_OF_A_WHILE = 300;
const POLL_MS = 50;

/** Once it has run for a while. */
async function goesOn(name: string): Promise<void> {
  const exitNow = (): number => sandbox.vm(name)?.exit ?? Number.NaN;
  for (const before = exitNow(); exitNow() < before + EXITS_OF_A_WHILE;)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}

describe("a guest that is moved in the midst of a loop", () => {
  it("goes on in a fresh process; its output is whole and nothing comes twice, as if it had never moved", async () => {
    await keepOnFailure([sandbox.path("src.hvj"), sandbox.path("dst.hvj")], async () => {
      sandbox.recordInteractive("src", ENDLESS);
      const told = sandbox.must("migrate", "src", "dst");
      expect(told).toMatch(/^contract {3}\d+ items equal\nsnapshot {3}at exit:\d+: \d+ pages, .* sent, source paused /);
      expect(told).toMatch(
        /hand-over {2}exit:\d+, digest sha256:[0-9a-f]{8}… on both sides, epoch 2, guest stood still for/,
      );
      expect(told).toMatch(/moved: dst runs \(pid \d+\); src is sealed\nnext: hvjournal attach dst\n$/);
      await goesOn("dst");
      sandbox.must("ctl", "dst", "quit");
      const { icount } = sandbox.open("dst.hvj", ({ end }) => end);
      sandbox.recordWhole("whole", ENDLESS, "--until", `icount:${icount}`);
      expect(sandbox.joinedConsole("src.hvj", "dst.hvj")).toBe(sandbox.console("whole.hvj"));
      for (const name of ["src.hvj", "dst.hvj"]) expect(sandbox.must("replay", name)).toContain("equal");
      expect(sandbox.must("verify", "dst.hvj")).toContain("equal");
    });
    for (const source of ["src", "src.hvj"]) {
      const { status, stderr } = sandbox.run("migrate", source, "other");
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(
          /^error: can't migrate src\.hvj: it is sealed, its VM was moved to dst \(.*dst\.hvj\) in epoch 2\nnext: /,
        ),
      ]);
    }
    expect(sandbox.vms()).toEqual([]);
  });
});

describe("a guest that writes 64 MiB over and over without a pause", () => {
  /** How long it stands still is the bench's affair: `npm run bench -- migrate`. */
  it("moves, and no pass is missing or comes twice", async () => {
    sandbox.recordDetached("dirty", "scenario=dirty");
    sandbox.must("migrate", "dirty", "dirty-dst");
    await goesOn("dirty-dst");
    sandbox.must("ctl", "dirty-dst", "quit");
    const passes = [...sandbox.joinedConsole("dirty.hvj", "dirty-dst.hvj").matchAll(/^pass (\d+)\r?$/gm)].map(
      ([, pass]) => Number(pass),
    );
    expect(passes.length).toBeGreaterThan(1);
    expect(passes).toEqual(passes.map((_, index) => 16 * (index + 1)));
  });

  it("stays where it is when the destination's disk is full, and leaves nothing there", () => {
    sandbox.recordDetached("crowded", "scenario=dirty");
    // The snapshot of the pause has all 64 MiB, which have to go over.
    sandbox.must("ctl", "crowded", "pause");
    const blocks = 4096;
    const receive = `trap "" XFSZ; ulimit -f ${blocks}; "${process.execPath}" "${sandbox.entry}" receive --name full --listen -`;
    const { status, stderr } = sandbox.run("migrate", "crowded", `exec:${receive}`);
    expect([status, stderr]).toEqual([128, expect.stringContaining("crowded still owns the VM")]);
    expect(stderr).toContain("the destination gave up: ");
    expect(existsSync(sandbox.path("full.hvj"))).toBe(false);
    expect(sandbox.vms().map(({ name, state }) => [name, state])).toEqual([["crowded", "paused"]]);
    sandbox.must("ctl", "crowded", "quit");
    expect(sandbox.must("replay", "crowded.hvj")).toContain("equal");
  });
});

describe("a guest with a disk, paused while a forwarded call waits for its answer", () => {
  /** Long enough to be met on its way. */
  const rounds = 150;
  const append = `scenario=main ticks=5 rounds=${rounds}`;
  const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];

  beforeAll(() => writeFileSync(sandbox.path("disk.img"), Buffer.alloc(1 << 20, "disk ")));

  it("is paused at the destination too; there it is answered, reads its disk, and takes what is typed", async () => {
    await keepOnFailure([sandbox.path("call.hvj"), sandbox.path("call-dst.hvj")], async () => {
      const drive = ["--drive", "file=disk.img,id=root"];
      sandbox.recordInteractive("call", append, ...forwarded, ...drive);
      sandbox.must("ctl", "call", "--at", "hypercall:0xc6000000#2", "pause");
      const before = sandbox.vm("call");
      sandbox.must("migrate", "call", "call-dst");
      const after = sandbox.vm("call-dst");
      expect([after?.state, after?.exit, after?.icount]).toEqual(["paused", before?.exit, before?.icount]);
      const { child, finished, says } = sandbox.start("attach", "call-dst");
      await says(/attached to call-dst/);
      sandbox.must("ctl", "call-dst", "resume");
      child.stdin?.write("typed at the destination\nquit\n");
      const { stdout } = await finished;
      expect(stdout).toMatch(/disk: first 8 sectors: checksum 0x[0-9a-f]{16}/);
      expect(stdout).toContain("echo: typed at the destination");
      const joined = sandbox.joinedConsole("call.hvj", "call-dst.hvj");
      expect(joined.match(/hvc 0xc6000000:/g)).toHaveLength(rounds);
      expect(joined.trimEnd().endsWith("power off")).toBe(true);
      for (const name of ["call.hvj", "call-dst.hvj"]) expect(sandbox.must("replay", name)).toContain("equal");
    });
  });

  it("stays where it is when the destination has another disk, and says so", () => {
    writeFileSync(sandbox.path("other.img"), Buffer.alloc(1 << 20, "other"));
    sandbox.recordInteractive("kept", append, "--drive", "file=disk.img,id=root");
    const { status, stderr } = sandbox.run("migrate", "kept", "kept-dst", "--drive", "root=other.img");
    expect([status, stderr]).toEqual([1, expect.stringContaining("other.img is not the image that was recorded")]);
    expect(sandbox.vms().map(({ name }) => name)).toEqual(["kept"]);
    const explained = sandbox.run("migrate", "--explain", "kept", "kept-dst", "--drive", "root=other.img");
    expect([explained.status, explained.stdout]).toEqual([1, expect.stringContaining("BLOCK")]);
    // What was to be the destination is over by then: the next command may use its name.
    expect(sandbox.vms().map(({ name }) => name)).toEqual(["kept"]);
    expect(sandbox.run("migrate", "--explain", "kept", "kept-dst")).toMatchObject({ status: 0 });
    sandbox.must("ctl", "kept", "quit");
    expect(sandbox.must("replay", "kept.hvj")).toContain("equal");
  });
});

describe("a recording", () => {
  it("of a guest that has powered off does not move, and --explain says the same", () => {
    sandbox.recordWhole("off", "scenario=hypercalls");
    const [moved, explained] = [["off"], ["--explain", "off"]].map((words) =>
      sandbox.run("migrate", ...words, "off-dst"),
    );
    expect(moved?.stderr).toContain("there is nothing to go on with");
    expect(explained).toMatchObject({ status: 1, stdout: "", stderr: moved?.stderr });
  });

  it("moves from its end; numbers go on", async () => {
    const append = "scenario=loop count=300";
    sandbox.recordWhole("end-whole", append);
    sandbox.recordWhole("end", append, "--until", "icount:1000000");
    sandbox.must("migrate", "end", "end-dst");
    expect(await sandbox.gone("end-dst")).toBe(true);
    expect(sandbox.joinedConsole("end.hvj", "end-dst.hvj")).toBe(sandbox.console("end-whole.hvj"));
    expect(sandbox.must("replay", "end-dst.hvj")).toContain("equal");
  });

  it("whose guest has powered off has nothing to go on with", () => {
    sandbox.recordWhole("end-whole", "scenario=loop count=10", "--force");
    const { status, stderr } = sandbox.run("migrate", "end-whole", "nowhere");
    expect([status, stderr]).toEqual([1, expect.stringContaining("its guest powered off (PSCI SYSTEM_OFF)")]);
  });

  it("that broke off goes on from its last event", async () => {
    // At its own pace, so that it is met on its way.
    sandbox.recordInteractive("broken", "scenario=loop count=1000");
    sandbox.must("ctl", "broken", "pause");
    await sandbox.kill("broken");
    const { status, stderr } = sandbox.run("migrate", "broken", "broken-dst");
    expect([status, stderr]).toEqual([0, expect.stringContaining("broken.hvj was not closed")]);
    sandbox.run("ctl", "broken-dst", "resume");
    expect(await sandbox.gone("broken-dst")).toBe(true);
    expect(sandbox.joinedConsole("broken.hvj", "broken-dst.hvj")).toContain("loop 1000 ");
  });
});

describe("a VM that comes from elsewhere", () => {
  it.each(["tcp:127.0.0.1:0", "unix:here.sock"])("is received at %s", async (listen) => {
    const name = listen.startsWith("tcp") ? "by-tcp" : "by-unix";
    sandbox.recordInteractive(`${name}-src`, ENDLESS);
    const { finished, says } = sandbox.start("receive", "--name", name, "--listen", listen);
    const [, address = ""] = await says(/waiting for a VM at (\S+);/);
    sandbox.must("migrate", `${name}-src`, address);
    expect(sandbox.vms().map((vm) => vm.name)).toEqual([name]);
    await says(/chain 0x/);
    sandbox.must("ctl", name, "quit");
    const { status, stdout } = await finished;
    expect([status, stdout]).toEqual([0, expect.stringContaining("chain 0x")]);
    expect(sandbox.must("replay", `${name}.hvj`)).toContain("equal");
  });

  it("comes over standard input and output, and outlives the connection", () => {
    sandbox.recordInteractive("by-exec-src", ENDLESS);
    const entry = sandbox.must("ps", "--json");
    expect(entry).toContain("by-exec-src");
    const receive = `exec:"${process.execPath}" "${sandbox.entry}" receive --name by-exec --listen -`;
    sandbox.must("migrate", "by-exec-src", receive);
    expect(sandbox.vm("by-exec")?.state).toBe("running");
    sandbox.must("ctl", "by-exec", "quit");
    expect(sandbox.must("replay", "by-exec.hvj")).toContain("equal");
  });

  it("is not waited for where somebody waits already", async () => {
    const first = sandbox.start("receive", "--name", "first", "--listen", "tcp:127.0.0.1:0");
    const [, address = ""] = await first.says(/waiting for a VM at (\S+);/);
    const { status, stderr } = sandbox.run("receive", "--name", "second", "--listen", address);
    expect([status, stderr]).toEqual([
      128,
      `error: can't listen at ${address}: listen EADDRINUSE: address already in use ${address.replace("tcp:", "")}\nnext: hvjournal receive --listen tcp:127.0.0.1:0\n`,
    ]);
    first.child.kill("SIGKILL");
    await first.finished;
  });

  it("never comes in clear from another host", () => {
    sandbox.recordWhole("here", "scenario=loop count=10", "--until", "icount:100000");
    const { status, stderr } = sandbox.run("migrate", "here", "tcp:elsewhere.invalid:7400");
    expect([status, stderr]).toEqual([129, expect.stringContaining("only by ssh: or exec:")]);
  });
});
