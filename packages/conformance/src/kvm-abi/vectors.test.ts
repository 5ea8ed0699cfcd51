/** Worked vectors: function identifiers (DEN0028), ends of filter ranges in 32 bits, ids of KVM_{GET,SET}_ONE_REG. */
import { decodeFunctionId } from "@hvjournal/cpu-arm64";
import { describe, expect, it } from "@jest/globals";
import { errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { DENY, setFilter } from "./smccc-filter.js";

describe("A.2: a function identifier is taken apart", () => {
  it.each([
    [0x8400_0003, true, false, 4, 3],
    [0xc400_0003, true, true, 4, 3],
    [0x8000_8000, true, false, 0, 0x8000],
    [0x8000_7fff, true, false, 0, 0x7fff],
    [0x8600_0001, true, false, 6, 1],
    [0x8600_ff01, true, false, 6, 0xff01],
    [0xc500_0020, true, true, 5, 0x20],
    [0xc400_0053, true, true, 4, 0x53],
    [0xc400_0020, true, true, 4, 0x20],
    [0xc600_0040, true, true, 6, 0x40],
    [0x4600_0001, false, true, 6, 1],
  ])("$#: %p", (id, isFast, is64, owner, functionNumber) => {
    expect(decodeFunctionId(id)).toEqual({ isFast, is64, owner, functionNumber });
  });
});

/** 0.1 alone knows them: CPU_SUSPEND, CPU_OFF, CPU_ON, MIGRATE. */
const LEGACY_PSCI = 0x95c1_ba5e;
const U32_END = 0x1_0000_0000;

/** A range is set, and it is exactly as long as it says: its last id is taken, the one behind it is not. */
function endsAt(base: number, count: number, last: number): (program: Program) => void {
  return (p) => {
    expect(setFilter(p, base, count, DENY)).toBe("0");
    expect(setFilter(p, last, 1, DENY)).toBe("EEXIST");
    const isReserved = last + 1 === 0xc000_0000;
    if (last + 1 < U32_END) expect(setFilter(p, last + 1, 1, DENY)).toBe(isReserved ? "EEXIST" : "0");
  };
}

function isRefused(base: number, count: number, wanted: string): (program: Program) => void {
  return (p) => expect(setFilter(p, base, count, DENY)).toBe(wanted);
}

const FIRMWARE = 0x6030_0000_0014_0000n;
const BITMAPS = 0x6030_0000_0016_0000n;
const SVE_VLS = 0x6060_0000_0015_ffffn;
/** PSCI 1.3, workarounds not required, TRNG, PV time, both vendor services, no implementation discovery. */
const RESET_VALUES: readonly (readonly [id: bigint, value: bigint])[] = [
  [FIRMWARE, 0x1_0003n],
  [FIRMWARE | 1n, 2n],
  [FIRMWARE | 2n, 3n],
  [FIRMWARE | 3n, 2n],
  [BITMAPS, 1n],
  [BITMAPS | 1n, 1n],
  [BITMAPS | 2n, 3n],
  [BITMAPS | 3n, 0n],
];

const rows: readonly Row[] = [
  [
    "A.2",
    "the legacy PSCI ids are no identifiers of SMCCC, and answered by PSCI 0.1 alone",
    (p) => {
      expect(p.vcpu.getOneReg("KVM_REG_ARM_PSCI_VERSION")).toBe(1n);
      // CPU_ON of the caller, which is on: 0.1 has no other code for it than INVALID_PARAMETERS.
      expect(p.call(LEGACY_PSCI + 2)[0]).toBe(BigInt.asUintN(64, -2n));
      const newer = p.another();
      expect(newer.call(LEGACY_PSCI + 2)[0]).toBe(BigInt.asUintN(64, -1n));
    },
    { features: [[]] },
  ],
  ["A.3", "0xc4000003 and 1 end at 0xc4000003", endsAt(0xc400_0003, 1, 0xc400_0003)],
  ["A.3", "0xc4000003 and 0 end before the base", isRefused(0xc400_0003, 0, "EINVAL")],
  ["A.3", "0 and 0 end at 0xffffffff, and are refused all the same", isRefused(0, 0, "EINVAL")],
  ["A.3", "0xffffffff and 1 end at 0xffffffff", endsAt(0xffff_ffff, 1, 0xffff_ffff)],
  ["A.3", "0xffffffff and 2 wrap around to 0", isRefused(0xffff_ffff, 2, "EINVAL")],
  ["A.3", "0xffffffff and 0xffffffff wrap around to 0xfffffffd", isRefused(0xffff_ffff, 0xffff_ffff, "EINVAL")],
  ["A.3", "0x7fffffff and 2 end in the reserved ids", isRefused(0x7fff_ffff, 2, "EEXIST")],
  ["A.3", "all between the reserved ids is one range", endsAt(0x8001_0000, 0x3fff_0000, 0xbfff_ffff)],
  [
    "A.4",
    "every firmware register has KVM's id, and is in KVM_GET_REG_LIST",
    ({ vcpu }) => {
      for (const [id, value] of RESET_VALUES) expect([id, vcpu.getOneReg(id)]).toEqual([id, value]);
      const list = vcpu.getRegList();
      expect(RESET_VALUES.filter(([id]) => !list.includes(id))).toEqual([]);
    },
  ],
  [
    "A.4",
    "without SVE there is no KVM_REG_ARM64_SVE_VLS",
    ({ vcpu }) => {
      expect(vcpu.getRegList()).not.toContain(SVE_VLS);
      expect(errno(() => vcpu.getOneReg(SVE_VLS))).toBe("ENOENT");
    },
  ],
];

testRows("worked vectors", rows);
