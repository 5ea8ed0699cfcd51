import { describe, expect, it } from "@jest/globals";
import { Cr4, CR4_BITS } from "../isa/registers.js";
import * as a from "./testing/assembler.js";
import { guest, runOn } from "./testing/guest.js";

/** Bits of CR4 that exist where CPUID has a feature: leaf, register, bit. Intel SDM volume 3, 2.5. */
const FEATURES: readonly (readonly [bits: number, leaf: number, register: "rbx" | "rcx" | "rdx", bit: number])[] = [
  [Cr4.VME | Cr4.PVI, 1, "rdx", 1],
  [Cr4.DE, 1, "rdx", 2],
  [Cr4.PSE, 1, "rdx", 3],
  [Cr4.TSD, 1, "rdx", 4],
  [Cr4.PAE, 1, "rdx", 6],
  [Cr4.MCE, 1, "rdx", 7],
  [Cr4.PGE, 1, "rdx", 13],
  [Cr4.OSFXSR, 1, "rdx", 24],
  [Cr4.OSXMMEXCPT, 1, "rdx", 25],
  [Cr4.PCIDE, 1, "rcx", 17],
  [Cr4.OSXSAVE, 1, "rcx", 26],
  [Cr4.FSGSBASE, 7, "rbx", 0],
  [Cr4.SMEP, 7, "rbx", 7],
  [Cr4.SMAP, 7, "rbx", 20],
  [Cr4.UMIP, 7, "rcx", 2],
];

describe("CPUID", () => {
  it("has the features of the bits that CR4 has", () => {
    const kernels = [1, 7].map((leaf) => {
      const it = guest([...a.cpuid(leaf), ...a.hlt]);
      runOn(it.kernel);
      return [leaf, it.kernel] as const;
    });
    for (const [bits, leaf, register, bit] of FEATURES) {
      const value = new Map(kernels).get(leaf)?.readRegister(0, register) ?? 0n;
      const has = (value >> BigInt(bit)) & 1n;
      expect([bits, (CR4_BITS & bits) === bits]).toEqual([bits, has === 1n]);
    }
  });
});
