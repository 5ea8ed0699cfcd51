import {
  compareContracts,
  type ContractItem,
  type ControlCommand,
  EXIT_WORD_COUNT,
  ExitWord,
  FinishedBy,
  freshItems,
  type HostReference,
  type MachineDescription,
  plainValue,
  setFrameU64,
  setUpControl,
  type SetUpResult,
} from "@hvjournal/core";
import { describe, expect, it } from "@jest/globals";
import { amd64 } from "../architecture.js";
import { type Amd64ControlState, amd64ControlSlice } from "../control-slice.js";
import { guest } from "../testing/guest.js";
import { exitModels, kvmAmd, kvmIntel, reasonsOf } from "../exit-model.js";
import { amd64Contract } from "./amd64-contract.js";

const RAM_BYTES = 0x40_0000;
const machine: MachineDescription = {
  ...{ architecture: "amd64", board: "pc", cpuModel: "hvj-v1", vcpuCount: 2, memoryBase: 0, memoryBytes: RAM_BYTES },
  exitModel: { name: kvmIntel.name, version: kvmIntel.version, reasons: kvmIntel.reasons.map(({ name }) => name) },
  seed: 1n,
  boardOptions: {},
};
const context = { hasRun: false, hasVcpus: false, vcpuCount: 2, memoryBase: 0, memoryBytes: RAM_BYTES };

type Word = readonly [word: string, text: string];

function stateOf(...words: readonly Word[]): Amd64ControlState {
  let state = amd64ControlSlice.initialState();
  let seq = 10;
  for (const [word, text] of words) {
    const command = amd64ControlSlice.parse(word, text);
    if (typeof command === "string") throw new Error(command);
    state = carriedOut(state, command, seq++);
  }
  return state;
}

function carriedOut(state: Amd64ControlState, command: ControlCommand, seq: number): Amd64ControlState {
  const decision = amd64ControlSlice.decide(state, command, context);
  if ("refused" in decision) throw new Error(decision.refused.reason);
  return decision.events.reduce((folded, event) => amd64ControlSlice.evolve(folded, event, seq), state);
}

function host(name: string): HostReference {
  return { name, version: 1 };
}

function setUpOn(state: Amd64ControlState, name: string): SetUpResult {
  const vcpus = Array.from({ length: machine.vcpuCount }, () => ({ cpu: machine.cpuModel }));
  const control = {
    core: plainValue({ machine: { ...machine }, vcpus }, "core"),
    architecture: plainValue(state, "state"),
  };
  return setUpControl({ architecture: amd64, machine, control, host: host(name) });
}

function items(state: Amd64ControlState): readonly ContractItem[] {
  return amd64Contract.items(state, machine);
}

function valueOf(state: Amd64ControlState, name: string): string | undefined {
  return items(state).find((item) => item.name === name)?.value;
}

const surface: readonly Word[] = [
  ["cap", "HYPERV_ENFORCE_CPUID"],
  ["hv", "vpindex,synic,ext-calls"],
  ["cpuid", "0x7.0:EBX=0x81"],
  ["policy", "x86.hypercall.patch=off"],
  ["policy", "x86.cpuid.hypervisor=kvm"],
  ["msr-filter", "0x174+3=r"],
];

describe("the contract of an amd64 VM", () => {
  it("has each item once, CPUID by name and bit among them", () => {
    const names = items(stateOf(...surface)).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(250);
    for (const name of [
      "CPUID 0x1.ECX[31] hypervisor",
      "CPUID 0x7.0.EBX[7] SMEP",
      "CPUID 0x40000003.EBX[20] extended hypercalls",
      "CPUID 0x40000101.EAX[3] CLOCKSOURCE2",
      "CPUID 0x80000001.EDX[20] NX",
      "TSC frequency",
      "KVM_CAP_DISABLE_QUIRKS2",
    ])
      expect(names).toContain(name);
  });

  it("is of the guest's CPUID, as it was set", () => {
    const state = stateOf(...surface);
    expect(valueOf(state, "CPUID 0x7.0.EBX[0] FSGSBASE")).toBe("1");
    expect(valueOf(state, "CPUID 0x7.0.EBX[20] SMAP")).toBe("0");
    expect(valueOf(stateOf(), "CPUID 0x7.0.EBX[20] SMAP")).toBe("1");
    expect(valueOf(state, "CPUID 0x40000000 vendor")).toBe("Microsoft Hv");
    expect(valueOf(stateOf(["hv", "passthrough"]), "CPUID 0x40000000 vendor")).toBe("Linux KVM Hv");
    expect(valueOf(stateOf(), "CPUID 0x40000000 vendor")).toBe("KVMKVMKVM");
  });

  it("tells the instruction of the host that the VM is on, or that its exit model names", () => {
    const instruction = "hypercall instruction";
    expect(valueOf(stateOf(), instruction)).toBe("VMCALL");
    expect(valueOf({ ...stateOf(), host: host("amd") }, instruction)).toBe("VMMCALL");
    const ofAmd = { vcpuCount: 1, exitModel: kvmAmd };
    expect(amd64Contract.hostOf(stateOf(), ofAmd)).toEqual(host("amd"));
    expect(freshItems({ architecture: amd64, host: host("amd"), machine }).map(({ value }) => value)).toContain("SVM");
  });
});

