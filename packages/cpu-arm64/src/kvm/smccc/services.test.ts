import { describe, expect, it } from "@jest/globals";
import type { Caller, CallOutcome } from "./call.js";
import { FIRMWARE_RESET } from "./firmware-registers.js";
import { callService } from "./services.js";

function caller(
  args: readonly bigint[],
  changes: Partial<Caller> = {},
): Caller & { readonly powered: Map<number, unknown> } {
  const powered = new Map<number, unknown>([[0, {}]]);
  return {
    powered,
    vcpu: 0,
    vcpuCount: 2,
    argument: (index) => args[index - 1] ?? 0n,
    firmware: FIRMWARE_RESET,
    systemSuspendEnabled: false,
    counter: 0x1_0000_0002n,
    wallClockNs: 0x3_0000_0004n,
    pvTimeIpa: undefined,
    writePvTime: () => undefined,
    entropy: () => 0x1122_3344_5566_7788n,
    isOn: (vcpu) => powered.has(vcpu),
    powerOn: (vcpu, entry, context) => powered.set(vcpu, { entry, context }),
    powerOff: (vcpu) => powered.delete(vcpu),
    ...changes,
  };
}

function call(id: number, ...args: bigint[]): CallOutcome {
  return callService(caller(args), id);
}

function x0(outcome: CallOutcome): bigint | string {
  return outcome.kind === "systemEvent" ? `event ${outcome.type} flags ${outcome.flags}` : BigInt(outcome.registers[0]);
}

describe("PSCI", () => {
  it("turns a vCPU on once, with entry and context (C01)", () => {
    const from = caller([1n, 0xfeed_f00dn, 0xdead_c0den]);
    expect(x0(callService(from, 0xc400_0003))).toBe(0n);
    expect(from.powered.get(1)).toEqual({ entry: 0xfeed_f00dn, context: 0xdead_c0den });
    expect(x0(callService(from, 0xc400_0003))).toBe(-4n);
  });

  it("narrows the arguments of 32-bit calls (C21)", () => {
    const from = caller([0xffff_0000_0000_0001n, 0x1_0000_1000n, 0xffff_ffff_ffff_ffffn]);
    expect(x0(callService(from, 0x8400_0003))).toBe(0n);
    expect(from.powered.get(1)).toEqual({ entry: 0x1000n, context: 0xffff_ffffn });
    expect(x0(callService(caller([0xffff_0000_0000_0001n]), 0xc400_0003))).toBe(-2n);
  });

  it("refuses affinities that no vCPU has", () => {
    expect(x0(call(0xc400_0003, 2n))).toBe(-2n);
    expect(x0(call(0xc400_0003, 0x8000_0001n))).toBe(-2n);
    expect(x0(call(0xc400_0003, 1n << 32n))).toBe(-2n);
  });

  it("tells affinities on and off at each level (C07)", () => {
    expect(x0(call(0xc400_0004, 0n, 0n))).toBe(0n);
    expect(x0(call(0xc400_0004, 1n, 0n))).toBe(1n);
    expect(x0(call(0xc400_0004, 1n, 1n))).toBe(0n);
    expect(x0(call(0xc400_0004, 0n, 4n))).toBe(-2n);
    expect(x0(call(0xc400_0004, 0x100n, 0n))).toBe(-2n);
  });

  it.each([
    ["PSCI_VERSION", 0x8400_0000, [], 0x1_0003n],
    ["CPU_SUSPEND", 0xc400_0001, [], 0n],
    ["MIGRATE", 0x8400_0005, [], -1n],
    ["MIGRATE_INFO_TYPE", 0x8400_0006, [], 2n],
    ["MIGRATE_INFO_UP_CPU", 0x8400_0007, [], -1n],
    ["SYSTEM_OFF", 0x8400_0008, [], "event 1 flags 0"],
    ["SYSTEM_RESET", 0x8400_0009, [], "event 2 flags 0"],
    ["FEATURES(CPU_ON)", 0x8400_000a, [0xc400_0003n], 0n],
    ["FEATURES(SMCCC_VERSION)", 0x8400_000a, [0x8000_0000n], 0n],
    ["FEATURES(SYSTEM_SUSPEND), not enabled (C09)", 0x8400_000a, [0xc400_000en], -1n],
    ["FEATURES(SYSTEM_OFF2) (C12)", 0x8400_000a, [0xc400_0015n], 1n],
    ["FEATURES(MEM_PROTECT)", 0x8400_000a, [0x8400_0013n], -1n],
    ["SYSTEM_SUSPEND, not enabled", 0xc400_000e, [], -1n],
    ["SET_SUSPEND_MODE", 0x8400_000f, [1n], -1n],
    ["SYSTEM_RESET2, warm", 0xc400_0012, [0n], "event 2 flags 1"],
    ["SYSTEM_RESET2, vendor's (C16)", 0xc400_0012, [0x8000_0001n], "event 2 flags 1"],
    ["SYSTEM_RESET2, unknown (C16)", 0xc400_0012, [2n], -2n],
    ["SYSTEM_OFF2, hibernate (C14)", 0xc400_0015, [1n, 0n], "event 1 flags 1"],
    ["SYSTEM_OFF2, type 0 (C14)", 0xc400_0015, [0n, 0n], "event 1 flags 1"],
    ["SYSTEM_OFF2, type 2", 0xc400_0015, [2n, 0n], -2n],
    ["SYSTEM_OFF2, with a cookie", 0xc400_0015, [1n, 1n], -2n],
    ["an unknown function", 0x8400_001f, [], -1n],
    ["CPU_ON of PSCI 0.1", 0x95c1_ba60, [1n], -1n],
    ["1337 (C08)", 1337, [], -1n],
  ])("answers %s", (_title, id, args, expected) => {
    expect(x0(call(id, ...(args as bigint[])))).toBe(expected);
  });

  it("has in 1.0 and 0.2 what those versions had", () => {
    const at = (psciVersion: bigint, id: number, ...args: bigint[]): bigint | string =>
      x0(callService(caller(args, { firmware: { ...FIRMWARE_RESET, psciVersion }, systemSuspendEnabled: true }), id));
    expect(at(0x1_0000n, 0x8400_000a, 0xc400_0012n)).toBe(-1n);
    expect(at(0x1_0000n, 0xc400_0012, 0n)).toBe(-1n);
    expect(at(0x1_0001n, 0xc400_0012, 0n)).toBe("event 2 flags 1");
    expect(at(0x1_0002n, 0xc400_0015, 1n)).toBe(-1n);
    expect(at(0x1_0000n, 0xc400_000e)).toBe("event 5 flags 0");
    expect(at(0x1_0000n, 0x8400_000a, 0xc400_000en)).toBe(0n);
    expect(at(0x2n, 0x8400_000a, 0xc400_0003n)).toBe(-1n);
    expect(at(0x2n, 0xc400_000e)).toBe(-1n);
    expect(at(0x2n, 0x8400_0000)).toBe(2n);
  });
});

