/** The examples do what their pages say. */
import { afterAll, describe, expect, it, jest } from "@jest/globals";
import { spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { hvjournalCommand, repositoryRoot } from "../testing/repository.js";
import { type Finished, VmSandbox } from "../testing/vm-sandbox.js";

// One of them records and asks many times.
jest.setTimeout(300_000);

const sandbox = new VmSandbox();
afterAll(() => sandbox.close());

function copyExample(example: string, files: readonly string[]): void {
  for (const name of ["guest.elf", "vm.yaml", ...files])
    copyFileSync(join(repositoryRoot, "examples", example, name), sandbox.path(name));
}

/** What the guest of an example prints. */
function recordExample(example: string, files: readonly string[]): string[] {
  copyExample(example, files);
  return sandbox.must("record", "-c", "vm.yaml").replaceAll("\r", "").split("\n");
}

describe("examples/forwarded-arm-calls", () => {
  it("answers a guest's calls in the VMM half, and replays without the handler", () => {
    expect(recordExample("forwarded-arm-calls", ["handler.mjs"])).toEqual([
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

describe("examples/extended-hypercalls", () => {
  it("answers what the mask offers, by the rules that are the VMM's, and replays without the handler", () => {
    expect(recordExample("extended-hypercalls", ["handler.mjs"])).toEqual([
      "capabilities: status 0, 0 done",
      "  mask 0x0000000000000103",
      "  as a fast call: status 5, 0 done",
      "  to an odd address: status 4, 0 done",
      "  to where no RAM is: status 8, 0 done",
      "zeroed at boot: status 0, 0 done",
      expect.stringMatching(/^ {2}ranges \d+, the largest 16\d{3} pages from page \d+$/),
      "cold discard: status 0, 1 done",
      "  the page reads 0x0000000000000000",
      "  one in RAM, one beyond: status 5, 1 done",
      "  from the second on: status 5, 1 done",
      "  of no known kind: status 5, 0 done",
      "not offered: status 2, 0 done",
      "beyond all of them: status 2, 0 done",
      "",
    ]);
    const log = sandbox.must("log", "extended.hvj", "--hypercalls");
    expect(log).toMatch(/HYPERV 0x8003 HvExtCallMemoryHeatHint repCount=2 +\S+ +-> rax=0x100000005/);
    const rows = sandbox.must("stat", "extended.hvj", "--event", "hypercall", "--json");
    expect(rows).toContain('"name":"0x8003 HvExtCallMemoryHeatHint"');
    expect(sandbox.must("log", "extended.hvj", "--hypercalls", "--json")).toContain(
      '"call":{"code":32771,"name":"HvExtCallMemoryHeatHint","fast":false,"variableHeaderSize":0,"repCount":2,"repStart":0}',
    );
    expect(log).toMatch(/VMCALL +0x8042 .* kernel half +-> rax=2/);
    expect(sandbox.must("verify", "extended.hvj")).toContain("all that the VMM half did, equal");
    rmSync(sandbox.path("handler.mjs"));
    expect(sandbox.must("replay", "extended.hvj")).toContain("digests, equal");
  });

  it("has a call that the mask does not offer as unknown, and verify says where that makes a difference", () => {
    const changed = ["--handler", "builtin:hv-ext,mask=0x1", "--level", "exits"];
    const { status, stderr } = sandbox.run("verify", "extended.hvj", ...changed);
    expect([status, stderr]).toEqual([1, expect.stringContaining("builtin:hv-ext,mask=0x1")]);
  });
});

describe("examples/notification-transports", () => {
  const directory = join(repositoryRoot, "examples", "notification-transports");
  const files = ["guest.elf", "handler.mjs", "vm.yaml", "compare.mjs"];
  const copyFiles = (): void => {
    for (const name of files) copyFileSync(join(directory, name), sandbox.path(name));
  };

  it("prints the table of its page, counted from recordings that replay without the handler", () => {
    copyFiles();
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ["compare.mjs", `${process.execPath} ${hvjournalCommand}`],
      { cwd: sandbox.directory, encoding: "utf8" },
    );
    expect([status, stderr]).toEqual([0, ""]);
    const [, table = ""] = /^```\n(.*?)^```$/ms.exec(readFileSync(join(directory, "README.md"), "utf8")) ?? [];
    expect(stdout).toBe(table);
    rmSync(sandbox.path("handler.mjs"));
    for (const transport of ["pio", "mmio-ioeventfd", "hv-eventfd"]) {
      expect(sandbox.must("log", `${transport}.hvj`, "--console")).toContain("256 consumed, 256 at once");
      expect(sandbox.must("replay", `${transport}.hvj`)).toContain("digests, equal");
    }
  });

  it("changes the guest's text by a call of the other vendor, and by no other transport", () => {
    copyFiles();
    for (const [transport, changed] of [
      ["kvm-hypercall", "1 of 2 pages changed"],
      ["pio", "0 of 2 pages changed"],
    ] as const) {
      const append = `transport=${transport}`;
      sandbox.must(
        "record",
        "-c",
        "vm.yaml",
        "--append",
        append,
        "--exit-model",
        "kvm-amd",
        "-q",
        "-o",
        "patched.hvj",
        "--force",
      );
      expect(sandbox.run("attest", "patched.hvj", "--pages", "0x100000-0x101fff").stdout).toContain(changed);
    }
  });
});

describe("examples/hv-cpuid-scope", () => {
  const HOLDS = [
    "interface 0x31237648, eVMCS 0x00000000",
    "asked: status 0",
    "vcpu 0: kept 0x0000000000000000, now 0x0000000000000000: holds",
    "vcpu 1: kept 0x0000000000000000, now 0x0000000000000000: holds",
  ];

  it("shows a kept answer of a vCPU to be stale, and that of the system to hold", () => {
    expect(recordExample("hv-cpuid-scope", ["handler.mjs"])).toEqual([
      ...HOLDS,
      "system: kept 0x0000000000000101, now 0x0000000000000101: holds",
      "enabled on vcpu 0: status 0",
      "asked again: status 0",
      "vcpu 0: kept 0x0000000000000000, now 0x0000000000000101: stale",
      "vcpu 1: kept 0x0000000000000000, now 0x0000000000000000: holds",
      "system: kept 0x0000000000000101, now 0x0000000000000101: holds",
      "",
    ]);
    expect(sandbox.must("log", "scope.hvj", "--control")).toMatch(
      /exit:\d+ +CapEnabled +KVM_CAP_HYPERV_ENLIGHTENED_VMCS +vcpu0/,
    );
    expect(sandbox.must("verify", "scope.hvj")).toContain("all that the VMM half did, equal");
  });

  it("has nothing to enable on a host without VMX for guests", () => {
    const printed = sandbox.must("record", "-c", "vm.yaml", "--host-vendor", "amd", "-o", "amd.hvj");
    const system = "system: kept 0x0000000000000000, now 0x0000000000000000: holds";
    const [, ...again] = HOLDS.slice(1);
    expect(printed.replaceAll("\r", "").split("\n")).toEqual([
      ...[...HOLDS, system, "enabled on vcpu 0: status 8", "asked again: status 0", ...again, system, ""],
    ]);
    rmSync(sandbox.path("handler.mjs"));
    for (const name of ["scope.hvj", "amd.hvj"]) expect(sandbox.must("replay", name)).toContain("digests, equal");
  });
});

describe("examples/xmm-output", () => {
  const VALUES = [
    "HvCallGetVpRegisters: status 0, 2 done",
    "  guest OS identity: 0x8100000000000000",
    "  index of this processor: 0x0000000000000000",
  ];
  const LEFT = ["  guest OS identity: what stood there before", "  index of this processor: what stood there before"];

  function run(name: string, policy: string, handler: string, ...words: readonly string[]): Finished {
    copyExample("xmm-output", ["handler.mjs", "old-handler.mjs"]);
    const options = ["--policy", `hv.xmmOutput=${policy}`, "--handler", handler, ...words, "--force"];
    return sandbox.run("record", "-c", "vm.yaml", ...options, "-o", `${name}.hvj`);
  }

  const linesOf = ({ stdout }: Finished): string[] => stdout.replaceAll("\r", "").trimEnd().split("\n");

  it.each(["new-type", "grow-struct", "valid-fields"])(
    "gives a VMM that knows of it what it asked for: %s",
    (policy) => {
      const finished = run("known", policy, "handler.mjs");
      expect([finished.status, linesOf(finished)]).toEqual([0, ["output in XMM registers: offered", ...VALUES]]);
      for (const command of ["verify", "replay"]) expect(sandbox.must(command, "known.hvj")).toContain("equal");
    },
  );

  it("loses data without a word where the struct has grown and the VMM is from before", () => {
    const finished = run("silent", "grow-struct", "old-handler.mjs");
    expect([finished.status, linesOf(finished).slice(1)]).toEqual([0, [VALUES[0], ...LEFT]]);
    expect(finished.stderr).not.toMatch(/error|nobody answered/);
  });

  it("stops loudly where the type is new to the VMM; one that knows it goes on from there", () => {
    const { status, stderr } = run("loud", "new-type", "old-handler.mjs");
    expect([status, stderr]).toEqual([
      128,
      expect.stringMatching(
        /board pc has no answer to KVM_EXIT_HYPERV type 4, HvCallGetVpRegisters \(0x0050\) of vcpu0/,
      ),
    ]);
    expect(sandbox.must("show", "loud.hvj", "end", "--regs")).toMatch(/rcx +0000000200010050[^]*xmm1 +(5a){16}/);
    expect(sandbox.must("replay", "loud.hvj")).toMatch(/answer, pending/);
    const mended = ["--from", "loud.hvj", "--handler", "handler.mjs", "--headless", "--force", "-o", "mended.hvj"];
    expect(
      sandbox
        .must("record", ...mended)
        .replaceAll("\r", "")
        .trimEnd()
        .split("\n"),
    ).toEqual(VALUES);
  });

  it("is not there upstream, and undefined for a guest that is not offered it", () => {
    expect(linesOf(run("absent", "absent", "handler.mjs"))).toEqual([
      "output in XMM registers: not offered",
      "HvCallGetVpRegisters: status 2, 0 done",
      ...LEFT,
    ]);
    expect(linesOf(run("hidden", "new-type", "handler.mjs", "--hv", "vpindex"))[1]).toBe("HvCallGetVpRegisters: #UD");
  });
});
