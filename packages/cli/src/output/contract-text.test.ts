import { expect, it } from "@jest/globals";
import type { ContractItem } from "@hvjournal/core";
import { comparisonLines, contractLines } from "./contract-text.js";

it("a value that is longer than its column is still apart from what stands behind it", () => {
  const item = (name: string, value: string): ContractItem =>
    ({ name, value, offered: "any", rule: "hidden", isObservable: false }) as ContractItem;
  const long = `vendor.mjs sha256:${"0".repeat(64)}`;
  expect(contractLines([item("a", "0x1"), item("handler", long)], 0)).toEqual([
    "a        0x1  any",
    `handler  ${long}  any`,
  ]);
});

it("two values that read the same are told apart by the verdict and its reason", () => {
  const item = (value: string): ContractItem => ({ name: "a", value, isObservable: false }) as ContractItem;
  const difference = { name: "a", verdict: "warn", reason: "no such register on host linux-5.15" } as const;
  const lines = (destination: ContractItem): string[] =>
    comparisonLines({ equal: 0, differences: [{ ...difference, source: item("0x1"), destination }] }, 0);
  const asked = "guest may have looked: that is no exit";
  expect(lines(item("0x1"))).toEqual([`a  0x1 -> 0x1  ${asked}; warn: no such register on host linux-5.15`]);
  expect(lines(item("0x0"))).toEqual([`a  0x1 -> 0x0  ${asked}`]);
});
