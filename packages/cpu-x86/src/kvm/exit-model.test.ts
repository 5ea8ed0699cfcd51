import { describe, expect, it } from "@jest/globals";
import { EXIT_CAUSES, exitModels, isCause, reasonsOf, vendorOf } from "./exit-model.js";

describe.each(exitModels)("the exit model $name", (model) => {
  it("has each reason and each code once", () => {
    const { reasons } = model;
    expect(new Set(reasons.map(({ name }) => name)).size).toBe(reasons.length);
    expect(new Set(reasons.map(({ code }) => code)).size).toBe(reasons.length);
  });

  it("has a row for everything that makes a vCPU leave", () => {
    const rows = reasonsOf(model);
    for (const cause of EXIT_CAUSES)
      expect({ cause, is: isCause(model, rows[cause], cause) }).toEqual({ cause, is: true });
  });

  it("is of the vendor that its name says", () => {
    expect(model.name).toBe(`kvm-${vendorOf(model)}`);
  });
});
