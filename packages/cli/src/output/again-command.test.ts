import { describe, expect, it } from "@jest/globals";
import { againCommand } from "./again-command.js";

const choices = { seed: "7301188", rtc: "base=2026-11-21T09:00:00Z" };
const fixed = "--seed 7301188 --rtc base=2026-11-21T09:00:00Z";

describe("the command line of the same run", () => {
  it.each([
    ["record Image --headless", {}, `hvjournal record Image --headless ${fixed}`],
    ["record Image --seed 7301188", { seed: "7301188" }, `hvjournal record Image ${fixed}`],
    [
      "record --rtc=base=now Image --seed 7301188 -m 1G",
      { seed: "7301188", rtc: "base=now" },
      `hvjournal record Image -m 1G ${fixed}`,
    ],
    [
      "record Image --rtc base=now --seed=7301188",
      { seed: "7301188", rtc: "base=now" },
      `hvjournal record Image ${fixed}`,
    ],
    ["record Image -o boot.hvj", { output: "boot.hvj" }, `hvjournal record Image -o boot.hvj --force ${fixed}`],
    ["record Image --seed 7301188 --rtc base=2026-11-21", { seed: "7301188", rtc: "base=2026-11-21" }, undefined],
    ["record -c vm.yaml", { seed: "7301188" }, `hvjournal record -c vm.yaml ${fixed}`],
    ["record -c vm.yaml", { output: "boot.hvj" }, `hvjournal record -c vm.yaml --force ${fixed}`],
    ["record -c vm.yaml", { output: "boot.hvj", force: true }, `hvjournal record -c vm.yaml ${fixed}`],
    ["record -c vm.yaml", { seed: "7301188", rtc: "2026-11-21" }, undefined],
  ])("%s with %j", (line, args, again) => expect(againCommand(line.split(" "), choices, args)).toBe(again));
});
