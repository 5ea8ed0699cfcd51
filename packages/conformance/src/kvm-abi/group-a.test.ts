/** Group A: the SMCCC filter (Documentation/virt/kvm/devices/vm.rst, 6.1; tools/testing/selftests/kvm/arm64/smccc_filter.c). */
import { encodeSmcccFilter, SMCCC_CTRL, SMCCC_FILTER } from "@hvjournal/cpu-arm64";
import { expect } from "@jest/globals";
import { errno, NOT_SUPPORTED, type Program } from "./program.js";
import { type Row, testRows } from "./rows.js";

const [HANDLE, DENY, FORWARD] = [0, 1, 2];
const CPU_ON = 0xc400_0003;
const PSCI_VERSION = 0x8400_0000;
const VENDOR = 0xc600_0001;

function set({ vm }: Program, base: number, nrFunctions: number, action: number, pad?: Uint8Array): string {
  const filter = { base, nrFunctions, action, ...(pad && { pad }) };
  return errno(() => vm.setDeviceAttr({ group: SMCCC_CTRL, attr: SMCCC_FILTER }, encodeSmcccFilter(filter)));
}

const rows: readonly Row[] = [
  [
    "A01",
    "a byte of the padding that is not zero is EINVAL",
    (p) => expect(set(p, CPU_ON, 1, DENY, Uint8Array.of(0, 1))).toBe("EINVAL"),
  ],
  [
    "A19",
    "a denied call returns NOT_SUPPORTED without an exit",
    (p) => {
      expect(set(p, PSCI_VERSION, 1, DENY)).toBe("0");
      expect(p.call(PSCI_VERSION)).toEqual([NOT_SUPPORTED, 0n, 0n, 0n]);
    },
  ],
  [
    "A21",
    "a forwarded HVC is KVM_EXIT_HYPERCALL with the SMC flag clear",
    (p) => {
      expect(set(p, VENDOR, 1, FORWARD)).toBe("0");
      expect(() => p.call(VENDOR)).toThrow("HYPERCALL");
    },
  ],
  ["A34", "handle", (p) => expect(set(p, 0x8600_0000, 1, HANDLE)).toBe("0")],
];

testRows("group A", rows);
