import { describe, expect, it } from "@jest/globals";
import { type ControlCommand, isEnabled } from "@hvjournal/core";
import { type Arm64ControlState, arm64ControlSlice } from "./control-slice.js";
import { routeCall } from "./smccc/routing.js";

const CPU_ON = 0xc400_0003;

/** The command path: decided, and folded when accepted. */
class Plane {
  state: Arm64ControlState = arm64ControlSlice.initialState();
  seq = 0;
  hasRun = false;
  lines: string[] = [];

  command(command: ControlCommand): string {
    const decision = arm64ControlSlice.decide(this.state, command, {
      hasRun: this.hasRun,
      hasVcpus: true,
      vcpuCount: 1,
      memoryBase: 0x4000_0000,
      memoryBytes: 0x40_0000,
    });
    if ("refused" in decision) return decision.refused.errno;
    for (const event of decision.events) {
      this.state = arm64ControlSlice.evolve(this.state, event, ++this.seq);
      this.lines.push(arm64ControlSlice.describe(event));
    }
    return "ok";
  }

  option(word: string, text: string): string {
    const command = arm64ControlSlice.parse(word, text);
    return typeof command === "string" ? command : this.command(command);
  }

  filter(base: number, count: number, action: number): string {
    return this.command({ name: "smccc-filter", base, count, action });
  }

  route(id: number): string {
    return routeCall(this.state, id, "hvc").action;
  }
}

describe("the SMCCC filter", () => {
  it.each([
    ["A02: empty range", CPU_ON, 0, 1, "EINVAL"],
    ["A03: empty range at 0", 0, 0, 1, "EINVAL"],
    ["wraps around", 0xffff_ffff, 2, 1, "EINVAL"],
    ["wraps around by far", 0xffff_ffff, 0xffff_ffff, 1, "EINVAL"],
    ["the last id alone", 0xffff_ffff, 1, 1, "ok"],
    ["A06: action -1", CPU_ON, 1, 0xff, "EINVAL"],
    ["A07: first unused action", CPU_ON, 1, 3, "EINVAL"],
    ["A09: reserved", 0xc000_0000, 1, 1, "EEXIST"],
    ["A10: straddles the end of a reserved range", 0x8000_ffff, 2, 1, "EEXIST"],
    ["A11: just behind it", 0x8001_0000, 1, 1, "ok"],
    ["A12: just before one", 0x7fff_ffff, 1, 1, "ok"],
    ["straddles the start of one", 0x7fff_ffff, 2, 1, "EEXIST"],
    ["the gap between both", 0x8001_0000, 0x4000_0000 - 0x1_0000, 2, "ok"],
    ["more than 32 bits", 0x1_0000_0000, 1, 1, "EINVAL"],
  ])("is refused or set as KVM does: %s", (_title, base, count, action, result) => {
    expect(new Plane().filter(base, count, action)).toBe(result);
  });

  it("never changes a range (A13), and none at all after the first run, bad structures first (A16, A17)", () => {
    const plane = new Plane();
    expect(plane.filter(CPU_ON, 1, 1)).toBe("ok");
    expect(plane.filter(CPU_ON, 1, 1)).toBe("EEXIST");
    expect(plane.filter(CPU_ON - 1, 2, 0)).toBe("EEXIST");
    plane.hasRun = true;
    expect(plane.filter(0x8600_0000, 1, 1)).toBe("EBUSY");
    expect(plane.filter(0x8600_0000, 0, 1)).toBe("EINVAL");
    expect(plane.filter(0xc000_0000, 1, 1)).toBe("EBUSY");
    expect(plane.seq).toBe(1);
  });

  it("comes before bitmaps and defaults (A36, A38), and handling is no implementation (A34)", () => {
    const plane = new Plane();
    expect(plane.route(0x8400_0050)).toBe("handle");
    plane.filter(0x8400_0000, 0x20, 2);
    plane.filter(0x8400_0050, 1, 1);
    plane.filter(0x8600_0000, 0x10, 0);
    plane.filter(0xc600_0000, 0x100, 2);
    expect(plane.route(0x8400_0000)).toBe("forward");
    expect(plane.route(0x8400_0050)).toBe("deny");
    expect(plane.route(0x8600_0000)).toBe("handle");
    expect(plane.route(0x8600_0002)).toBe("deny");
    expect(plane.route(0xc600_0001)).toBe("forward");
    expect(plane.route(0xc600_0100)).toBe("deny");
    expect(routeCall(plane.state, 0xc600_0001, "hvc").rule).toBe(4);
    expect(routeCall(plane.state, 0x8000_0000, "hvc")).toEqual({
      action: "handle",
      rule: 0,
    });
  });

  it("is written in one line, and read back from it", () => {
    const plane = new Plane();
    expect(plane.option("smccc-filter", "0xc6000000+0x100=forward")).toBe("ok");
    expect(plane.lines).toEqual(["0xc6000000+0x100 forward"]);
    expect(plane.option("smccc-filter", "0xc6000000+0x100")).toContain("expected BASE+COUNT=handle|deny|forward");
    expect(plane.option("smccc-filter", "0xc6000000+0x100=drop")).toContain("expected BASE+COUNT=handle|deny|forward");
  });
});

