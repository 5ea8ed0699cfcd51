import { expect, it } from "@jest/globals";
import { alignedRight } from "./exit-statistics.js";

it("keeps the columns of a table apart, however long a text is", () => {
  const lines = alignedRight([
    ["VM-EXIT", "Samples"],
    ["0x8400000a PSCI_FEATURES", "7"],
    ["IRQ", "123456789012"],
  ]);
  expect(lines).toEqual([
    "                 VM-EXIT      Samples",
    "0x8400000a PSCI_FEATURES            7",
    "                     IRQ 123456789012",
  ]);
});
