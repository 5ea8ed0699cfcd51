/** Handlers of forwarded calls with a real guest: what they do takes effect as a whole, or not at all, and is recorded. */
import { describe, expect, it } from "@jest/globals";
import { type Recorder, toHex, Verifier } from "@hvjournal/core";
import { arm64, MpState } from "@hvjournal/cpu-arm64";
import { builtinHandler, HandlerError, type HypercallHandler, type NamedHandler } from "@hvjournal/vmm";
import {
  collectConsole,
  command,
  createBoard,
  createGuest,
  digester,
  type GuestSetup,
  recordGuest,
  runGuest,
} from "../testing/guest-recording.js";
import { replayerOf, rowsOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();
const SLICE = { units: 1e9 };
const setup = (handler: HypercallHandler): GuestSetup => ({
  append: "scenario=hypercalls",
  vcpuCount: 2,
  commands: [command("smccc-filter", "0xc6000000+0x100=forward")],
  handlers: [{ name: "test", handle: handler }],
});

function builtin(name: string): NamedHandler {
  const found = builtinHandler(name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}

async function expectReplays(guest: GuestSetup, path: string): Promise<void> {
  await withRecording(path, async (reader) => {
    expect(replayerOf(reader).advance()).toBe("end");
    const verifier = new Verifier({ architecture: arm64, digester, reader, vmm: createBoard(guest) });
    while ((await verifier.step(SLICE.units)) !== "equal");
  });
}

/** The state at each call, before the handler has done anything. */
function digestOf(recorder: Recorder): string {
  return toHex(recorder.machine.digest());
}

describe("a handler that has done everything that a VMM can do", () => {
  let isBroken = true;
  let before = "";
  let recorder: Recorder | undefined;
  const guest = setup((_, vm) => {
    if (recorder !== undefined) before = digestOf(recorder);
    vm.vcpu(0).setOneReg("x5", 0x55n);
    vm.vcpu(0).setOneReg("sp_el0", 0x1000n);
    vm.vcpu(1).vcpuInit(["PSCI_0_2"]);
    vm.vcpu(1).setMpState(MpState.suspended);
    vm.enableCap({ cap: "KVM_CAP_ARM_SYSTEM_SUSPEND" });
    vm.vcpu(0).setOneReg("KVM_REG_ARM_PSCI_VERSION", 0x1_0001n);
    vm.writeMemory(0x4300_0000, new Uint8Array(5000).fill(0xa5));
    vm.setIrqLine(40, 1);
    vm.output(0, new TextEncoder().encode("from the handler\n"));
    vm.vcpu(1).setMpState(MpState.stopped);
    expect(vm.vcpu(0).getOneReg("x5")).toBe(0x55n);
    expect(vm.readMemory(0x4300_1000, 2)).toEqual(Uint8Array.of(0xa5, 0xa5));
    vm.setIrqLine(40, 0);
    if (isBroken) throw new Error("on its last line");
    return { x0: 1, x7: 7n };
  });

  it("and then throws, leaves state, journal and console as they were; asked again it answers, and all replays", async () => {
    const path = pathOf("thrown");
    const started = createGuest(guest, path);
    recorder = started;
    const console = collectConsole(started);
    for (let tries = 0; tries < 2; tries++) {
      const printed = console();
      expect(() => started.step(SLICE)).toThrow(HandlerError);
      expect(digestOf(started)).toBe(before);
      expect(started.machine.exitPending).toBe(true);
      if (tries > 0) expect(console()).toBe(printed);
      started.pause();
    }
    expect(started.machine.kernel.memory.read(0x4300_0000, 1)).toEqual(Uint8Array.of(0));
    isBroken = false;
    recorder = undefined;
    await runGuest(started);
    expect(console()).toContain("from the handler");
    expect(console()).toMatch(/hvc 0xc6000000: 0x0000000000000001 /);
    await expectReplays(guest, path);
    const inits = await withRecording(path, (reader) => rowsOf(reader, "arm64.VcpuInitialized"));
    // Two at the start, and one for each of the calls.
    expect(inits).toHaveLength(2 + 8);
  });
});

describe("a handler that answers late", () => {
  it("finds the VM standing still; the recording replays without it", async () => {
    const path = pathOf("late");
    const guest = setup(async (call, vm) => {
      const time = vm.guestTimeNs;
      await new Promise((resolve) => setImmediate(resolve));
      return [vm.guestTimeNs === time ? (call.args[2] ?? 0n) : 0n];
    });
    const { console } = await recordGuest(guest, path);
    expect(console).toMatch(/smc 0xc6000001: 0x0000000000002222 0x0000000000001111/);
    await expectReplays(guest, path);
  });
});

describe("builtin:psci", () => {
  const forwarded = [
    command("smccc-filter", "0x84000000+0x20=forward"),
    command("smccc-filter", "0xc4000000+0x20=forward"),
  ];
  it.each(["hypercalls", "main"])("is to the guest of scenario=%s what the kernel half is", async (scenario) => {
    const guest = { append: `scenario=${scenario} input=none ticks=3`, vcpuCount: 2 };
    const byKernel = await recordGuest(guest, pathOf(`${scenario}-kernel`));
    const inVmm = { ...guest, commands: forwarded, handlers: [builtin("builtin:psci")] };
    const path = pathOf(`${scenario}-vmm`);
    const byVmm = await recordGuest(inVmm, path);
    expect([byVmm.console, byVmm.stop]).toEqual([byKernel.console, byKernel.stop]);
    await expectReplays(inVmm, path);
  });
});
