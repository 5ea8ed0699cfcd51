import { describe, expect, it } from "@jest/globals";
import { policySettings } from "./policy-text.js";

describe("the policies of a recording", () => {
  it("are told where they are not upstream's, which need not be set", () => {
    const policies = [
      { name: "arm.smccc.default", value: "forward-unhandled", seq: 5 },
      { name: "x86.hypercall.patch", value: "patch", seq: 6 },
    ];
    expect(policySettings({ policies })).toEqual(["arm.smccc.default=forward-unhandled"]);
  });

  it("are none where the control plane has folded none", () => {
    expect(policySettings({})).toEqual([]);
    expect(policySettings(undefined)).toEqual([]);
  });
});
