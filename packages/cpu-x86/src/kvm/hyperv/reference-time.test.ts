import { describe, expect, it } from "@jest/globals";
import { referenceScale } from "./reference-time.js";

describe("the reference TSC page", () => {
  it("has a counter of 3 GHz scaled so that 3 s of it are a unit less than 3 s of 100 ns", () => {
    const scale = referenceScale(3_000_000_000);
    expect(scale).toBe(0x00da_740d_a740_da74n);
    expect((9_000_000_000n * scale) >> 64n).toBe(29_999_999n);
  });
});
