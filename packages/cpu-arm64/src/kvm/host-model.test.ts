import { describe, expect, it } from "@jest/globals";
import { arm64ControlSlice, type Arm64ControlState } from "./control-slice.js";
import { callService } from "./smccc/services.js";
import type { Caller } from "./smccc/call.js";
import { SmcccFunction } from "./smccc/function-id.js";

const context = { hasRun: false, hasVcpus: true, vcpuCount: 1, memoryBase: 0, memoryBytes: 0x1000 };

function stateOn(host: string): Arm64ControlState {
  return arm64ControlSlice.initialState({ name: host, version: 1 });
}

function ask(state: Arm64ControlState, word: string, text: string): string {
  const command = arm64ControlSlice.parse(word, text);
  if (typeof command === "string") throw new RangeError(command);
  const decision = arm64ControlSlice.decide(state, command, context);
  return "refused" in decision ? decision.refused.errno : "accepted";
}

function readBack(state: Arm64ControlState, register: string): bigint | undefined {
  return arm64ControlSlice.query?.(state, "reg", register);
}

function archFeatures({ firmware }: Arm64ControlState, id: number): bigint | undefined {
  const caller = { firmware, argument: () => BigInt(id) } as unknown as Caller;
  const outcome = callService(caller, SmcccFunction.archFeatures);
  return outcome.kind === "return" ? BigInt(outcome.registers[0]) : undefined;
}

describe("a simulated host", () => {
  it.each([
    ["unaffected", [2n, 3n, 2n], [1n, -2n, 1n]],
    ["mitigated", [1n, 3n, 1n], [0n, -2n, 0n]],
    ["vulnerable", [0n, 0n, 0n], [-1n, -1n, -1n]],
  ] as const)("that is %s tells VMM and guest so", (host, levels, answers) => {
    const state = stateOn(host);
    expect([1, 2, 3].map((index) => readBack(state, `SMCCC_ARCH_WORKAROUND_${index}`))).toEqual(levels);
    const calls = [SmcccFunction.archWorkaround1, SmcccFunction.archWorkaround2, SmcccFunction.archWorkaround3];
    expect(calls.map((id) => archFeatures(state, id))).toEqual(answers);
  });

  it("accepts a level up to its own, keeps its own, and refuses one above with EINVAL", () => {
    const state = stateOn("mitigated");
    for (const [value, wanted] of [
      ["0", "accepted"],
      ["1", "accepted"],
      ["2", "EINVAL"],
      ["0x11", "EINVAL"],
    ] as const)
      expect([value, ask(state, "one-reg", `SMCCC_ARCH_WORKAROUND_1=${value}`)]).toEqual([value, wanted]);
    expect(ask(stateOn("vulnerable"), "one-reg", "SMCCC_ARCH_WORKAROUND_2=1")).toBe("accepted");
    expect(ask(stateOn("vulnerable"), "one-reg", "SMCCC_ARCH_WORKAROUND_2=2")).toBe("EINVAL");
  });

  it("with an older kernel lacks registers, the filter and newer PSCI, each with KVM's errno", () => {
    const [filter, older, oldest] = ["linux-6.4", "linux-6.1", "linux-5.15"].map(stateOn);
    if (filter === undefined || older === undefined || oldest === undefined) throw new RangeError("three hosts");
    expect([filter, older, oldest].map((state) => readBack(state, "PSCI_VERSION"))).toEqual([
      0x1_0001n,
      0x1_0001n,
      0x1_0000n,
    ]);
    expect(ask(filter, "smccc-filter", "0xc6000000+1=forward")).toBe("accepted");
    expect(ask(older, "smccc-filter", "0xc6000000+1=forward")).toBe("ENXIO");
    expect(ask(older, "one-reg", "VENDOR_HYP_BMAP_2=0")).toBe("ENOENT");
    expect(ask(older, "one-reg", "VENDOR_HYP_BMAP=0")).toBe("accepted");
    expect(ask(oldest, "one-reg", "VENDOR_HYP_BMAP=3")).toBe("ENOENT");
    expect(ask(older, "one-reg", "PSCI_VERSION=0x10002")).toBe("EINVAL");
    expect(ask(older, "cap", "ARM_SYSTEM_SUSPEND")).toBe("accepted");
    expect(ask(oldest, "cap", "ARM_SYSTEM_SUSPEND")).toBe("EINVAL");
  });

  it("is not written down where it is the default: older recordings' states are equal to the last bit", () => {
    expect(stateOn("unaffected")).toEqual(arm64ControlSlice.initialState());
    const moved = arm64ControlSlice.decide(
      stateOn("mitigated"),
      { name: "host", host: { name: "unaffected", version: 1 } },
      context,
    );
    if ("refused" in moved) throw new RangeError(moved.refused.reason);
    const [event] = moved.events;
    if (event === undefined) throw new RangeError("no event");
    expect(arm64ControlSlice.evolve(stateOn("mitigated"), event, 9)).toEqual(arm64ControlSlice.initialState());
  });
});
