import { describe, expect, it } from "@jest/globals";
import { againCommand } from "./again-command.js";

const choices = { seed: "7301188", rtc: "base=2026-11-21T09:00:00Z" };
const fixed = "--seed 7301188 --rtc base=2026-11-21T09:00:00Z";

describe("the command line of the same run", () => {
  it.each([
    ["record Image --headless", `hvjournal record Image --headless ${fixed}`],
    ["record Image --seed 7301188", `hvjournal record Image ${fixed}`],
    ["record --rtc=base=now Image --seed 7301188 -m 1G", `hvjournal record Image -m 1G ${fixed}`],
    ["record Image --rtc base=now --seed=7301188", `hvjournal record Image ${fixed}`],
    ["record Image -o boot.hvj", `hvjournal record Image -o boot.hvj --force ${fixed}`],
    ["record Image --seed 7301188 --rtc base=2026-11-21", undefined],
  ])("%s", (line, again) => expect(againCommand(line.split(" "), choices)).toBe(again));
});
