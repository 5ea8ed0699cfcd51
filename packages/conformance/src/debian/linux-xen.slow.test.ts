/** A stock Linux as a guest of Xen's: the page of calls it asks for, and a call that it makes by that. */
import { afterAll, expect, it, jest } from "@jest/globals";
import { copyFileSync, writeFileSync } from "node:fs";
import { describeWhere } from "../testing/describe-where.js";
import { keepOnFailure } from "../testing/keep-recording.js";
import { VmSandbox } from "../testing/vm-sandbox.js";
import { stockGuestForTests } from "./stock-guest.js";

jest.setTimeout(600_000);

const guest = await stockGuestForTests("amd64");

/** What tells a guest of Xen 4.10, and that its page of calls is had by MSR 0x40000000. */
const CPUID = [
  ...["0x40000000:EAX=0x40000002", "0x40000000:EBX=0x566e6558", "0x40000000:ECX=0x65584d4d"],
  ...["0x40000000:EDX=0x4d4d566e", "0x40000001:EAX=0x4000a", "0x40000002:EAX=1", "0x40000002:EBX=0x40000000"],
].flatMap((word) => ["--cpuid", word]);

/** XENVER_get_features: none. */
const HANDLER = `export default (call, vm) => {
  if (call.type !== "xen-call") return vm.notHandled;
  if (call.nr === 17 && call.params[0] === 6n) return 0;
  throw new Error("no shared info");
};
`;

const XEN_VERSION = /^\S+ +exit:\d+ +vcpu0 +VMCALL +XEN 0x11 HYPERVISOR_xen_version rdi=0x6 .*-> rax=0 .*$/m;
const MEMORY_OP = /^\S+ +exit:\d+ +vcpu0 +VMCALL +XEN 0xc HYPERVISOR_memory_op rdi=0x7 .*-> pending/m;

describeWhere(guest !== undefined)("a stock amd64 Linux with Xen's interface", () => {
  if (guest === undefined) return;
  const sandbox = new VmSandbox();
  afterAll(() => sandbox.close());

  it("finds Xen, gets its page, and calls by it; the call that nobody answers waits, and is answered on a host of the other vendor", async () => {
    const paths = ["src.hvj", "dst.hvj"];
    await keepOnFailure(
      paths.map((path) => sandbox.path(path)),
      async () => {
        copyFileSync(guest.image, sandbox.path("bzImage"));
        writeFileSync(sandbox.path("xen.mjs"), HANDLER);
        writeFileSync(sandbox.path("refuses.mjs"), HANDLER.replace('throw new Error("no shared info")', "return -38"));
        const machine = ["bzImage", "--append", "earlyprintk=serial", "--xen", "0x40000000", ...CPUID];
        const seeds = ["--seed", "3", "--rtc", "base=2026-01-01", "--handler", "xen.mjs"];
        sandbox.must("record", ...machine, ...seeds, "--detach", "-o", "src.hvj");
        expect(await sandbox.paused("src")).toMatchObject({ pausedBy: "handler failed" });
        sandbox.must("migrate", "src", "dst", "--host-vendor", "amd", "--handler", "refuses.mjs");
        // Linux takes the refusal for what it is, long before its console is there, and waits for ever.
        const attached = sandbox.start("attach", "dst");
        await attached.says(/attached to dst/);
        sandbox.must("ctl", "dst", "resume");
        await attached.says(/kernel BUG at arch\/x86\/xen\/enlighten_hvm\.c/);
        sandbox.must("ctl", "dst", "quit");
        const calls = sandbox.must("log", "src.hvj", "--hypercalls");
        expect(calls).toMatch(XEN_VERSION);
        expect(calls).toMatch(MEMORY_OP);
        const text = sandbox.joinedConsole("src.hvj", "dst.hvj");
        expect(text).toContain("Hypervisor detected: Xen HVM");
        expect(text).toContain("Xen version 4.10.");
        for (const path of paths) expect(sandbox.must("replay", path)).toContain("equal");
      },
    );
  });
});
