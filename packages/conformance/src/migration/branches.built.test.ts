import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { existsSync } from "node:fs";
import { VmSandbox } from "../testing/vm-sandbox.js";

// A busy machine takes many times as long to start a process.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const main = "scenario=main input=none ticks=5 rounds=100";
const forwarded = ["--smccc-filter", "0xc6000000+0x100=forward"];

describe("a branch from the end of a recording", () => {
  beforeAll(() => sandbox.recordWhole("trunk", main, "--until", "exit:300"));

  it.each(["trunk.hvj", "trunk.hvj@end"])("of %s holds and compares the exits that follow", (from) => {
    const branch = from.includes("@") ? "at-end.hvj" : "end.hvj";
    sandbox.must("record", "--from", from, "-o", branch, "--until", "exit:310", "--headless", "-q");
    expect(sandbox.must("verify", branch)).toMatch(/: 10 exits, 1 digest and all that the VMM half did, equal/);
    expect(sandbox.must("replay", branch)).toContain("compared 10 exits and 1 digest, equal");
    expect(sandbox.must("show", branch, "exit:305")).toMatch(/^exit:305 vcpu0 /);
    expect(sandbox.must("replay", branch, "--until", "exit:300")).toMatch(/^exit:300 vcpu0 /);
  });

  it("that ran out of its time does so again behind the idle time that was cut", () => {
    sandbox.recordWhole("timed-whole", "scenario=loop count=20", "--until", "time:6ms");
    expect(
      sandbox.run("record", "--from", "timed-whole.hvj@time:3ms", "-o", "timed.hvj", "--timeout", "6ms", "--headless")
        .status,
    ).toBe(124);
    expect(sandbox.must("verify", "timed.hvj")).toContain("equal");
    expect(
      sandbox.run("record", "--from", "timed.hvj", "-o", "timed2.hvj", "--timeout", "9ms", "--headless").status,
    ).toBe(124);
    expect(sandbox.must("verify", "timed2.hvj")).toMatch(/: [1-9]\d* exits, [1-9]\d* digests? .* equal/);
  });

  it.each([
    ["exit:99999", 1, "exit:99999 is not in trunk.hvj: it ends at exit:300 (stopped by --until exit:300)"],
    ["hypercall:0xc6000041", 1, "hypercall:0xc6000041 is not in trunk.hvj: it ends at exit:300"],
    ["bogus", 129, "can't read the position 'bogus': a position is one of start, end, exit:N"],
  ])("is refused at %s, which is no moment of it", (position, status, text) => {
    const refused = sandbox.run("record", "--from", `trunk.hvj@${position}`, "-o", "no.hvj", "--headless");
    expect([refused.status, refused.stderr]).toEqual([status, expect.stringContaining(`error: ${text}`)]);
    expect(existsSync(sandbox.path("no.hvj"))).toBe(false);
  });
});

describe("a VM that has moved while a forwarded call waits for its answer", () => {
  beforeAll(() => {
    sandbox.recordWhole("moved", main, ...forwarded, "--until", "hypercall:0xc6000000");
    sandbox.must("migrate", "moved", "moved-dst");
    sandbox.run("ctl", "moved-dst", "quit");
  });

  it.each(["moved.hvj", "moved.hvj@end", "moved.hvj@hypercall:0xc6000000"])(
    "is not run on from %s: the call is answered at the destination",
    (from) => {
      const { status, stderr } = sandbox.run("record", "--from", from, "-o", "twice.hvj", "--headless");
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(
          /^error: can't record from the end of moved\.hvj: it is sealed, its VM was moved to moved-dst \(.*\) in epoch 2\n.*record --from moved\.hvj@POSITION\nnext: /,
        ),
      ]);
      expect(existsSync(sandbox.path("twice.hvj"))).toBe(false);
    },
  );

  it("may branch off from an earlier moment", () => {
    sandbox.must("record", "--from", "moved.hvj@exit:4000", "-o", "earlier.hvj", "--until", "exit:4010", "--headless");
    expect(sandbox.must("verify", "earlier.hvj")).toContain(": 10 exits, 1 digest ");
  });
});

describe("two recordings of which one grew from the other", () => {
  const fromWhere =
    /note: compared from exit:\d+ \(event:\d+\) on, where (branched|moved-dst)\.hvj grew from moved\.hvj/;

  beforeAll(() => {
    sandbox.must("record", "--from", "moved.hvj@exit:4000", "-o", "branched.hvj", "--until", "exit:4500", "--headless");
  });

  it("are compared from where both have events: the moment of a move is equal in both", () => {
    const exit = sandbox.open("moved.hvj", ({ end }) => end.exitNumber);
    const { status, stdout, stderr } = sandbox.run("diff", `moved.hvj@exit:${exit}`, `moved-dst.hvj@exit:${exit}`);
    expect([status, stdout, stderr]).toEqual([
      0,
      `equal: 0 exits, 0 decisions of the VMM, registers and memory at exit:${exit}\n`,
      expect.stringMatching(fromWhere),
    ]);
    const branch = sandbox.run("diff", "moved.hvj@exit:4100", "branched.hvj@exit:4100");
    expect([branch.status, branch.stdout, branch.stderr]).toEqual([
      0,
      "equal: 100 exits, 0 decisions of the VMM, registers and memory at exit:4100\n",
      expect.stringMatching(fromWhere),
    ]);
  });

  it("differ where one goes on and the other ends; the decisions that they share are no difference", () => {
    const { status, stdout } = sandbox.run("diff", "moved.hvj", "moved-dst.hvj", "--stat");
    expect([status, stdout]).toEqual([
      1,
      expect.stringMatching(
        /^control {4}0 removed, 0 added\nexits {6}0 equal, 0 removed, [1-9]\d* added in 1 place\n$/,
      ),
    ]);
    expect(sandbox.run("diff", "moved.hvj", "moved-dst.hvj", "--state").status).toBe(1);
  });

  it("that grew from the same are compared from where the later one begins", () => {
    const exit = sandbox.open("moved.hvj", ({ end }) => end.exitNumber);
    const { status, stdout, stderr } = sandbox.run("diff", "branched.hvj", "moved-dst.hvj@exit:4500");
    expect([status, stdout]).toEqual([
      0,
      `equal: ${4500 - exit} exits, 0 decisions of the VMM, registers and memory at end and exit:4500\n`,
    ]);
    expect(stderr).toMatch(
      /compared from exit:\d+ on, where moved-dst\.hvj begins; \d+ events of branched\.hvj before/,
    );
  });

  it("are not compared at a moment that one lacks: which one is said", () => {
    for (const [a, b, text] of [
      ["moved.hvj@exit:99999", "branched.hvj@exit:4100", "exit:99999 is not in moved.hvj: it ends at exit:"],
      ["moved.hvj@exit:4100", "branched.hvj@exit:99999", "exit:99999 is not in branched.hvj: it ends at exit:4500"],
      ["moved.hvj@exit:10", "branched.hvj@exit:10", "exit:10 is not in branched.hvj: it starts at exit:4000"],
    ] as const) {
      const { status, stderr } = sandbox.run("diff", a, b);
      expect([status, stderr]).toEqual([1, expect.stringContaining(`error: ${text}`)]);
    }
    expect(sandbox.run("diff", "moved.hvj@bogus", "branched.hvj")).toMatchObject({
      status: 129,
      stderr: expect.stringContaining("can't read the position 'bogus'"),
    });
  });
});