describe("a rule that an exit names by the number of its event", () => {
  it("is in the state, in the words of that event", () => {
    const plane = new Plane();
    plane.filter(0xc600_0000, 0x100, 2);
    plane.filter(0xc500_0000, 1, 1);
    expect([1, 2, 3].map((seq) => arm64ControlSlice.describeRule?.(plane.state, seq))).toEqual([
      ...plane.lines,
      undefined,
    ]);
    expect(plane.lines).toEqual(["0xc6000000+0x100 forward", "0xc5000000+0x1 deny"]);
  });
});

describe("firmware registers", () => {
  it("reset to what KVM offers (B01)", () => {
    const { firmware } = new Plane().state;
    expect([
      firmware.standardServices,
      firmware.standardHypervisorServices,
      firmware.vendorHypervisorServices,
      firmware.vendorHypervisorServices2,
    ]).toEqual([1n, 1n, 3n, 0n]);
    expect(firmware.psciVersion).toBe(0x1_0003n);
  });

  it.each([
    ["KVM_REG_ARM_STD_BMAP=1", "ok"],
    ["KVM_REG_ARM_STD_BMAP=2", "EINVAL"],
    ["KVM_REG_ARM_VENDOR_HYP_BMAP=3", "ok"],
    ["KVM_REG_ARM_VENDOR_HYP_BMAP=4", "EINVAL"],
    ["KVM_REG_ARM_VENDOR_HYP_BMAP_2=3", "ok"],
    ["KVM_REG_ARM_PSCI_VERSION=0x1", "EINVAL"],
    ["KVM_REG_ARM_PSCI_VERSION=0x2", "ok"],
    ["KVM_REG_ARM_PSCI_VERSION=0x10002", "ok"],
    ["KVM_REG_ARM_PSCI_VERSION=0x10004", "EINVAL"],
    ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1=0", "ok"],
    ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1=3", "EINVAL"],
    ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1=0x10", "EINVAL"],
    ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2=0x12", "ok"],
    ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2=0x13", "EINVAL"],
    ["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_2=0x4", "EINVAL"],
    ["0x6030000000160001=0", "ok"],
    ["0x6020000000160001=0", "ENOENT"],
    ["0x6030000000160009=0", "ENOENT"],
  ])("take or refuse %s: %s", (text, result) => {
    expect(new Plane().option("one-reg", text)).toBe(result);
  });

  it("freeze bitmaps at the first run, unless the value is the same (B05 to B07), and never the PSCI version (B20)", () => {
    const plane = new Plane();
    plane.option("one-reg", "KVM_REG_ARM_STD_BMAP=0");
    plane.hasRun = true;
    expect(plane.option("one-reg", "KVM_REG_ARM_STD_BMAP=1")).toBe("EBUSY");
    expect(plane.option("one-reg", "KVM_REG_ARM_STD_BMAP=0")).toBe("ok");
    expect(plane.option("one-reg", "KVM_REG_ARM_STD_BMAP=4")).toBe("EINVAL");
    expect(plane.option("one-reg", "KVM_REG_ARM_PSCI_VERSION=0x10000")).toBe("ok");
    expect(plane.state.firmware.psciVersion).toBe(0x1_0000n);
  });

  it("are not taken for a name when the value is no number", () => {
    const plane = new Plane();
    expect(plane.option("one-reg", "PSCI_VERSION=zz")).toBe("'zz' is no number: decimal, or hexadecimal behind 0x");
    expect(plane.option("one-reg", "PSCI_VERSION")).toBe("expected NAME=VALUE");
    expect(plane.option("one-reg", `PSCI_VERSION=${2n ** 64n}`)).toBe("EINVAL");
  });

  it("keep the host's workaround level whatever is accepted (B21)", () => {
    const plane = new Plane();
    plane.option("one-reg", "KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1=1");
    expect(plane.lines).toEqual(["KVM_REG_ARM_SMCCC_ARCH_WORKAROUND_1  0x2 -> 0x2 (0x1 asked for)"]);
  });

  it("are written in one line, by the command's word or the option's", () => {
    const plane = new Plane();
    expect(plane.option("firmware-reg", "KVM_REG_ARM_STD_HYP_BMAP=0")).toBe("ok");
    expect(plane.lines).toEqual(["KVM_REG_ARM_STD_HYP_BMAP  0x1 -> 0x0"]);
    expect(plane.option("one-reg", "KVM_REG_ARM_NOTHING=0")).toContain("is none of KVM_REG_ARM_PSCI_VERSION");
    // Whoever reads the option says which it was.
    expect(plane.option("one-reg", "KVM_REG_ARM_STD_BMAP")).toBe("expected NAME=VALUE");
    expect(plane.option("smccc-filter", "0xc6=forward")).toBe(
      "expected BASE+COUNT=handle|deny|forward, with /hvc or /smc behind it for one conduit alone",
    );
    expect(plane.option("cap", "=")).toBe("expected NAME or NAME=NUMBER,...");
  });

  it.each([
    ["smccc-filter", "0xc6000000+1=froward", "forward"],
    ["firmware-reg", "PSCI_VERSIO=0x10000", "PSCI_VERSION"],
    ["one-reg", "KVM_REG_ARM_STD_HYP_BMPA=0", "STD_HYP_BMAP"],
    ["policy", "arm.smccc.defualt=forward-unhandled", "arm.smccc.default"],
    ["policy", "arm.smccc.default=forward-unhandeld", "forward-unhandled"],
  ])("of %s %s are said to be misspelt", (word, text, meant) => {
    expect(new Plane().option(word, text)).toMatch(new RegExp(`; did you mean ${meant}\\?$`));
  });

  it("are known by their short names too, and recorded under KVM's", () => {
    const plane = new Plane();
    expect(plane.option("one-reg", "PSCI_VERSION=0x10000")).toBe("ok");
    expect(plane.option("firmware-reg", "std_hyp_bmap=0")).toBe("ok");
    expect(plane.option("cap", "ARM_SYSTEM_SUSPEND")).toBe("ok");
    expect(plane.lines).toEqual([
      "KVM_REG_ARM_PSCI_VERSION  0x10003 -> 0x10000",
      "KVM_REG_ARM_STD_HYP_BMAP  0x1 -> 0x0",
      "KVM_CAP_ARM_SYSTEM_SUSPEND",
    ]);
    expect(arm64ControlSlice.parse("one-reg", "PSCI_VERSION=1")).toMatchObject({
      register: "KVM_REG_ARM_PSCI_VERSION",
    });
    expect(arm64ControlSlice.query?.(plane.state, "reg", "PSCI_VERSION")).toBe(0x1_0000n);
    expect(arm64ControlSlice.query?.(plane.state, "cap", "ARM_SYSTEM_SUSPEND")).toBe(1n);
  });

  it("gate what is handled: all bitmaps zero deny every service (B10 to B12)", () => {
    const plane = new Plane();
    for (const name of ["STD_BMAP", "STD_HYP_BMAP", "VENDOR_HYP_BMAP"])
      plane.option("one-reg", `KVM_REG_ARM_${name}=0`);
    const services = [
      0x8400_0050, 0x8400_0053, 0xc400_0053, 0xc500_0020, 0xc500_0021, 0x8600_0000, 0x8600_ff01, 0x8600_0001,
    ];
    expect(services.map((id) => plane.route(id))).toEqual(services.map(() => "deny"));
    expect(services.map((id) => new Plane().route(id))).toEqual(services.map(() => "handle"));
    expect(plane.route(0x8400_0000)).toBe("handle");
    expect(plane.route(0xc400_0020)).toBe("deny");
    expect(plane.route(0x95c1_ba60)).toBe("handle");
    expect(plane.route(0x95c1_ba62)).toBe("deny");
  });
});

