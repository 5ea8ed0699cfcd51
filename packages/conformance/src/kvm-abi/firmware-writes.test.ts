/** What KVM_SET_ONE_REG says to a firmware register (Documentation/virt/kvm/arm/fw-pseudo-registers.rst; arch/arm64/kvm/hypercalls.c). */
import { expect } from "@jest/globals";
import { errno, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const FIRMWARE = 0x6030_0000_0014_0000n;
const BITMAPS = 0x6030_0000_0016_0000n;
const [PSCI_VERSION, WORKAROUND_1, WORKAROUND_2, WORKAROUND_3] = [0n, 1n, 2n, 3n].map((index) => FIRMWARE | index);
const [STD, STD_HYP, VENDOR_HYP, VENDOR_HYP_2] = [0n, 1n, 2n, 3n].map((index) => BITMAPS | index);
/** Bits 55 to 52 of an id: the size, as a power of two of bytes. */
const SIZE_U32 = 0x6020_0000_0000_0000n;
const X86 = 0x2030_0000_0000_0000n;
const INDEX_MASK = 0xffff_ffffn;

type Write = readonly [id: bigint | undefined, value: bigint, wanted: string];

function writes(...list: readonly Write[]): (program: Program) => void {
  return ({ vcpu }) => {
    const told = list.map(([id = 0n, value]) => errno(() => vcpu.setOneReg(id, value)));
    expect(told).toEqual(list.map(([, , wanted]) => wanted));
  };
}

function afterRun(...list: readonly Write[]): (program: Program) => void {
  return (p) => {
    p.runOnce();
    writes(...list)(p);
  };
}

const rows: readonly Row[] = [
  [
    "size",
    "an id of another size is ENOENT, to read and to write",
    ({ vcpu }) => {
      for (const id of [FIRMWARE, BITMAPS]) {
        const short = SIZE_U32 | (id & INDEX_MASK);
        expect([errno(() => vcpu.getOneReg(short)), errno(() => vcpu.setOneReg(short, 0n))]).toEqual([
          "ENOENT",
          "ENOENT",
        ]);
      }
    },
  ],
  ["id", "an id that there is not is ENOENT", writes([FIRMWARE | 4n, 0n, "ENOENT"], [BITMAPS | 4n, 0n, "ENOENT"])],
  [
    "architecture",
    "an id of another architecture is EINVAL, to read and to write",
    ({ vcpu }) => {
      const foreign = X86 | (FIRMWARE & INDEX_MASK);
      expect([errno(() => vcpu.getOneReg(foreign)), errno(() => vcpu.setOneReg(foreign, 0n))]).toEqual([
        "EINVAL",
        "EINVAL",
      ]);
    },
  ],
  [
    "bitmap",
    "a bit that the host does not have is EINVAL, whatever the others are",
    writes(
      [STD, 2n, "EINVAL"],
      [STD, 3n, "EINVAL"],
      [STD_HYP, 2n, "EINVAL"],
      [VENDOR_HYP, 4n, "EINVAL"],
      [VENDOR_HYP_2, 4n, "EINVAL"],
      [VENDOR_HYP_2, 1n << 63n, "EINVAL"],
    ),
  ],
  [
    "bitmap",
    "any subset of the host's bits is stored, for the VM as a whole",
    (p) => {
      for (const [id = 0n, all = 0n] of [
        [STD, 1n],
        [STD_HYP, 1n],
        [VENDOR_HYP, 3n],
        [VENDOR_HYP_2, 3n],
      ])
        for (let value = 0n; value <= all; value++) {
          p.vcpu.setOneReg(id, value);
          expect(p.vm.vcpu(1).getOneReg(id)).toBe(value);
        }
    },
    { vcpuCount: 2 },
  ],
  [
    "bitmap",
    "after a run another value is EBUSY, the same is not, and what no host has is EINVAL",
    afterRun(
      [STD, 0n, "EBUSY"],
      [STD, 1n, "0"],
      [STD, 2n, "EINVAL"],
      [VENDOR_HYP, 2n, "EBUSY"],
      [VENDOR_HYP, 3n, "0"],
      [VENDOR_HYP_2, 0n, "0"],
      [VENDOR_HYP_2, 1n, "EBUSY"],
    ),
  ],
  [
    "workaround",
    "up to the host's level is accepted and not stored; what is more, or no level, is EINVAL",
    (p) => {
      writes(
        [WORKAROUND_1, 0n, "0"],
        [WORKAROUND_1, 1n, "0"],
        [WORKAROUND_1, 2n, "0"],
        [WORKAROUND_1, 3n, "EINVAL"],
        [WORKAROUND_3, 0n, "0"],
        [WORKAROUND_3, 3n, "EINVAL"],
        [WORKAROUND_1, 0x10n, "EINVAL"],
        [WORKAROUND_1, 0x100n, "EINVAL"],
      )(p);
      expect([WORKAROUND_1, WORKAROUND_3].map((id = 0n) => p.vcpu.getOneReg(id))).toEqual([2n, 2n]);
    },
  ],
  [
    "workaround",
    "ENABLED of workaround 2 goes with AVAIL alone",
    (p) => {
      writes(
        [WORKAROUND_2, 0n, "0"],
        [WORKAROUND_2, 1n, "0"],
        [WORKAROUND_2, 2n, "0"],
        [WORKAROUND_2, 0x12n, "0"],
        [WORKAROUND_2, 3n, "0"],
        [WORKAROUND_2, 0x10n, "EINVAL"],
        [WORKAROUND_2, 0x11n, "EINVAL"],
        [WORKAROUND_2, 0x13n, "EINVAL"],
        [WORKAROUND_2, 4n, "EINVAL"],
        [WORKAROUND_2, 0x20n, "EINVAL"],
      )(p);
      expect(p.vcpu.getOneReg(WORKAROUND_2 ?? 0n)).toBe(3n);
    },
  ],
  ["workaround", "a run freezes no check", afterRun([WORKAROUND_1, 0n, "0"], [WORKAROUND_2, 4n, "EINVAL"])],
  [
    "PSCI version",
    "0.2 to 1.3 go with the feature PSCI_0_2, also after a run",
    afterRun(
      [PSCI_VERSION, 0x2n, "0"],
      [PSCI_VERSION, 0x1_0000n, "0"],
      [PSCI_VERSION, 0x1_0001n, "0"],
      [PSCI_VERSION, 0x1_0002n, "0"],
      [PSCI_VERSION, 0x1_0003n, "0"],
      [PSCI_VERSION, 0x1n, "EINVAL"],
      [PSCI_VERSION, 0x1_0004n, "EINVAL"],
      [PSCI_VERSION, 0x2_0000n, "EINVAL"],
      [PSCI_VERSION, 0n, "EINVAL"],
    ),
  ],
  [
    "PSCI version",
    "0.1 alone goes without the feature",
    writes([PSCI_VERSION, 0x1n, "0"], [PSCI_VERSION, 0x2n, "EINVAL"], [PSCI_VERSION, 0x1_0003n, "EINVAL"]),
    { features: [[]] },
  ],
  [
    "vCPU",
    "before KVM_ARM_VCPU_INIT every register is ENOEXEC",
    ({ vcpu }) => {
      for (const id of [STD, BITMAPS | 9n, 0n]) expect(errno(() => vcpu.setOneReg(id ?? 0n, 9n))).toBe("ENOEXEC");
    },
    { features: null },
  ],
];

testRows("writes of firmware registers", rows);
