import { describe, expect, it } from "@jest/globals";
import {
  blockingReasons,
  compareContracts,
  type ContractItem,
  type ControlContext,
  encodeCanonical,
  plainValue,
  setUpControl,
  type SetUpResult,
  withRemarks,
} from "@hvjournal/core";
import { arm64 } from "../architecture.js";
import { type Arm64ControlState, arm64ControlSlice } from "../control-slice.js";
import { kvmArm64 } from "../exit-model.js";
import { HOST_MODELS } from "../host-model.js";
import { fillExitFrame, newExitFrame } from "../exit-frames.js";
import { EsrClass, Reason } from "../exit-model.js";
import { arm64Contract } from "./arm64-contract.js";

const machine = {
  architecture: "arm64",
  board: "virt",
  cpuModel: "cortex-a57",
  vcpuCount: 2,
  memoryBase: 0x4000_0000,
  memoryBytes: 0x10_0000,
  exitModel: { name: kvmArm64.name, version: kvmArm64.version, reasons: [] },
  seed: 1n,
  boardOptions: {},
};
const context: ControlContext = {
  hasRun: false,
  hasVcpus: true,
  vcpuCount: machine.vcpuCount,
  memoryBase: machine.memoryBase,
  memoryBytes: machine.memoryBytes,
};

function host(name: string) {
  return { name, version: 1 };
}

/** A VM on a host, set up by words of the command line. */
class Configured {
  state: Arm64ControlState;
  #seq = 3;

  constructor(hostName: string, ...words: readonly (readonly [word: string, text: string])[]) {
    this.state = arm64ControlSlice.initialState(host(hostName));
    for (const command of arm64.setUp?.(machine.vcpuCount) ?? []) this.#give(command);
    for (const [word, text] of words) {
      const command = arm64ControlSlice.parse(word, text);
      if (typeof command === "string") throw new RangeError(command);
      this.#give(command);
    }
  }

  #give(command: Parameters<typeof arm64ControlSlice.decide>[1]): void {
    const decision = arm64ControlSlice.decide(this.state, command, context);
    if ("refused" in decision) throw new RangeError(decision.refused.reason);
    for (const event of decision.events) this.state = arm64ControlSlice.evolve(this.state, event, ++this.#seq);
  }

  get control() {
    return {
      core: plainValue(
        { machine: { ...machine }, vcpus: [{ cpu: machine.cpuModel }, { cpu: machine.cpuModel }] },
        "core",
      ),
      architecture: plainValue(this.state, "state"),
    };
  }

  setUpOn(hostName: string, hasRun = false): SetUpResult {
    return setUpControl({ architecture: arm64, machine, control: this.control, host: host(hostName), hasRun });
  }

  /** As two ends of a move compare it. */
  compareWith(hostName: string) {
    const made = this.setUpOn(hostName);
    const source = arm64Contract.items(this.state, machine);
    const items: readonly ContractItem[] = arm64Contract.items(made.control["architecture"], machine);
    const there = withRemarks(
      items,
      { items: source, host: arm64Contract.hostOf(this.state, machine) },
      { architecture: arm64, machine, host: host(hostName), ...made },
    );
    return compareContracts(source, there);
  }

  verdictsOn(hostName: string): string[] {
    return this.compareWith(hostName)
      .differences.filter(({ name }) => name !== "host")
      .map(({ name, verdict }) => `${verdict} ${name}`);
  }
}

const surface = [
  ["cap", "ARM_SYSTEM_SUSPEND"],
  ["policy", "arm.smccc.default=forward-unhandled"],
  ["smccc-filter", "0xc6000000+0x100=forward"],
  ["smccc-filter", "0xc5000100+2=deny/smc"],
  ["smccc-filter", "0x84000050+4=handle"],
  ["one-reg", "PSCI_VERSION=0x10001"],
  ["one-reg", "VENDOR_HYP_BMAP=1"],
  ["one-reg", "ID_AA64ISAR0_EL1=0"],
  ["pvtime-ipa", "1=0x40001000"],
] as const;

