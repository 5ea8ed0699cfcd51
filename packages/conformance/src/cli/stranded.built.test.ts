/** A guest that waits for nothing: `record` says so, records nothing of it, and waits on. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { writeFileSync } from "node:fs";
import { bareMetalImage } from "../guests/bare-metal.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const FIXED = ["--seed", "7", "--rtc", "base=2026-01-01", "--host-timeout", "60s"];

/** An arm64 Image (Documentation/arch/arm64/booting.rst) whose first instruction is WFI. */
function waitingImage(): Uint8Array {
  const image = new DataView(new ArrayBuffer(4096));
  image.setUint32(0, 0xd503_207f, true);
  image.setUint32(16, 4096, true);
  image.setUint32(56, 0x644d_5241, true);
  return new Uint8Array(image.buffer);
}

it("whose power-off a filter denies waits for input, and hears that from record once", async () => {
  const append = "scenario=main input=none ticks=2 period=100";
  const denied = ["--smccc-filter", "0x84000008+1=deny"];
  const recorded = sandbox.start("record", bareMetalImage, "--append", append, ...denied, ...FIXED, "-o", "deny.hvj");
  await recorded.says(
    /note: the guest asks to stop at exit:\d+ \(HVC64 0x84000008 PSCI SYSTEM_OFF\), and that is denied: the filter of event:5 /,
  );
  await recorded.says(/note: vcpu0 waits from exit:\d+ on, with no timer armed: only input wakes it/);
  await recorded.says(/next: hvjournal ctl deny quit\n/);
  expect(sandbox.vm("deny")?.state).toBe("running");
  sandbox.must("ctl", "deny", "pause");
  sandbox.must("ctl", "deny", "resume");
  sandbox.must("ctl", "deny", "quit");
  const { stderr } = await recorded.finished;
  expect(stderr.match(/with no timer armed/g)).toHaveLength(1);
  expect(sandbox.must("replay", "deny.hvj")).toContain("equal");
});

it("whose power-off is forwarded hears so too, and ends where no idle time is waited for", () => {
  const forwarded = ["--smccc-filter", "0x84000008+1=forward", "--headless"];
  const append = "scenario=main input=none ticks=2 period=100";
  const { status, stderr } = sandbox.run("record", bareMetalImage, "--append", append, ...forwarded, ...FIXED);
  expect(stderr).toMatch(/and that is forwarded, and nobody handles it: the filter of event:5 has it otherwise/);
  expect(stderr).toMatch(/guest can't go on \(every vCPU waits and no timer is set\)/);
  expect(status).toBe(1);
});

it("that has enabled no interrupt at all waits for ever, and is told of at once", async () => {
  writeFileSync(sandbox.path("wfi.img"), waitingImage());
  const recorded = sandbox.start("record", "wfi.img", ...FIXED, "-o", "wfi.hvj");
  await recorded.says(/note: vcpu0 waits for ever from exit:1 on, with no timer armed and no interrupt enabled/);
  sandbox.must("ctl", "wfi", "quit");
  await recorded.finished;
  expect(sandbox.must("verify", "wfi.hvj")).toContain("equal");
});
