/** Group B: firmware registers and services (Documentation/virt/kvm/arm/fw-pseudo-registers.rst; tools/testing/selftests/kvm/arm64/hypercalls.c). */
import { expect } from "@jest/globals";
import { ARCH_FEATURES, ARCH_SOC_ID, Psci, PvTime, SDEI_VERSION, SMCCC_VERSION, Trng, Vendor } from "./function-ids.js";
import { spin, stop } from "./instructions.js";
import { callWords, code, errno, NOT_SUPPORTED, type Program, RAM, RAM_BYTES, touchDevice } from "./program.js";
import { type Row, testRows } from "./rows.js";
import { DENY, setFilter } from "./smccc-filter.js";
import { readStolenTime, setPvTimeIpa } from "./stolen-time.js";

const PSCI_VERSION = 0x6030_0000_0014_0000n;
const WORKAROUND_1 = 0x6030_0000_0014_0001n;
const STD_BMAP = 0x6030_0000_0016_0000n;
const STD_HYP_BMAP = 0x6030_0000_0016_0001n;
const VENDOR_HYP_BMAP = 0x6030_0000_0016_0002n;
const VENDOR_HYP_BMAP_2 = 0x6030_0000_0016_0003n;
/** [id, after reset, all bits that KVM supports] */
const BITMAPS = [
  [STD_BMAP, 1n, 1n],
  [STD_HYP_BMAP, 1n, 1n],
  [VENDOR_HYP_BMAP, 3n, 3n],
  [VENDOR_HYP_BMAP_2, 0n, 3n],
] as const;
/** The same register, as if it were of 32 bits. */
const SIZE_U64_TO_U32 = 0x0010_0000_0000_0000n;
/** WORKAROUND_1 of a CPU that does not speculate: NOT_REQUIRED. */
const HOST_WORKAROUND_1 = 2n;
const INVALID_PARAMETER = code(-2);
const NO_ENTROPY = code(-3);

type Call = readonly [id: number, args: readonly bigint[]];

const TRNG_CALLS: readonly Call[] = [
  [Trng.version, []],
  [Trng.features, [BigInt(Trng.random32)]],
  [Trng.uuid, []],
  [Trng.random32, [32n]],
  [Trng.random64, [64n]],
];
const PV_TIME_CALLS: readonly Call[] = [
  [ARCH_FEATURES, [BigInt(PvTime.features)]],
  [PvTime.features, [BigInt(PvTime.stolen)]],
  [PvTime.stolen, []],
];
const VENDOR_CALLS: readonly Call[] = [
  [Vendor.features, []],
  [Vendor.uid, []],
  [Vendor.ptp, [0n]],
];

function setOneReg({ vcpu }: Program, id: bigint, value: bigint): string {
  return errno(() => vcpu.setOneReg(id, value));
}

function bitmaps({ vcpu }: Program): bigint[] {
  return BITMAPS.map(([id]) => vcpu.getOneReg(id));
}

function hideAll(p: Program): void {
  for (const [id] of BITMAPS) p.vcpu.setOneReg(id, 0n);
}

/** x0 of each call. */
function results(p: Program, calls: readonly Call[]): (bigint | undefined)[] {
  return calls.map(([id, args]) => p.call(id, args)[0]);
}

/** With all bitmaps 0, each call is NOT_SUPPORTED. */
function areHidden(calls: readonly Call[]): (p: Program) => void {
  return (p) => {
    expect(setPvTimeIpa(p, p.data)).toBe("0");
    hideAll(p);
    expect(results(p, calls)).toEqual(calls.map(() => NOT_SUPPORTED));
  };
}