describe("capabilities", () => {
  it("that arm64 has for a VM are enabled once and for all", () => {
    const plane = new Plane();
    expect(isEnabled(plane.state, "KVM_CAP_ARM_SYSTEM_SUSPEND")).toBe(false);
    expect(plane.option("cap", "KVM_CAP_ARM_SYSTEM_SUSPEND")).toBe("ok");
    expect(isEnabled(plane.state, "KVM_CAP_ARM_SYSTEM_SUSPEND")).toBe(true);
    expect(plane.option("cap", "KVM_CAP_ARM_SYSTEM_SUSPEND=1,0x2")).toBe("ok");
    expect(plane.lines).toEqual(["KVM_CAP_ARM_SYSTEM_SUSPEND", "KVM_CAP_ARM_SYSTEM_SUSPEND=1,2"]);
    expect(plane.state.capabilities).toHaveLength(1);
  });

  it("that it lacks are refused with the reason", () => {
    expect(new Plane().option("cap", "KVM_CAP_HYPERV_DIRECT_TLBFLUSH")).toBe("EINVAL");
    const decision = arm64ControlSlice.decide(
      arm64ControlSlice.initialState(),
      { name: "cap", capability: "KVM_CAP_ARM_MTE", args: [] },
      { hasRun: false, hasVcpus: true, vcpuCount: 1, memoryBase: 0x4000_0000, memoryBytes: 0x40_0000 },
    );
    expect(decision).toEqual({
      refused: { errno: "EINVAL", call: "KVM_ENABLE_CAP", reason: "KVM_CAP_ARM_MTE: the CPU has no memory tagging" },
    });
  });
});
