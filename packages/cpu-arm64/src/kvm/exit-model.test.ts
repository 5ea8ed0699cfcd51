import { describe, expect, it } from "@jest/globals";
import { systemRegisters } from "../isa/system-registers.js";
import {
  exitModelMarkdown,
  exitModels,
  HCR_EL2_VALUE,
  kvmArm64,
  MDCR_EL2_VALUE,
  serviceRegisterTraps,
} from "./exit-model.js";

describe("the exit model kvm-arm64", () => {
  const text = exitModelMarkdown();

  it("has each reason once, in a row of the document", () => {
    const names = kvmArm64.reasons.map((reason) => reason.name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(text).toContain(`| ${name} |`);
    const [newest, first, ...others] = exitModels;
    expect(newest).toBe(kvmArm64);
    expect(first).toEqual({ ...kvmArm64, version: 1, reasons: kvmArm64.reasons.slice(0, -1) });
    expect(others).toEqual([]);
  });

  it("names in the document every register that exits, and none of the others", () => {
    const rows = text.split("\n").filter((line) => /^\| (HCR|MDCR|CNTHCTL|ICC_SRE)_EL2/.test(line));
    const named = new Set(rows.flatMap((row) => [...row.matchAll(/\b[A-Z]\w+_EL[01]\b/g)].map(([name]) => name)));
    const exits = systemRegisters.filter(({ home, selector, readTrap, writeTrap }) => {
      const traps = [readTrap, writeTrap].filter((trap) => trap !== undefined);
      const isTrapped = traps.some(({ name, bit }) => {
        const controls = name.startsWith("HCR") ? HCR_EL2_VALUE : MDCR_EL2_VALUE;
        return ((controls >> BigInt(bit)) & 1n) === 1n;
      });
      return isTrapped || (home.kind === "service" && serviceRegisterTraps(selector));
    });
    const known = exits.map((register) => register.name).filter((name) => /^[A-Z]\w+_EL[01]$/.test(name));
    expect(known.length).toBeGreaterThan(100);
    for (const name of known) expect({ name, isNamed: named.has(name) }).toEqual({ name, isNamed: true });
    for (const name of ["CTR_EL0", "CCSIDR_EL1", "CNTVCT_EL0", "CNTV_CTL_EL0", "ICC_IAR1_EL1", "MIDR_EL1"])
      expect(named).not.toContain(name);
  });
});