describe("MSRs of features", () => {
  it("are as the CPU has them; one that it does not have is #GP", () => {
    const { kernel } = guest([]);
    const found = new Map(amd64Contract.featureItems?.(kernel).map(({ name, value }) => [name, value]));
    expect(found.get("MSR IA32_FEATURE_CONTROL")).toBe("0x1");
    expect(found.get("MSR IA32_ARCH_CAPABILITIES")).toBe("#GP");
  });
});

describe("the configuration of an amd64 VM on a fresh one", () => {
  it.each<[string, readonly Word[]]>([
    ["by commands", surface],
    ["with leaves of its own", [["hv", "passthrough"]]],
    ["with enlightened VMCS", [["cap", "HYPERV_ENLIGHTENED_VMCS"]]],
    ["with what goes before vCPUs", [["cap", "X86_DISABLE_EXITS=2"]]],
  ])("comes to the same, %s", (_how, words) => {
    const { refusals, differences } = setUpOn(stateOf(...words), "intel-no-smt");
    expect([[...refusals.keys()], differences]).toEqual([[], []]);
  });

  it("is refused for what the host does not have", () => {
    const words: readonly Word[] = [
      ["cap", "HYPERV_ENLIGHTENED_VMCS"],
      ["cap", "HYPERV_ENFORCE_CPUID"],
    ];
    const { refusals } = setUpOn(stateOf(...words), "amd-linux-5.10");
    expect([...refusals].map(([name, { errno }]) => [name, errno])).toEqual([
      ["KVM_CAP_HYPERV_ENLIGHTENED_VMCS", "ENOTTY"],
      ["KVM_CAP_HYPERV_ENFORCE_CPUID", "EINVAL"],
    ]);
  });
});

describe("two filters of MSRs", () => {
  it("are compared by what becomes of an access, way by way", () => {
    const [one, other] = [["msr-filter", "0x174+3=r"] as const, ["msr-filter", "0x174+2=r"] as const];
    const { differences } = compareContracts(items(stateOf(one)), items(stateOf(other)));
    expect(differences.map(({ name }) => name)).toEqual(["KVM_X86_SET_MSR_FILTER 0x176+0x1/wrmsr"]);
  });
});

describe("what a guest asks for", () => {
  const state = stateOf(["hv", "ext-calls"]);

  function frame(reason: number, first: number, second = 0, info = 0): Uint32Array {
    const words = new Uint32Array(EXIT_WORD_COUNT);
    words[ExitWord.reason] = reason;
    words[ExitWord.finishedBy] = FinishedBy.kernelHalf;
    words[ExitWord.info] = info;
    setFrameU64(words, ExitWord.arg0Low, BigInt(first));
    setFrameU64(words, ExitWord.arg1Low, BigInt(second));
    return words;
  }

  it.each(exitModels.filter(({ version }) => version === 2))(
    "is told by exits of either vendor, under $name",
    (exitModel) => {
      const asked = { vcpuCount: 1, exitModel };
      for (const vendor of ["intel", "amd"] as const) {
        const rows = reasonsOf(exitModel, vendor);
        const asks = (...words: Parameters<typeof frame>) => amd64Contract.asks(frame(...words), state, asked);
        expect(asks(rows.cpuid, 7, 0)).toEqual(["CPUID 0x7.0"]);
        expect(asks(rows.cpuid, 0x4000_0003, 5)).toEqual(["CPUID 0x40000003"]);
        expect(asks(rows.readMsr, 0x4000_0022)).toEqual(["MSR HV_X64_MSR_TSC_FREQUENCY"]);
        expect(asks(rows.hypercall, 0x1_8001)).toEqual(["hypercall instruction", "Hyper-V hypercall 0x8001"]);
        expect(asks(rows.port, 0x3f8)).toEqual([]);
        const number = amd64Contract.asksNumber?.(frame(rows.writeMsr, 0x174, 0, 1), asked);
        expect(number).toMatchObject({ space: "wrmsr", number: 0x174 });
      }
    },
  );
});
