import { describe, expect, it } from "@jest/globals";
import {
  EXIT_CAUSES,
  EXIT_ROWS,
  exitModels,
  hasReasonsOf,
  isCause,
  reasonsOf,
  vendorOf,
  vendorOfRow,
} from "./exit-model.js";

describe.each(exitModels)("the exit model $name version $version", (model) => {
  it("has each reason and each code once", () => {
    const { reasons } = model;
    expect(new Set(reasons.map(({ name }) => name)).size).toBe(reasons.length);
    const own = reasons.slice(0, EXIT_ROWS[vendorOf(model)].length);
    expect(new Set(own.map(({ code }) => code)).size).toBe(own.length);
  });

  it("has a row for everything that makes a vCPU leave", () => {
    const vendors = (["intel", "amd"] as const).filter((vendor) => hasReasonsOf(model, vendor));
    for (const vendor of vendors)
      for (const cause of EXIT_CAUSES)
        expect({ cause, is: isCause(model, reasonsOf(model, vendor)[cause], cause) }).toEqual({ cause, is: true });
  });

  it("tells whose CPUs alone leave by a row, and that both vendors leave by CPUID and HLT", () => {
    const told = model.reasons.map(({ name }, row) => [name, vendorOfRow(model, row)]);
    const vendors = new Map(told as [string, string | undefined][]);
    expect([vendors.get("CPUID"), vendors.get("HLT")]).toEqual([undefined, undefined]);
    if (hasReasonsOf(model, "intel")) expect(vendors.get("IO_INSTRUCTION")).toBe("intel");
    if (hasReasonsOf(model, "amd")) expect(vendors.get("IOIO")).toBe("amd");
  });

  it("is of the vendor that its name says", () => {
    expect(model.name).toBe(`kvm-${vendorOf(model)}`);
  });
});

describe("a host of the other vendor", () => {
  it("has names of its own in the newest models, and none in the first", () => {
    const has = exitModels.map((model) => [model.name, model.version, hasReasonsOf(model, "amd")]);
    expect(has).toEqual([
      ["kvm-intel", 2, true],
      ["kvm-amd", 2, true],
      ["kvm-intel", 1, false],
      ["kvm-amd", 1, true],
    ]);
  });
});
