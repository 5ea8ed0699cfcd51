/** `diff` of an amd64 VM that moved while a call waited for its answer, with what its VMM decided before, and of one that stayed. */
import { afterAll, beforeAll, describe, expect, it, jest } from "@jest/globals";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../testing/repository.js";
import { VmSandbox } from "../testing/vm-sandbox.js";

jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

const GUEST = [
  ...[join(repositoryRoot, "examples", "extended-hypercalls", "guest.elf"), "--memory", "32M", "--seed", "7"],
  ...["--hv", "ext-calls", "--rtc", "base=2026-01-01"],
];

function write(name: string, ...lines: readonly string[]): string {
  writeFileSync(sandbox.path(name), `${lines.join("\n")}\n`);
  return name;
}

function answering(name: string, mask: string): string {
  return write(name, `export default (call, vm) => vm.hvExt(call, ${mask});`);
}

beforeAll(async () => {
  sandbox.must("record", ...GUEST, "--headless", "--handler", answering("three.mjs", "0x3n"), "-o", "stayed.hvj");
  const failing = write("failing.mjs", 'export default () => { throw new Error("no backend"); };');
  for (const name of ["src", "changed"]) {
    sandbox.must("record", ...GUEST, "--handler", failing, "--detach", "-o", `${name}.hvj`);
    await sandbox.paused(name);
  }
  sandbox.must("ctl", "changed", "policy", "x86.hypercall.unhandled=forward");
  for (const [from, to, handler] of [
    ["src", "same", "three.mjs"],
    ["changed", "other", answering("one.mjs", "0x1n")],
  ] as const) {
    sandbox.must("migrate", from, to, "--handler", handler);
    sandbox.must("ctl", to, "resume");
    await sandbox.gone(to);
  }
});

describe("diff of a VM that has moved and of one that stayed", () => {
  it("compares the handlers in force behind the move, not those of the start", () => {
    const same = sandbox.run("diff", "stayed.hvj", "same.hvj");
    expect([same.status, same.stdout]).toEqual([0, expect.stringMatching(/^equal: \d+ exits, 0 decisions of the VMM/)]);
    expect(sandbox.run("diff", "stayed.hvj", "other.hvj", "--control").stdout).toContain(
      "machine.boardOptions.handlers[0].name  three.mjs -> one.mjs",
    );
  });

  it("has what was decided in the parent recording", () => {
    const { status, stdout } = sandbox.run("diff", "stayed.hvj", "other.hvj", "--control");
    expect([status, stdout]).toEqual([
      1,
      expect.stringMatching(/^ +policy x86\.hypercall\.unhandled {2}enosys \(not set\) -> forward +set before$/m),
    ]);
    expect(sandbox.run("diff", "stayed.hvj", "other.hvj", "--stat").stdout).toMatch(
      /^control {4}0 removed, 0 added, 1 set otherwise before$/m,
    );
  });
});

describe("diff of a call that", () => {
  it("waits at the end of one recording says so", () => {
    const { stdout } = sandbox.run("diff", "src.hvj", "stayed.hvj");
    expect(stdout).toMatch(/^-  handled: VMM half, default rule +pending: the VMM half's answer \(rax\)$/m);
    expect(stdout).toMatch(/^\+  handled: VMM half, default rule +8 bytes to 0x\w+, <- 0$/m);
  });

  it("waited while its VM moved compares its answers, though its event is in the parent recording", () => {
    const { stdout } = sandbox.run("diff", "stayed.hvj", "other.hvj");
    const [, at = ""] =
      /^exits +0 equal, then\n@@ exit:(\d+) .* HvExtCallQueryCapabilities .*\n-  .*: 03(?:00)*\), <- 0\n\+  .*: 01(?:00)*\), <- 0$/m.exec(
        stdout,
      ) ?? [];
    expect(stdout).toMatch(new RegExp(`^state at exit:${at}\\+0: page `, "m"));
    const before = sandbox.run("diff", `stayed.hvj@exit:${at}`, `other.hvj@exit:${at}`);
    expect(before.stdout).toMatch(/^exits +0 equal$/m);
  });

  it("the VMM half answers here and the kernel half there is the same exit, handled in two ways", () => {
    const recorded = (route: string): void => {
      const words = ["--handler", "three.mjs", "--policy", `hv.ext.route=${route}`, "-o", `${route}.hvj`];
      sandbox.must("record", ...GUEST, "--headless", ...words);
    };
    recorded("forward-all");
    recorded("off");
    const { stdout } = sandbox.run("diff", "forward-all.hvj", "off.hvj");
    expect(stdout).toMatch(/^control {4}-PolicySet hv\.ext\.route {2}forward-all +event:\d+$/m);
    expect(stdout).toMatch(/^ +\+PolicySet hv\.ext\.route {2}forward-all -> off +event:\d+$/m);
    expect(stdout).toMatch(/^@@ exit:\d+ vcpu0 VMCALL 0x8001 HvExtCallQueryCapabilities icount:\d+ @@$/m);
    expect(stdout).toMatch(/^-  handled: VMM half, .*\n\+  handled: kernel half, default rule +rax <- 2$/m);
  });

  it("is answered with other bytes in the guest's memory shows them", () => {
    sandbox.must("record", ...GUEST, "--headless", "--handler", "one.mjs", "-o", "one.hvj");
    const { stdout } = sandbox.run("diff", "stayed.hvj", "one.hvj");
    expect(stdout).toMatch(/^-  handled: .* 8 bytes to 0x(\w+) \(0x\1: 03(00){7}\), <- 0$/m);
    expect(stdout).toMatch(/^\+  handled: .* 8 bytes to 0x(\w+) \(0x\1: 01(00){7}\), <- 0$/m);
  });
});
