/** Handlers of an amd64 guest's own instructions: MSRs, KVM's hypercalls, VMware's backdoor. */
import { describe, expect, it } from "@jest/globals";
import { Verifier } from "@hvjournal/core";
import { amd64 } from "@hvjournal/cpu-x86";
import { HandlerError, type X86Call, type X86Handler } from "@hvjournal/vmm";
import { move, readMsr, vmcall, writeMsr } from "../kvm-abi/x86/instructions.js";
import {
  createBoard,
  createGuest,
  digester,
  type GuestSetup,
  MIB,
  recordGuest,
  runGuest,
} from "../testing/guest-recording.js";
import { replayerOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";

const pathOf = recordingDirectory();

const ENTRY = 0x10_0000;
const CONTENT_OFFSET = 0x1000;
const MSR = 0x1234;
const EXITS = [
  { name: "cap", capability: "KVM_CAP_X86_USER_SPACE_MSR", args: [7n] },
  { name: "cap", capability: "KVM_CAP_EXIT_HYPERCALL", args: [0x1000n] },
];
const DEBUG_EXIT = 0xf4;
const moveRcxRax = [0x48, 0x89, 0xc1];

/** An ELF file of 64-bit code with nothing around it, which ends with EAX as its status. */
function kernel(code: readonly number[]): NonNullable<GuestSetup["kernel"]> {
  const content = Uint8Array.from([...code, ...move("rdx", DEBUG_EXIT), 0xef]);
  const bytes = new Uint8Array(CONTENT_OFFSET + content.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(ENTRY), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true);
  view.setUint32(68, 7, true);
  [CONTENT_OFFSET, ENTRY, ENTRY, content.length, content.length, 0x1000].forEach((value, index) =>
    view.setBigUint64(72 + 8 * index, BigInt(value), true),
  );
  bytes.set(content, CONTENT_OFFSET);
  return { name: "guest.elf", bytes };
}

function setup(code: readonly number[], handle: X86Handler, commands: GuestSetup["commands"] = EXITS): GuestSetup {
  const handlers = [{ name: "test", handle }];
  return { architecture: amd64, kernel: kernel(code), append: "", memoryBytes: 4 * MIB, handlers, commands };
}

/** What ends the guest: isa-debug-exit's status is EAX twice, and one. */
const endedWith = (eax: number): object => ({ what: "powered off", by: "isa-debug-exit", status: (2 * eax) | 1 });

async function expectReplays(guest: GuestSetup, path: string): Promise<void> {
  await withRecording(path, async (reader) => {
    expect(replayerOf(reader).advance()).toBe("end");
    const verifier = new Verifier({ architecture: amd64, digester, reader, vmm: createBoard(guest) });
    while ((await verifier.step(1e9)) !== "equal");
  });
}

/** RDMSR says how many pages; KVM_HC_MAP_GPA_RANGE of so many. */
const MAP_RANGE = [
  ...[...readMsr(MSR), ...moveRcxRax, ...move("rbx", 0x1000), ...move("rdx", 0x10), ...move("rax", 12)],
  ...vmcall,
];

describe("a handler of an amd64 guest", () => {
  it.each(["at once", "late"])("answers %s what the guest's instructions ask, which go on with it", async (when) => {
    const seen: X86Call[] = [];
    const answer: X86Handler = (call, vm) => {
      seen.push(call);
      return call.type === "rdmsr" ? 2n : call.type === "kvm-call" ? call.args[1] : vm.notHandled;
    };
    const handle: X86Handler = when === "late" ? async (call, vm) => answer(call, vm) : answer;
    const guest = setup(MAP_RANGE, handle);
    const { path, stop } = await recordGuest(guest, pathOf(when.replace(" ", "-")));
    expect(stop).toEqual(endedWith(2));
    expect(seen).toEqual([
      { type: "rdmsr", vcpu: 0, index: MSR, reason: "unknown" },
      { type: "kvm-call", vcpu: 0, nr: 12, args: [0x1000n, 2n, 0x10n], longMode: true },
    ]);
    await expectReplays(guest, path);
  });

  it("takes a write of an MSR, or refuses it: the guest gets #GP", async () => {
    const code = [...writeMsr(MSR, 0x1_0000_0005n), ...move("rax", 3)];
    const written: unknown[] = [];
    const takes = setup(code, (call) => void written.push(call));
    expect((await recordGuest(takes, pathOf("takes"))).stop).toEqual(endedWith(3));
    expect(written).toEqual([{ type: "wrmsr", vcpu: 0, index: MSR, reason: "unknown", data: 0x1_0000_0005n }]);
    const refuses = setup(code, () => ({ error: 1 }));
    const { path, stop } = await recordGuest(refuses, pathOf("refuses"));
    expect(stop).toEqual({ what: "crashed", by: "triple fault" });
    await expectReplays(refuses, path);
  });

  it("is not asked where KVM_ENABLE_CAP has not asked for the exits: -1000, and #GP", async () => {
    const never: X86Handler = () => {
      throw new Error("asked");
    };
    const call = setup([...move("rax", 12), ...move("rcx", 1), ...vmcall], never, []);
    expect((await recordGuest(call, pathOf("no-call"))).stop).toMatchObject({ what: "powered off" });
    expect((await recordGuest(setup(readMsr(MSR), never, []), pathOf("no-msr"))).stop).toEqual({
      ...{ what: "crashed", by: "triple fault" },
    });
  });

  it("that throws leaves the VM as it was; asked again it answers", async () => {
    let isBroken = true;
    const guest = setup(MAP_RANGE, (call, vm) => {
      vm.vcpu(0).setReg("r9", 9n);
      vm.writeMemory(0x20_0000, Uint8Array.of(1));
      if (call.type === "kvm-call" && isBroken) throw new Error("not today");
      return call.type === "rdmsr" ? 2n : 1n;
    });
    const path = pathOf("thrown");
    const recorder = createGuest(guest, path);
    expect(() => recorder.step({ units: 1e9 })).toThrow(HandlerError);
    const before = recorder.machine.digest();
    recorder.pause();
    expect(() => recorder.step({ units: 1e9 })).toThrow(/KVM_EXIT_HYPERCALL KVM_HC_MAP_GPA_RANGE \(0xc\) of vcpu0/);
    expect([recorder.machine.digest(), recorder.machine.exitPending]).toEqual([before, true]);
    isBroken = false;
    expect(await runGuest(recorder)).toEqual(endedWith(1));
    await expectReplays(guest, path);
  });
});
