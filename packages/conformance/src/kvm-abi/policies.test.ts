/** Policies that upstream does not have: each defaults to upstream's behaviour, and is an event that replays. */
import {
  type Arm64ControlState,
  HVJ_SMCCC_CTRL,
  HVJ_SMCCC_FILTER_COUNT,
  HVJ_SMCCC_FILTER_EXPORT,
  HVJ_SMCCC_FILTER_RANGES,
  HVJ_SMCCC_HANDLED,
  HVJ_SMCCC_HANDLED_COUNT,
} from "@hvjournal/cpu-arm64";
import { RoomError } from "@hvjournal/core";
import { describe, expect, it } from "@jest/globals";
import { replayerOf, rowsOf, withRecording } from "../testing/guest-replay.js";
import { recordingDirectory } from "../testing/recording-directory.js";
import { callWords, errno, NOT_SUPPORTED, type Program, withProgram } from "./program.js";
import { type Row, testRows } from "./rows.js";
import {
  CPU_ON,
  DENY,
  FORWARD,
  HANDLE,
  PSCI_VERSION,
  setConduitFilter,
  setFilter,
  toldRanges,
  TRNG_VERSION,
  VENDOR,
} from "./smccc-filter.js";

const DEFAULT = 0x1_0000;
const ARGS = 0x1_0002;
const FORWARD_UNHANDLED = 1n;
/** arm.smccc.args: 0, 4, 6 and 18 registers. */
const ARGS_COUNTS = [0, 4, 6, 18];
const SMCCC_VERSION = 0x8000_0000;
const ARCH_SOC_ID = 0x8000_0002;
const SDEI_VERSION = 0xc400_0020;
const BY_HVC = 1;
const BY_SMC = 2;

function setPolicy({ vm }: Program, cap: number, argument: bigint): string {
  return errno(() => vm.enableCap({ cap, args: [argument] }));
}

/** The private attribute, or the count that it gives with E2BIG. */
function read({ vm }: Program, attr: number, n?: number): unknown {
  try {
    return vm.getDeviceAttr({ group: HVJ_SMCCC_CTRL, attr }, n);
  } catch (error) {
    if (error instanceof RoomError) return `${error.errno}, n=${error.n}`;
    throw error;
  }
}

