import { beforeEach, describe, expect, it } from "@jest/globals";
import { KvmVm, MpState, PsciFunction as F } from "@hvjournal/cpu-arm64";
import { ConfiguredGuest } from "../testing/configured-guest.js";
import type { HypercallCall } from "./hypercall-call.js";
import { NOT_HANDLED } from "./answer-forms.js";
import { answerPsci } from "./psci.js";

const SUCCESS = [0n, 0n, 0n, 0n];
const failing = (code: bigint): bigint[] => [code, 0n, 0n, 0n];
const UPPER = 0xdead_beef_0000_0000n;

let guest: ConfiguredGuest;
let vm: KvmVm;
beforeEach(() => {
  guest = new ConfiguredGuest(3);
  vm = new KvmVm(guest);
});

function call(nr: number, ...args: readonly bigint[]): unknown {
  const registers = Array.from({ length: 18 }, (_, index) => (index === 0 ? BigInt(nr) : (args[index - 1] ?? 0n)));
  const made: HypercallCall = { nr, conduit: "hvc", is16Bit: false, immediate: 0, vcpu: 0, args: registers };
  const answer = answerPsci(made, vm);
  return Array.isArray(answer) ? answer.map(BigInt) : answer;
}

describe("PSCI in the VMM half", () => {
  it("tells the version that the firmware register has", () => {
    expect(call(F.version)).toEqual([0x1_0003n, 0n, 0n, 0n]);
    vm.vcpu(0).setOneReg("KVM_REG_ARM_PSCI_VERSION", 0x1_0000n);
    expect(call(F.version)).toEqual([0x1_0000n, 0n, 0n, 0n]);
    expect(call(F.systemReset2In64)).toEqual(failing(-1n));
  });

  it("turns a CPU on by KVM_ARM_VCPU_INIT, pc, x0 and KVM_SET_MP_STATE, in this order", () => {
    expect(call(F.cpuOn64, 1n, 0x4008_0000n, 0xabcn)).toEqual(SUCCESS);
    expect(guest.events).toEqual([
      "arm64.VcpuInitialized vcpu1 POWER_OFF, PSCI_0_2",
      "vcpu1 pc 0x40080000",
      "vcpu1 x0 0xabc",
      "arm64.MpStateSet vcpu1 RUNNABLE",
    ]);
    expect(call(F.affinityInfo64, 1n, 0n)).toEqual(SUCCESS);
  });

  it("lets a CPU come up with the byte order of the one that turns it on", () => {
    guest.registers.set("vcpu0 sctlr_el1", 1n << 25n);
    call(F.cpuOn64, 2n, 0x4008_0000n);
    expect(guest.registers.get("vcpu2 sctlr_el1")).toBe(1n << 25n);
  });

  it.each<[string, number, readonly bigint[], bigint]>([
    ["a CPU that is on", F.cpuOn64, [0n, 0n], -4n],
    ["no such CPU", F.cpuOn64, [3n, 0n], -2n],
    ["reserved bits of an MPIDR", F.cpuOn64, [1n | (1n << 24n), 0n], -2n],
    ["an affinity level above 3", F.affinityInfo64, [1n, 4n], -2n],
    ["a CPU that is off", F.affinityInfo64, [1n, 0n], 1n],
    ["an unknown function", 0x8400_001f, [], -1n],
    ["SYSTEM_SUSPEND without its capability", F.systemSuspend64, [], -1n],
    ["a reset of an unknown type", F.systemReset2In64, [2n], -2n],
    ["a hibernation with a cookie", F.systemOff2In64, [1n, 5n], -2n],
  ])("answers %s with the code of the specification", (_, nr, args, code) => {
    expect(call(nr, ...args)).toEqual(failing(code));
    expect(guest.events).toEqual([]);
    expect(guest.stopped).toBeUndefined();
  });

  it("narrows the arguments of the 32-bit convention", () => {
    expect(call(F.cpuOn32, UPPER | 1n, UPPER | 0x4008_0000n, UPPER | 7n)).toEqual(SUCCESS);
    expect(guest.events.slice(1, 3)).toEqual(["vcpu1 pc 0x40080000", "vcpu1 x0 0x7"]);
  });

  it("turns the caller off, and suspends it until an interrupt comes", () => {
    call(F.cpuOff);
    expect(vm.vcpu(0).getMpState()).toBe(MpState.stopped);
    expect(call(F.cpuSuspend64)).toEqual(SUCCESS);
    expect(vm.vcpu(0).getMpState()).toBe(MpState.suspended);
  });

  it.each([
    [F.systemOff, { what: "powered off", by: "PSCI SYSTEM_OFF" }],
    [F.systemReset, { what: "reset", by: "PSCI SYSTEM_RESET" }],
    [F.systemReset2In64, { what: "reset", by: "PSCI SYSTEM_RESET2" }],
    [F.systemOff2In64, { what: "powered off", by: "PSCI SYSTEM_OFF2" }],
  ])("ends the VM for 0x%s, and leaves its registers", (nr, stop) => {
    expect(call(nr)).toBeUndefined();
    expect(guest.stopped).toEqual(stop);
    expect(guest.events).toEqual([]);
  });

  it("suspends the system where its capability is enabled", () => {
    vm.enableCap({ cap: "KVM_CAP_ARM_SYSTEM_SUSPEND" });
    expect(call(F.features, BigInt(F.systemSuspend64))).toEqual(SUCCESS);
    call(F.systemSuspend64);
    expect(guest.stopped).toEqual({ what: "suspended", by: "PSCI SYSTEM_SUSPEND" });
  });

  it("leaves what is not PSCI's to others", () => {
    for (const nr of [0x8400_0020, 0xc400_0020, 0x8600_0000, 0x0400_0003]) expect(call(nr)).toBe(NOT_HANDLED);
  });
});