describe("a fresh VM that is given another one's configuration", () => {
  it.each(["replay", "register", "snapshot"])("comes to the very same state, where the filter goes by %s", (way) => {
    const source = new Configured("unaffected", ...surface, ["policy", `arm.smccc.migrate=${way}`]);
    const made = source.setUpOn("unaffected");
    expect([...made.refusals]).toEqual([]);
    expect(made.differences).toEqual([]);
    // Bit by bit: numbers of the ranges' events as well, which stand in the exits that they decide.
    expect(encodeCanonical(made.control)).toEqual(encodeCanonical(source.control));
  });

  it("has the filter that the other two ways would have given it", () => {
    const filters = ["replay", "register", "snapshot"].map((way) => {
      const { control } = new Configured("mitigated", ...surface, ["policy", `arm.smccc.migrate=${way}`]).setUpOn(
        "unaffected",
      );
      return encodeCanonical({ filter: (control["architecture"] as { smcccFilter: never }).smcccFilter });
    });
    expect(filters[1]).toEqual(filters[0]);
    expect(filters[2]).toEqual(filters[0]);
  });

  it.each(["replay", "register", "snapshot"])("refuses the filter with EBUSY once it has run, by %s", (way) => {
    const source = new Configured("unaffected", ...surface, ["policy", `arm.smccc.migrate=${way}`]);
    const { refusals, differences } = source.setUpOn("unaffected", true);
    const filter = [...refusals].filter(([name]) => name.startsWith("KVM_ARM_VM_SMCCC_FILTER"));
    expect(filter.map(([name, { errno }]) => `${errno} ${name}`)).toEqual([
      "EBUSY KVM_ARM_VM_SMCCC_FILTER 0xc6000000+0x100",
      "EBUSY KVM_ARM_VM_SMCCC_FILTER 0xc5000100+0x2/smc",
      "EBUSY KVM_ARM_VM_SMCCC_FILTER 0x84000050+0x4",
    ]);
    expect(refusals.get("KVM_REG_ARM_VENDOR_HYP_BMAP")?.errno).toBe("EBUSY");
    expect(refusals.get("KVM_REG_ARM_PSCI_VERSION")).toBeUndefined();
    expect(differences.length).toBeGreaterThan(0);
  });

  it.each(["replay", "register", "snapshot"])("says of each range that its host has no filter, by %s", (way) => {
    const source = new Configured(
      "linux-6.4",
      ["smccc-filter", "0xc6000000+0x100=forward"],
      ["smccc-filter", "0xc5000100+2=deny"],
      ["policy", `arm.smccc.migrate=${way}`],
    );
    const reasons = blockingReasons(source.compareWith("linux-6.1"));
    expect(reasons).toEqual([
      "KVM_ARM_VM_SMCCC_FILTER 0xc5000100+0x2 is deny (event:7) at the source and absent here: KVM_ARM_VM_SMCCC_FILTER: ENXIO: host linux-6.1 has no SMCCC filter",
      "KVM_ARM_VM_SMCCC_FILTER 0xc6000000+0x100 is forward (event:6) at the source and absent here: KVM_ARM_VM_SMCCC_FILTER: ENXIO: host linux-6.1 has no SMCCC filter",
    ]);
  });
});

