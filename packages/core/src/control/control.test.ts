import { describe, expect, it } from "@jest/globals";
import { smallArchitecture } from "../testing/small-cpu.js";
import {
  decideControl,
  describeControl,
  evolveControl,
  initialControlState,
  plainControlState,
  restoreControlState,
} from "./control-plane.js";
import { controlPatches } from "./patches.js";
import { smallMachine } from "../testing/programs.js";
import { checkMachine, machinePayload, MachineDescriptionError, parseMachine } from "../machine/machine-description.js";

const architecture = smallArchitecture();
const context = { hasRun: false, hasVcpus: false, vcpuCount: 1, memoryBase: 0, memoryBytes: 0x1000 };

describe("the control plane", () => {
  it("creates a VM once and as many vCPUs as the machine has, as KVM does", () => {
    let state = initialControlState(architecture);
    const decide = (command: Parameters<typeof decideControl>[2]): ReturnType<typeof decideControl> =>
      decideControl(architecture, state, command, context);
    expect(decide({ name: "create-vcpu", cpu: "small" })).toMatchObject({
      refused: { errno: "ENOENT", call: "KVM_CREATE_VCPU" },
    });
    let seq = 0;
    for (const command of [
      { name: "create-vm", machine: machinePayload(smallMachine({ program: [] })) },
      { name: "create-vcpu", cpu: "small" },
    ]) {
      const decision = decide(command);
      if ("refused" in decision) throw new Error(decision.refused.reason);
      for (const event of decision.events) state = evolveControl(architecture, state, event, ++seq);
    }
    expect(decide({ name: "create-vm", machine: {} })).toMatchObject({ refused: { errno: "EEXIST" } });
    expect(decide({ name: "create-vcpu", cpu: "small" })).toMatchObject({ refused: { errno: "EINVAL" } });
    expect(state.core.vcpus).toEqual([{ cpu: "small" }]);
    expect(restoreControlState(plainControlState(state))).toEqual(state);
    expect(describeControl(architecture, { kind: "VcpuCreated", version: 1, vcpu: 0, payload: { cpu: "small" } })).toBe(
      "vcpu0 small",
    );
  });

  it("shows what an event changed, an added range as one addition", () => {
    const before = { filters: [{ base: 2 }, { base: 9 }], caps: { a: 1, b: 2 } };
    expect(controlPatches(before, { ...before, filters: [{ base: 1 }, ...before.filters] })).toEqual([
      { op: "add", path: ["filters", 0], after: { base: 1 } },
    ]);
    expect(controlPatches(before, { filters: [{ base: 2 }], caps: { a: 5, c: new Uint8Array(2) } })).toEqual([
      { op: "replace", path: ["caps", "a"], before: 1, after: 5 },
      { op: "remove", path: ["caps", "b"], before: 2 },
      { op: "add", path: ["caps", "c"], after: new Uint8Array(2) },
      { op: "remove", path: ["filters", 1], before: { base: 9 } },
    ]);
    expect(controlPatches(before, structuredClone(before))).toEqual([]);
  });
});

describe("a machine description", () => {
  const machine = smallMachine({ program: [] });

  it("is read back from its payload", () => {
    expect(parseMachine(machinePayload(machine))).toEqual(machine);
    expect(checkMachine(machine, architecture).name).toBe("small");
  });

  it.each([
    [{ cpuModel: "z80" }, /cpuModel: z80 is not one of small/, true],
    [{ vcpuCount: 0 }, /vcpuCount: 0 is not in 1\.\.64/, false],
    [{ memoryBytes: 5000 }, /memoryBytes: 5000 is no positive multiple of 4096/, false],
    [{ memoryBytes: 4 * 1024 ** 3 }, /more than 3221225472 \(3 GiB\)/, false],
    [{ memoryBase: 17 }, /memoryBase/, false],
    [{ architecture: "amd64" }, /amd64 wanted, arm64 given/, false],
    [{ exitModel: { name: "small", version: 2, reasons: [] } }, /small version 2 is not one of small version 1/, true],
  ])("that no build or not this one can make is refused by name: %j", (change, reason, unsupported) => {
    let caught: unknown;
    try {
      checkMachine({ ...machine, ...change }, architecture);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(MachineDescriptionError);
    if (!(caught instanceof MachineDescriptionError)) return;
    expect(caught.message).toMatch(reason);
    expect(caught.unsupported).toBe(unsupported);
  });

  it("that lacks a field says which", () => {
    const { seed: _seed, ...rest } = machinePayload(machine);
    expect(() => parseMachine(rest)).toThrow("machine description: field seed: integer expected, found nothing");
  });
});
