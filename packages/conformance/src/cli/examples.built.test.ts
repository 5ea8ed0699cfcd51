/** The examples do what their pages say. */
import { afterAll, describe, expect, it } from "@jest/globals";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../testing/repository.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

describe("examples/forwarded-arm-calls", () => {
  it("answers a guest's calls in the VMM half, and replays without the handler", () => {
    for (const name of ["guest.elf", "handler.mjs", "vm.yaml"])
      copyFileSync(join(repositoryRoot, "examples", "forwarded-arm-calls", name), sandbox.path(name));
    const console = sandbox.must("record", "-c", "vm.yaml");
    expect(console.replaceAll("\r", "").split("\n")).toEqual([
      "SMCCC_VERSION: 0x10001",
      "PSCI_VERSION: 0x10003",
      "SDEI_VERSION: 0x1000000000000",
      "echo by HVC: 0x0 0x1000 0x0 0x0",
      "echo by SMC: 0x0 0x1000 0x1 0x0",
      "sum of x1 to x17: 0x99",
      "beyond the range: NOT_SUPPORTED",
      "CPU_ON of cpu 1: 0x0",
      "cpu 1 ran with context 0x5eed",
      "",
    ]);
    rmSync(sandbox.path("handler.mjs"));
    expect(sandbox.must("replay", "forwarded.hvj")).toContain("digests, equal");
  });
});
