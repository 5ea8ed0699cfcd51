/** A VM's configuration in one line. */
import { expect, it } from "@jest/globals";
import type { PlainValue } from "@hvjournal/core";
import { configSummary } from "./config-text.js";

function summary(architecture: PlainValue): string {
  return configSummary({ plainControl: () => ({ architecture }) });
}

it("counts the items of what is set, and leaves out what is empty", () => {
  expect(summary({ capabilities: [], features: { 0: "psci" }, smcccFilter: [1, 2], scope: "vm" })).toBe(
    "features: 1, smcccFilter: 2, scope: 1",
  );
});

it("says so where nothing is set", () => {
  expect(summary({ capabilities: [], firmware: {} })).toBe("none");
});
