import { expect, it } from "@jest/globals";
import type { ContractItem } from "@hvjournal/core";
import { contractLines } from "./contract-text.js";

it("a value that is longer than its column is still apart from what stands behind it", () => {
  const item = (name: string, value: string): ContractItem =>
    ({ name, value, offered: "any", rule: "hidden", isObservable: false }) as ContractItem;
  const long = `vendor.mjs sha256:${"0".repeat(64)}`;
  expect(contractLines([item("a", "0x1"), item("handler", long)], 0)).toEqual([
    "a        0x1  any",
    `handler  ${long}  any`,
  ]);
});