describe("the other services", () => {
  it.each([
    ["SMCCC_VERSION (B24)", 0x8000_0000, [], [0x1_0001n, 0n, 0n, 0n]],
    ["ARCH_FEATURES(WORKAROUND_1)", 0x8000_0001, [0x8000_8000n], [1n, 0n, 0n, 0n]],
    ["ARCH_FEATURES(WORKAROUND_2)", 0x8000_0001, [0x8000_7fffn], [-2n, 0n, 0n, 0n]],
    ["ARCH_FEATURES(WORKAROUND_3)", 0x8000_0001, [0x8000_3fffn], [1n, 0n, 0n, 0n]],
    ["ARCH_FEATURES(PV_TIME_FEATURES)", 0x8000_0001, [0xc500_0020n], [0n, 0n, 0n, 0n]],
    ["ARCH_FEATURES(TRNG_VERSION) (B14)", 0x8000_0001, [0x8400_0050n], [-1n, 0n, 0n, 0n]],
    ["TRNG_VERSION", 0x8400_0050, [], [0x1_0000n, 0n, 0n, 0n]],
    ["TRNG_FEATURES(RND64)", 0x8400_0051, [0xc400_0053n], [0n, 0n, 0n, 0n]],
    ["TRNG_FEATURES(PTP) (B14)", 0x8400_0051, [0x8600_0001n], [-1n, 0n, 0n, 0n]],
    ["TRNG_GET_UUID", 0x8400_0052, [], [0x00e0_210dn, 0xeb11_8443n, 0x4452_7080n, 0x4c5a_4e55n]],
    ["PV_TIME_ST without a structure (B37)", 0xc500_0021, [], [-1n, 0n, 0n, 0n]],
    ["PV_TIME_FEATURES without one (B37)", 0xc500_0020, [0xc500_0021n], [-1n, 0n, 0n, 0n]],
    ["vendor UID (B28)", 0x8600_ff01, [], [0xb66f_b428n, 0xe911_c52en, 0x564b_caa9n, 0x743a_004dn]],
    ["vendor features (B27)", 0x8600_0000, [], [3n, 0n, 0n, 0n]],
    ["PTP, virtual counter", 0x8600_0001, [0n], [3n, 4n, 1n, 2n]],
    ["PTP, unknown counter", 0x8600_0001, [2n], [-1n, 0n, 0n, 0n]],
  ])("answer %s", (_title, id, args, expected) => {
    const outcome = call(id, ...(args as bigint[]));
    expect(outcome.kind === "return" && outcome.registers.map(BigInt)).toEqual(expected);
  });

  it("give random bits from high to low, no more than asked for (B29, B30)", () => {
    const bits = (id: number, count: bigint): readonly bigint[] => {
      const outcome = call(id, count);
      return outcome.kind === "return" ? outcome.registers.map(BigInt) : [];
    };
    expect(bits(0xc400_0053, 192n)).toEqual([
      0n,
      0x1122_3344_5566_7788n,
      0x1122_3344_5566_7788n,
      0x1122_3344_5566_7788n,
    ]);
    expect(bits(0xc400_0053, 72n)).toEqual([0n, 0n, 0x88n, 0x1122_3344_5566_7788n]);
    expect(bits(0x8400_0053, 96n)).toEqual([0n, 0x5566_7788n, 0x1122_3344n, 0x5566_7788n]);
    expect(bits(0x8400_0053, 4n)).toEqual([0n, 0n, 0n, 8n]);
    for (const count of [0n, 97n]) expect(bits(0x8400_0053, count)[0]).toBe(-2n);
    for (const count of [0n, 193n]) expect(bits(0xc400_0053, count)[0]).toBe(-2n);
  });
});