describe("a host that is another one than the source's", () => {
  it("needs nothing of a VM that it can serve as the source does", () => {
    expect(new Configured("unaffected", ...surface).compareWith("unaffected").differences).toEqual([]);
  });

  it.each([
    [
      "unaffected",
      "mitigated",
      ["block KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1", "block KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3"],
    ],
    [
      "mitigated",
      "unaffected",
      ["warn KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1", "warn KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3"],
    ],
    ["mitigated", "mitigated", []],
    ["mitigated", "vulnerable", [1, 2, 3].map((index) => `block KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_${index}`)],
    ["vulnerable", "mitigated", [1, 2, 3].map((index) => `warn KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_${index}`)],
    ["unaffected", "linux-6.4", ["block KVM_REG_ARM_PSCI_VERSION", "warn KVM_REG_ARM_VENDOR_HYP_BMAP_2"]],
    ["linux-6.4", "unaffected", ["fix KVM_REG_ARM_PSCI_VERSION"]],
    ["linux-6.1", "linux-6.4", []],
    ["linux-5.15", "unaffected", ["fix KVM_REG_ARM_PSCI_VERSION"]],
    [
      "linux-6.1",
      "linux-5.15",
      [
        "block KVM_REG_ARM_PSCI_VERSION",
        "warn KVM_REG_ARM_STD_BMAP",
        "warn KVM_REG_ARM_STD_HYP_BMAP",
        "warn KVM_REG_ARM_VENDOR_HYP_BMAP",
      ],
    ],
  ])("blocks what it can't do and KVM would refuse, warns of what nobody misses: %s to %s", (from, to, wanted) => {
    expect(new Configured(from).verdictsOn(to)).toEqual(wanted);
  });

  it("blocks bits that its kernel does not know, and a capability that it does not have", () => {
    const bits = new Configured("unaffected", ["one-reg", "VENDOR_HYP_BMAP_2=1"], ["one-reg", "PSCI_VERSION=0x10001"]);
    expect(bits.verdictsOn("linux-6.4")).toEqual(["block KVM_REG_ARM_VENDOR_HYP_BMAP_2"]);
    const hidden = new Configured("linux-6.1", ["one-reg", "STD_BMAP=0"], ["one-reg", "PSCI_VERSION=0x10000"]);
    expect(hidden.verdictsOn("linux-5.15")).toContain("block KVM_REG_ARM_STD_BMAP");
    const suspend = new Configured("linux-6.1", ["cap", "ARM_SYSTEM_SUSPEND"], ["one-reg", "PSCI_VERSION=0x10000"]);
    expect(suspend.verdictsOn("linux-5.15")).toContain("block KVM_CAP_ARM_SYSTEM_SUSPEND");
  });

  it("is there with the first version of every row, the default first", () => {
    expect(HOST_MODELS.map(({ name, version }) => `${name} ${version}`)).toEqual([
      ...["unaffected 1", "mitigated 1", "vulnerable 1", "linux-6.4 1", "linux-6.1 1", "linux-5.15 1"],
    ]);
  });
});

describe("filters of two VMs", () => {
  type Filter = readonly (readonly [range: string, action: string])[];

  function itemsOf(filter: Filter, policy?: string): readonly ContractItem[] {
    const words = filter.map(([range, text]) => ["smccc-filter", `${range}=${text}`] as const);
    const policies = policy === undefined ? [] : [["policy", policy] as const];
    return arm64Contract.items(new Configured("unaffected", ...policies, ...words).state, machine);
  }

  function differ(a: readonly ContractItem[], b: readonly ContractItem[]): string[] {
    return compareContracts(a, b)
      .differences.filter(({ name }) => name.startsWith("KVM_ARM_VM_SMCCC_FILTER"))
      .map(({ name, source, destination }) => {
        const [from, to] = [source, destination].map((item) => item?.value.replace(/ .*/, "") ?? "absent");
        return `${name.replace(/^\w+ /, "")} ${from} -> ${to}`;
      });
  }

  const whole: Filter = [["0xc6000000+0x10", "forward"]];
  const parts: Filter = [
    ["0xc6000000+3", "forward"],
    ["0xc6000003+1", "deny"],
    ["0xc6000004+0xc", "forward"],
  ];

  it.each<[string, Filter, Filter, string[]]>([
    ["a hole in a range is all that differs", whole, parts, ["0xc6000003+0x1 forward -> deny"]],
    [
      "a range cut in two does the same",
      whole,
      [
        ["0xc6000000+8", "forward"],
        ["0xc6000008+8", "forward"],
      ],
      [],
    ],
    ["a range for each conduit does the same", whole, [...cut("hvc"), ...cut("smc")], []],
    ["a conduit is told where it alone differs", whole, cut("hvc"), ["0xc6000000+0x10/smc forward -> absent"]],
    [
      "neighbours that do the same are one",
      [],
      parts,
      ["0xc6000000+0x3 absent -> forward", "0xc6000003+0x1 absent -> deny", "0xc6000004+0xc absent -> forward"],
    ],
    [
      "a part on either side",
      whole,
      [["0xc6000008+0x10", "forward"]],
      ["0xc6000000+0x8 forward -> absent", "0xc6000010+0x8 absent -> forward"],
    ],
    ["what is handled is handled without a range too", [["0x84000000+0x20", "handle"]], [], []],
  ])("are compared by what becomes of a call: %s", (_title, a, b, wanted) => {
    expect(differ(itemsOf(a), itemsOf(b))).toEqual(wanted);
  });

  function cut(conduit: string): Filter {
    return [["0xc6000000+0x10", `forward/${conduit}`]];
  }

  it("differ where a policy forwards what no range handles", () => {
    const policy = "arm.smccc.default=forward-unhandled";
    expect(differ(itemsOf([["0xc6000000+1", "handle"]], policy), itemsOf([], policy))).toEqual([
      "0xc6000000+0x1 handle -> absent",
    ]);
  });

  it("tell what the guest asked in the stretch, and not in the whole range", () => {
    const asked = [
      { space: "hvc", number: 0xc600_0000, count: 4, firstExit: 50, lastExit: 60 },
      { space: "hvc", number: 0xc600_0003, count: 1, firstExit: 53, lastExit: 53 },
      { space: "smc", number: 0xc600_0003, count: 2, firstExit: 70, lastExit: 90 },
    ];
    const observed = { count: 7, firstExit: 50, lastExit: 90 };
    const own = itemsOf(whole).map((item) => {
      if (item.range?.isRest === true) return { ...item, asked };
      return item.range === undefined ? item : { ...item, observed };
    });
    const [only] = compareContracts(own, itemsOf(parts)).differences;
    expect(only?.source?.observed).toEqual({ count: 3, firstExit: 53, lastExit: 90 });
  });
});

