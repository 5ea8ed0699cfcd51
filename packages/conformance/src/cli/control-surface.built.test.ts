/** What an operator set at the start and changed at run time, as `log`, `replay`, `show` and the stock sqlite3 tell it. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { stockSqliteForTests } from "../debian/stock-sqlite.js";
import { bareMetalImage } from "../guests/bare-metal.js";
import { describeWhere } from "../testing/describe-where.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const FILTER = "0xc6000000+0x100=forward";
const sqlite = await stockSqliteForTests();

describe("a filter set at the start and PSCI's version changed while the guest runs", () => {
  let seq = 0;

  beforeAll(() => {
    // Rounds for some seconds: the operator must come in time on a busy host too.
    const append = "scenario=main ticks=5 rounds=200 input=none";
    const image = ["record", bareMetalImage, "--append", append, "--smccc-filter", FILTER];
    sandbox.must(...image, "--seed", "7", "--headless", "--detach", "--host-timeout", "600s", "-o", "vm.hvj");
    sandbox.must("ctl", "vm", "--at", "hypercall:0xc6000000#2", "pause");
    const before = sandbox.open("vm.hvj", ({ end }) => end);
    const refused = sandbox.run("ctl", "vm", "smccc-filter", FILTER);
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining("EBUSY: a vCPU has run (exit:1)")]);
    expect(sandbox.open("vm.hvj", ({ end }) => end)).toEqual(before);
    const accepted = sandbox.must("ctl", "vm", "one-reg", "KVM_REG_ARM_PSCI_VERSION=0x10000");
    seq = Number(/^event:(\d+) OneRegSet/.exec(accepted)?.[1]);
    sandbox.must("ctl", "vm", "resume");
    return sandbox.gone("vm");
  });

  it("shows both in log --control -p, with what they changed, and nothing of the command that was refused", () => {
    const lines = sandbox.must("log", "--control", "-p").split("\n");
    const [filter, change] = ["SmcccFilterSet", "OneRegSet"].map((kind) => {
      const found = lines.flatMap((line, index) => (line.includes(` ${kind} `) ? [index] : []));
      expect(found).toHaveLength(1);
      return found[0] ?? 0;
    });
    expect(lines[filter ?? 0]).toMatch(/^event:\d+ +start +SmcccFilterSet +0xc6000000\+0x100 forward$/);
    expect(lines[(filter ?? 0) + 1]).toMatch(/^ {4}smcccFilter\[0\] {2}\+ .*\(was: none\)$/);
    expect(lines[change ?? 0]).toMatch(
      new RegExp(`^event:${seq} +exit:\\d+ +OneRegSet +KVM_REG_ARM_PSCI_VERSION +0x10003 -> 0x10000$`),
    );
    expect(lines[(change ?? 0) + 1]).toMatch(/^ {4}firmware\.psciVersion {2}0x10003 -> 0x10000$/);
  });

  it("replays the change at its position: before it the version is the old one", () => {
    const versionAt = (position: string): string | undefined =>
      /psciVersion +(0x[0-9a-f]+)/.exec(sandbox.must("show", position, "--config"))?.[1];
    expect([versionAt(`event:${seq - 1}`), versionAt(`event:${seq}`)]).toEqual(["0x10003", "0x10000"]);
    expect(sandbox.must("replay", "vm.hvj")).toContain("equal");
  });

  it("calls inside and at both edges go to the VMM half, those outside do not, by HVC and by SMC", () => {
    const query =
      "select distinct printf('%x', function), reason, handled_by from hypercalls where function >= 0xc5ffffff";
    const rows = sandbox.must("sql", "--no-header", query).trim().split("\n").sort();
    const expected = ["c5ffffff", "c6000000", "c6000001", "c6000040", "c60000ff", "c6000100"].flatMap((call) =>
      ["HVC64", "SMC64"].map((reason) => `${call}|${reason}|${call.startsWith("c60000") ? "VMM half" : "kernel half"}`),
    );
    expect(rows).toEqual(expected);
  });

  describeWhere(sqlite !== undefined)("where the stock sqlite3 is", () => {
    it("is one file that it counts as hvjournal does", () => {
      const query = "select reason, count(*) from exits group by 1";
      const { status, stdout, stderr } = sqlite?.("-header", sandbox.path("vm.hvj"), query) ?? {};
      expect([status, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^HVC64\|\d+$/m);
      expect(stdout).toBe(sandbox.must("sql", query));
    });
  });
});
