/** Which of six changes keeps a stock Linux from bringing up its second CPU. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { copyFileSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { stockGuestForTests } from "./stock-guest.js";

jest.setTimeout(300_000);

const guest = await stockGuestForTests();

const changes = `
memory: 320M
append: console=ttyAMA0 panic=-1 loglevel=7
cap: [ARM_SYSTEM_SUSPEND]
smccc-filter:
  - 0xc4000000+0x20=forward
  - {base: 0xc6000000, count: 0x100, action: forward}
firmware-reg: {STD_HYP_BMAP: 0x0}
`;

describeWhere(guest !== undefined)("a stock Linux with two CPUs", () => {
  if (guest === undefined) return;
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());

  it("names the filter that takes PSCI from the kernel half, among six changes", () => {
    copyFileSync(guest.image, sandbox.path("Image"));
    writeFileSync(sandbox.path("new.yaml"), changes);
    const machine = ["Image", "--append", "console=ttyAMA0 panic=-1", "--smp", "2", "--seed", "1"];
    sandbox.must(
      "record",
      ...machine,
      "--headless",
      "-q",
      "--until",
      "console:/SMP: Total of 2 processors/",
      "-o",
      "good.hvj",
    );
    const expected = ["--expect", "console =~ /Total of 2 processors/"];
    const { status, stdout, stderr } = sandbox.run(
      "bisect",
      "good.hvj",
      "--with",
      "new.yaml",
      ...expected,
      "--timeout",
      "300ms",
    );
    expect(stderr).toContain("6 differences; inputs of good.hvj re-driven\n");
    const runs = stderr.match(/^ {2}run \d+ /gm) ?? [];
    expect(runs.length).toBeLessThanOrEqual(7);
    expect(stdout).toMatch(
      /^caused by 1 of 6: {2}SmcccFilterSet {2}0xc4000000\+0x20 {2}\(none\) -> forward\nfirst effect\n {2}good\.hvj {6}exit:\d+ +HVC64 0xc4000003 PSCI CPU_ON {2}kernel half, default rule +x0 <- 0, .*\n {2}bisect-\d\.hvj {2}exit:\d+ +HVC64 0xc4000003 PSCI CPU_ON {2}KVM_EXIT_HYPERCALL, filter event:\d+ {2}x0 <- -1\n {2}then {10}exit:\d+ {2}console '.*psci: failed to boot CPU1 \(-95\)'\n$/,
    );
    expect(status).toBe(0);
  });
});