const rows: readonly Row[] = [
  ["B01", "the bitmaps start as 1, 1, 3 and 0", (p) => expect(bitmaps(p)).toEqual([1n, 1n, 3n, 0n])],
  [
    "B03",
    "all bits that are supported are stored",
    (p) => {
      hideAll(p);
      expect(bitmaps(p)).toEqual([0n, 0n, 0n, 0n]);
      for (const [id, , supported] of BITMAPS) expect(setOneReg(p, id, supported)).toBe("0");
      expect(bitmaps(p)).toEqual([1n, 1n, 3n, 3n]);
    },
  ],
  [
    "B04",
    "the bit above those that are supported is EINVAL, and nothing changes",
    (p) => {
      for (const [id, , supported] of BITMAPS) expect(setOneReg(p, id, supported + 1n)).toBe("EINVAL");
      expect(bitmaps(p)).toEqual([1n, 1n, 3n, 0n]);
    },
  ],
  [
    "B05",
    "a value from before the first run is read after it",
    (p) => {
      expect(setOneReg(p, VENDOR_HYP_BMAP, 1n)).toBe("0");
      p.runOnce();
      expect(bitmaps(p)).toEqual([1n, 1n, 1n, 0n]);
    },
  ],
  [
    "B06",
    "after a run, another value is EBUSY",
    (p) => {
      p.runOnce();
      for (const [id, reset] of BITMAPS) expect(setOneReg(p, id, reset ^ 1n)).toBe("EBUSY");
      expect(bitmaps(p)).toEqual([1n, 1n, 3n, 0n]);
    },
  ],
  [
    "B07",
    "after a run, the value that it has is taken",
    (p) => {
      p.runOnce();
      for (const [id, reset] of BITMAPS) expect(setOneReg(p, id, reset)).toBe("0");
    },
  ],
  [
    "B08",
    "an id of the wrong size is ENOENT",
    (p) => {
      for (const [id] of BITMAPS) {
        expect(setOneReg(p, id ^ SIZE_U64_TO_U32, 0n)).toBe("ENOENT");
        expect(errno(() => p.vcpu.getOneReg(id ^ SIZE_U64_TO_U32))).toBe("ENOENT");
      }
    },
  ],
  ["B10", "with no bit set, TRNG is NOT_SUPPORTED", areHidden(TRNG_CALLS)],
  ["B11", "with no bit set, paravirtual time is NOT_SUPPORTED", areHidden(PV_TIME_CALLS)],
  ["B12", "with no bit set, the vendor's service is NOT_SUPPORTED", areHidden(VENDOR_CALLS)],
  [
    "B13",
    "with the bits set, the same calls are served",
    (p) => {
      expect(setPvTimeIpa(p, p.data)).toBe("0");
      const answers = results(p, [...TRNG_CALLS, ...PV_TIME_CALLS, ...VENDOR_CALLS]);
      expect(answers).not.toContain(NOT_SUPPORTED);
    },
  ],
  [
    "B14",
    "no service knows the functions of another",
    (p) => {
      expect(setPvTimeIpa(p, p.data)).toBe("0");
      const across: readonly Call[] = [
        [Trng.features, [BigInt(Vendor.ptp)]],
        [ARCH_FEATURES, [BigInt(Trng.random64)]],
        [PvTime.features, [BigInt(Trng.random64)]],
      ];
      expect(results(p, across)).toEqual(across.map(() => NOT_SUPPORTED));
    },
  ],
  [
    "B15",
    "what one vCPU writes, another reads",
    (p) => {
      expect(setOneReg(p, STD_BMAP, 0n)).toBe("0");
      expect(p.vm.vcpu(1).getOneReg(STD_BMAP)).toBe(0n);
    },
    { vcpuCount: 2 },
  ],
  ["B16", "PSCI 0.1 is EINVAL with PSCI_0_2", (p) => expect(setOneReg(p, PSCI_VERSION, 0x1n)).toBe("EINVAL")],
  [
    "B17",
    "PSCI 1.0 is EINVAL without PSCI_0_2, and 0.1 is what there is",
    (p) => {
      expect(setOneReg(p, PSCI_VERSION, 0x1_0000n)).toBe("EINVAL");
      expect(p.vcpu.getOneReg(PSCI_VERSION)).toBe(0x1n);
    },
    { features: [[]] },
  ],
  [
    "B18",
    "PSCI 0.2 and 1.0 to 1.3 go with PSCI_0_2, and the guest is told that version",
    (p) => {
      for (const version of [0x2n, 0x1_0000n, 0x1_0001n, 0x1_0002n, 0x1_0003n]) {
        expect(setOneReg(p, PSCI_VERSION, version)).toBe("0");
        expect(p.call(Psci.version)).toEqual([version, 0n, 0n, 0n]);
      }
    },
  ],
  ["B19", "PSCI 1.4 is EINVAL", (p) => expect(setOneReg(p, PSCI_VERSION, 0x1_0004n)).toBe("EINVAL")],
  [
    "B20",
    "the PSCI version changes after a run too",
    (p) => {
      expect(p.call(Psci.version)[0]).toBe(0x1_0003n);
      expect(setOneReg(p, PSCI_VERSION, 0x1_0000n)).toBe("0");
      expect(p.call(Psci.version)[0]).toBe(0x1_0000n);
    },
  ],
  [
    "B21",
    "a workaround below the host's is taken, and the host's stays",
    (p) => {
      for (const value of [0n, 1n, HOST_WORKAROUND_1]) expect(setOneReg(p, WORKAROUND_1, value)).toBe("0");
      expect(p.vcpu.getOneReg(WORKAROUND_1)).toBe(HOST_WORKAROUND_1);
    },
  ],
  [
    "B22",
    "a workaround above the host's, or with bits above 3, is EINVAL",
    (p) => {
      for (const value of [HOST_WORKAROUND_1 + 1n, 0x10n, 1n << 63n])
        expect(setOneReg(p, WORKAROUND_1, value)).toBe("EINVAL");
    },
  ],
  [
    "B24",
    "SMCCC_VERSION is 1.1, whatever the bitmaps say",
    (p) => {
      hideAll(p);
      expect(p.call(SMCCC_VERSION)).toEqual([0x1_0001n, 0n, 0n, 0n]);
    },
  ],
  ["B25", "a range on SMCCC_VERSION is EEXIST", (p) => expect(setFilter(p, SMCCC_VERSION, 1, DENY)).toBe("EEXIST")],
  ["B26", "ARCH_SOC_ID is NOT_SUPPORTED", (p) => expect(p.call(ARCH_SOC_ID)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n])],
  [
    "B27",
    "the vendor's features are the two bitmaps, in x0 and x2",
    (p) => {
      p.vcpu.setOneReg(VENDOR_HYP_BMAP_2, 2n);
      expect(p.call(Vendor.features)).toEqual([3n, 0n, 2n, 0n]);
    },
  ],
  [
    "B28",
    "the vendor's UID is KVM's, in four words",
    (p) => expect(p.call(Vendor.uid)).toEqual([0xb66f_b428n, 0xe911_c52en, 0x564b_caa9n, 0x743a_004dn]),
  ],
  [
    "B29",
    "TRNG_RND of no bits, or of more than three registers hold, is INVALID_PARAMETERS",
    (p) => {
      for (const bits of [0n, 97n]) expect(p.call(Trng.random32, [bits])).toEqual([INVALID_PARAMETER, 0n, 0n, 0n]);
      for (const bits of [0n, 193n]) expect(p.call(Trng.random64, [bits])).toEqual([INVALID_PARAMETER, 0n, 0n, 0n]);
    },
  ],
  [
    "B30",
    "TRNG_RND of 192 bits fills x1 to x3; what is less comes high to low, with zeros above",
    (p) => {
      const [x0, ...random] = p.call(Trng.random64, [192n]);
      expect([0n, NO_ENTROPY]).toContain(x0);
      expect(new Set([0n, ...random]).size).toBe(4);
      expect(p.call(Trng.random64, [192n]).slice(1)).not.toEqual(random);
      const [, x1, x2, x3 = 0n] = p.call(Trng.random64, [8n]);
      expect([x1, x2, x3 >> 8n]).toEqual([0n, 0n, 0n]);
      const words = p.call(Trng.random32, [96n]).slice(1);
      expect(words.every((word) => word > 0n && word <= 0xffff_ffffn)).toBe(true);
    },
  ],
  ["B32", "SDEI is nobody's", (p) => expect(p.call(SDEI_VERSION)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n])],
  [
    "B34",
    "an address of stolen time that is misaligned, or without RAM, is EINVAL",
    (p) => {
      for (const ipa of [p.data + 1, p.data + 32, RAM - 64, RAM + RAM_BYTES])
        expect(setPvTimeIpa(p, ipa)).toBe("EINVAL");
    },
  ],
  [
    "B35",
    "a second address of stolen time is EEXIST, the same one too",
    (p) => expect([p.data, p.data, p.data + 64].map((ipa) => setPvTimeIpa(p, ipa))).toEqual(["0", "EEXIST", "EEXIST"]),
  ],
  [
    "B36",
    "PV_TIME_ST gives the address, and what is there grows while the other vCPU has its turns",
    (p) => {
      p.vm.writeMemory(p.data, new Uint8Array(64).fill(0xff));
      expect(setPvTimeIpa(p, p.data)).toBe("0");
      p.load([stop], 1);
      expect(p.call(PvTime.features, [BigInt(PvTime.stolen)])[0]).toBe(0n);
      expect(p.call(PvTime.stolen)[0]).toBe(BigInt(p.data));
      const told = [readStolenTime(p, p.data)];
      for (const units of [100_000n, 200_000n]) {
        p.load([...spin(units), ...touchDevice]);
        expect(p.run()).toMatchObject({ exitReason: "MMIO", vcpu: 0 });
        told.push(readStolenTime(p, p.data));
      }
      expect(told.map(({ revision, attributes }) => [revision, attributes])).toEqual(told.map(() => [0, 0]));
      const [before = 0n, between = 0n, after = 0n] = told.map(({ stolenNs }) => stolenNs);
      expect(between).toBeGreaterThan(before);
      expect(after).toBeGreaterThan(between);
      // Of the other vCPU's turns, no more than there has been time.
      expect(after).toBeLessThan(BigInt(p.vm.guestTimeNs));
      // Who asks again begins again.
      p.call(PvTime.stolen);
      expect(readStolenTime(p, p.data).stolenNs).toBe(0n);
    },
    { vcpuCount: 2, features: [["PSCI_0_2"], ["PSCI_0_2"]] },
  ],
  [
    "B36",
    "one vCPU alone is never robbed",
    (p) => {
      expect(setPvTimeIpa(p, p.data)).toBe("0");
      p.load([...callWords(PvTime.stolen), ...spin(100_000n), ...touchDevice]);
      p.run();
      expect(readStolenTime(p, p.data)).toEqual({ revision: 0, attributes: 0, stolenNs: 0n });
    },
  ],
  [
    "B37",
    "without an address, PV_TIME_ST and PV_TIME_FEATURES are NOT_SUPPORTED, and the service is still announced",
    (p) => {
      expect(results(p, PV_TIME_CALLS)).toEqual([0n, NOT_SUPPORTED, NOT_SUPPORTED]);
      expect(results(p, [[PvTime.features, [BigInt(PvTime.features)]]])).toEqual([NOT_SUPPORTED]);
    },
  ],
];

testRows("group B", rows);