const rows: readonly Row[] = [
  [
    "arm.smccc.default=forward-unhandled",
    "what nobody handles is the VMM's, but never what is the architecture's or what a range covers",
    (p) => {
      expect(setFilter(p, VENDOR, 1, DENY)).toBe("0");
      expect(setFilter(p, VENDOR + 1, 1, HANDLE)).toBe("0");
      expect(setPolicy(p, DEFAULT, FORWARD_UNHANDLED)).toBe("0");
      for (const id of [SDEI_VERSION, VENDOR + 2, 0x539])
        for (const conduit of ["hvc", "smc"] as const)
          expect(p.forwarded(callWords(id, [], conduit)).hypercall).toMatchObject({
            nr: BigInt(id),
            flags: conduit === "smc" ? 1n : 0n,
          });
      for (const id of [ARCH_SOC_ID, 0xc000_ffff, VENDOR, VENDOR + 1])
        expect(p.call(id)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
      expect(p.call(PSCI_VERSION)[0]).toBe(0x1_0003n);
    },
  ],
  [
    "arm.smccc.default=forward-unhandled",
    "a service that a firmware register hides is unhandled too",
    (p) => {
      p.vcpu.setOneReg("KVM_REG_ARM_STD_BMAP", 0n);
      expect(setPolicy(p, DEFAULT, FORWARD_UNHANDLED)).toBe("0");
      expect(p.forwarded(callWords(TRNG_VERSION)).hypercall.nr).toBe(BigInt(TRNG_VERSION));
    },
  ],
  [
    "arm.smccc.default=deny",
    "is upstream's, can be set back, and is frozen by a run as the filter is",
    (p) => {
      expect(setPolicy(p, DEFAULT, FORWARD_UNHANDLED)).toBe("0");
      expect(setPolicy(p, DEFAULT, 0n)).toBe("0");
      expect(p.call(SDEI_VERSION)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
      expect(setPolicy(p, DEFAULT, FORWARD_UNHANDLED)).toBe("EBUSY");
      expect(p.call(SDEI_VERSION)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
    },
  ],
  [
    "arm.smccc.args",
    "so many registers of the caller are in args, as they were; the guest sees nothing of what is put there; never frozen",
    (p) => {
      expect(setFilter(p, VENDOR, 1, FORWARD)).toBe("0");
      ARGS_COUNTS.forEach((count, index) => {
        expect(setPolicy(p, ARGS, BigInt(index))).toBe("0");
        for (let register = 0; register < 18; register++) p.vcpu.setOneReg(`x${register}`, BigInt(100 + register));
        const { args } = p.forwarded(callWords(VENDOR)).hypercall;
        const whole = Array.from({ length: Math.max(count, 6) }, (_, register) => BigInt(100 + register));
        expect(args).toEqual([BigInt(VENDOR), ...whole.slice(1)].map((value, at) => (at < count ? value : 0n)));
        (args as bigint[])[0] = 1n;
        expect(p.resultsNow()).toEqual([BigInt(VENDOR), 101n, 102n, 103n]);
      });
    },
  ],
  [
    "values",
    "a policy refuses a value that it does not have",
    (p) => expect([setPolicy(p, DEFAULT, 2n), setPolicy(p, ARGS, 4n)]).toEqual(["EINVAL", "EINVAL"]),
  ],
  [
    "conduits",
    "a range for one conduit leaves the other alone, and may have one of its own beside it",
    (p) => {
      const range = { base: VENDOR, nrFunctions: 2 };
      expect(setConduitFilter(p, { ...range, action: FORWARD }, BY_SMC)).toBe("0");
      expect(setConduitFilter(p, { ...range, action: DENY }, BY_SMC)).toBe("EEXIST");
      expect(setFilter(p, VENDOR, 1, DENY)).toBe("EEXIST");
      expect(p.forwarded(callWords(VENDOR, [], "smc")).hypercall.flags).toBe(1n);
      expect(p.call(VENDOR, [], "hvc")[0]).toBe(NOT_SUPPORTED);
      const other = p.another();
      expect(setConduitFilter(other, { ...range, action: FORWARD }, BY_HVC)).toBe("0");
      expect(setConduitFilter(other, { ...range, action: DENY }, BY_SMC)).toBe("0");
      expect(other.forwarded(callWords(VENDOR)).hypercall.flags).toBe(0n);
      expect(other.call(VENDOR, [], "smc")[0]).toBe(NOT_SUPPORTED);
      expect(toldRanges(other).flatMap(({ conduits }) => conduits ?? [])).toEqual(["hvc", "smc"]);
    },
  ],
  [
    "conduits",
    "no conduit, both, and padding behind the conduit are EINVAL; reserved ids stay reserved",
    (p) => {
      const range = { base: VENDOR, nrFunctions: 1, action: FORWARD };
      expect([0, 3, 0xff].map((conduit) => setConduitFilter(p, range, conduit))).toEqual([
        "EINVAL",
        "EINVAL",
        "EINVAL",
      ]);
      expect(setConduitFilter(p, { ...range, base: SMCCC_VERSION }, BY_HVC)).toBe("EEXIST");
      expect(toldRanges(p)).toEqual([]);
    },
  ],
  [
    "the filter, read back",
    "a count, then so many ranges with their origin; less room is E2BIG with the count",
    (p) => {
      expect(read(p, HVJ_SMCCC_FILTER_COUNT)).toBe(0);
      setFilter(p, CPU_ON, 1, FORWARD);
      setFilter(p, 0, 0x10, DENY);
      expect(read(p, HVJ_SMCCC_FILTER_COUNT)).toBe(4);
      expect(read(p, HVJ_SMCCC_FILTER_RANGES, 3)).toBe("E2BIG, n=4");
      expect(read(p, HVJ_SMCCC_FILTER_RANGES, 4)).toEqual([
        { base: 0, nrFunctions: 0x10, action: DENY, origin: 1 },
        { base: 0x8000_0000, nrFunctions: 0x1_0000, action: HANDLE, origin: 0 },
        { base: 0xc000_0000, nrFunctions: 0x1_0000, action: HANDLE, origin: 0 },
        { base: CPU_ON, nrFunctions: 1, action: FORWARD, origin: 1 },
      ]);
    },
  ],
  [
    "what is handled, read back",
    "every function in it is served or answered, and none that a range or a firmware register takes away",
    (p) => {
      const whole = read(p, HVJ_SMCCC_HANDLED) as readonly number[];
      expect(read(p, HVJ_SMCCC_HANDLED_COUNT)).toBe(whole.length);
      expect(read(p, HVJ_SMCCC_HANDLED, whole.length - 1)).toBe(`E2BIG, n=${whole.length}`);
      expect(whole).toEqual(expect.arrayContaining([SMCCC_VERSION, PSCI_VERSION, CPU_ON, TRNG_VERSION]));
      expect(whole).not.toContain(SDEI_VERSION);
      setFilter(p, CPU_ON, 1, FORWARD);
      p.vcpu.setOneReg("KVM_REG_ARM_STD_BMAP", 0n);
      const less = read(p, HVJ_SMCCC_HANDLED) as readonly number[];
      expect(whole.filter((id) => !less.includes(id))).toEqual([
        ...[TRNG_VERSION, TRNG_VERSION + 1, TRNG_VERSION + 2, TRNG_VERSION + 3, CPU_ON, 0xc400_0053],
      ]);
    },
  ],
  [
    "export",
    "the filter as one blob makes a fresh VM the same, once, before its first run, and undamaged",
    (p) => {
      setFilter(p, VENDOR, 1, FORWARD);
      setConduitFilter(p, { base: CPU_ON, nrFunctions: 1, action: DENY }, BY_SMC);
      const blob = read(p, HVJ_SMCCC_FILTER_EXPORT) as Uint8Array;
      const write = ({ vm }: Program, bytes: Uint8Array | undefined): string =>
        errno(() => vm.setDeviceAttr({ group: HVJ_SMCCC_CTRL, attr: HVJ_SMCCC_FILTER_EXPORT }, bytes));
      const fresh = p.another();
      expect([write(fresh, undefined), write(fresh, blob.slice(1)), write(fresh, blob)]).toEqual([
        "EFAULT",
        "EINVAL",
        "0",
      ]);
      expect(toldRanges(fresh)).toEqual(toldRanges(p));
      expect(read(fresh, HVJ_SMCCC_FILTER_EXPORT)).toEqual(blob);
      expect(write(fresh, blob)).toBe("EEXIST");
      expect(fresh.forwarded(callWords(VENDOR)).hypercall.nr).toBe(BigInt(VENDOR));
      expect(write(fresh, blob)).toBe("EBUSY");
    },
  ],
  [
    "attributes",
    "upstream's filter can't be read (EINVAL), and the private group has no more than this (ENXIO)",
    ({ vm }) => {
      expect(errno(() => void vm.getDeviceAttr({ group: 0, attr: 0 }))).toBe("EINVAL");
      expect(errno(() => void vm.getDeviceAttr({ group: HVJ_SMCCC_CTRL, attr: 99 }))).toBe("ENXIO");
      expect(errno(() => vm.hasDeviceAttr({ group: HVJ_SMCCC_CTRL, attr: HVJ_SMCCC_HANDLED }))).toBe("0");
      expect(errno(() => vm.hasDeviceAttr({ group: HVJ_SMCCC_CTRL, attr: 99 }))).toBe("ENXIO");
    },
  ],
];

testRows("policies", rows);

describe("a policy", () => {
  const pathOf = recordingDirectory();

  it("is an event with old and new value for each change, and a replay ends with what was in force", async () => {
    const path = pathOf("policies");
    await withProgram(path, {}, (p) => {
      setPolicy(p, DEFAULT, FORWARD_UNHANDLED);
      setPolicy(p, DEFAULT, 7n);
      p.forwarded(callWords(SDEI_VERSION));
      setPolicy(p, ARGS, 2n);
    });
    await withRecording(path, (reader) => {
      const changes = rowsOf(reader, "arm64.PolicySet").map(({ payload }) => payload);
      expect(changes).toEqual([
        { name: "arm.smccc.default", old: "deny", new: "forward-unhandled" },
        { name: "arm.smccc.args", old: "0", new: "6" },
      ]);
      const replayer = replayerOf(reader);
      replayer.advance();
      const { policies } = replayer.machine.control.architecture as Arm64ControlState;
      expect(policies?.map(({ name, value }) => `${name}=${value}`)).toEqual([
        ...["arm.smccc.default=forward-unhandled", "arm.smccc.args=6"],
      ]);
    });
  });
});
