/** Hyper-V's MSRs and their privileges on x86: which a guest may use, and what each does. Hyper-V TLFS; arch/x86/kvm/hyperv.c. */
import { expect } from "@jest/globals";
import { DATA } from "./program.js";
import { type Row, testRows } from "./rows.js";

const GUEST_OS_ID = 0x4000_0000;
const HYPERCALL = 0x4000_0001;
const LINUX = 0x8100_0000_0000_0000n;
const PAGE = BigInt(DATA);

const rows: readonly Row[] = [
  [
    "E15",
    "HYPERCALL with the enable bit while GUEST_OS_ID is 0: no fault, nothing changes",
    (it) => {
      expect(it.writeMsr(HYPERCALL, PAGE | 1n)).toBe("done");
      expect(it.readMsr(HYPERCALL)).toBe(0n);
    },
  ],
  [
    "E16",
    "HYPERCALL with the enable bit on an Intel host: VMCALL and RET stand in the page",
    (it) => {
      expect(it.writeMsr(GUEST_OS_ID, LINUX)).toBe("done");
      expect(it.writeMsr(HYPERCALL, PAGE | 1n)).toBe("done");
      expect([...it.vm.readMemory(DATA, 5)]).toEqual([0x0f, 0x01, 0xc1, 0xc3, 0]);
    },
  ],
];

testRows("group E, x86", rows, { configuration: [["hv", "all"]] });
