import { expect, it } from "@jest/globals";
import { undefinedText } from "./undefined-text.js";

it("names instructions that the CPU does not have, a handful at most", () => {
  expect(undefinedText([], "hvj-v1")).toBeUndefined();
  expect(undefinedText(["c5 (VEX: AVX, BMI)"], "hvj-v1")).toBe(
    "the guest met instructions that cpu hvj-v1 does not have, which raise the undefined exception: c5 (VEX: AVX, BMI)",
  );
  expect(undefinedText(["a", "b", "c", "d", "e", "f", "g"], "x")).toMatch(/: a, b, c, d, e, and 2 more$/);
});