describe("what a guest asks about", () => {
  const { state } = new Configured("unaffected", ["smccc-filter", "0xc6000000+0x100=forward"]);

  function call(id: number, x1 = 0, rule = 0): readonly string[] {
    const frame = newExitFrame();
    fillExitFrame(frame, {
      ...{ reason: Reason.hvc64, vcpu: 0, pc: 0n, rule, syndrome: (EsrClass.hvc64 << 26) >>> 0 },
      args: [BigInt(id), BigInt(x1), 0n, 0n],
    });
    return arm64Contract.asks(frame, state, machine);
  }

  const inNoRange = "KVM_ARM_VM_SMCCC_FILTER in no range";

  it.each([
    [0x8400_0000, 0, ["KVM_REG_ARM_PSCI_VERSION"]],
    [0x8400_000a, 0xc400_000e, ["KVM_CAP_ARM_SYSTEM_SUSPEND", "KVM_REG_ARM_PSCI_VERSION"]],
    [0x8000_0000, 0, ["SMCCC_VERSION"]],
    [0x8000_0001, 0x8000_8000, ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1"]],
    [0x8000_0001, 0x8000_7fff, ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2"]],
    [0x8000_0001, 0x8000_3fff, ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_3"]],
    [0x8000_0001, 0xc500_0020, ["KVM_REG_ARM_STD_HYP_BMAP"]],
    [0x8400_0053, 0, ["KVM_REG_ARM_STD_BMAP"]],
    [0xc500_0021, 0, ["KVM_REG_ARM_STD_HYP_BMAP", "vcpu0 KVM_ARM_VCPU_PVTIME_IPA"]],
    [0x8600_0000, 0, ["KVM_REG_ARM_VENDOR_HYP_BMAP", "KVM_REG_ARM_VENDOR_HYP_BMAP_2"]],
    [0x8400_0003, 0, []],
  ])("is told by the call 0x%s of its own: %j", (id, x1, wanted) => {
    expect(call(id, x1)).toEqual([inNoRange, ...wanted]);
  });

  it("is a range of the filter where one decided", () => {
    const [range] = state.smcccFilter;
    expect(call(0xc600_0001, 0, range?.seq)).toEqual(["KVM_ARM_VM_SMCCC_FILTER 0xc6000000+0x100"]);
  });

  it("is a trapped register where it reads one; what does not trap can't be known", () => {
    const frame = newExitFrame();
    const selector = (3 << 14) | (7 << 3) | 0;
    const read = { reason: Reason.sys64, vcpu: 0, pc: 0n, syndrome: 0, args: [BigInt(selector), 0n] };
    fillExitFrame(frame, { ...read, info: 0 });
    expect(arm64Contract.asks(frame, state, machine)).toEqual(["ID_AA64MMFR0_EL1"]);
    fillExitFrame(frame, { ...read, info: 1 });
    expect(arm64Contract.asks(frame, state, machine)).toEqual([]);
    expect(arm64Contract.registerItem("id_aa64mmfr0_el1", 1n)).toMatchObject({ isObservable: true, value: "0x1" });
    expect(arm64Contract.registerItem("midr_el1", 1n)).toMatchObject({ isObservable: false });
  });
});
