import { describe, expect, it } from "@jest/globals";
import { exitCodeOf, isHurried, missedGoal } from "./session-result.js";
import type { SessionEnd } from "./live-session.js";

const poweredOff: SessionEnd = { why: "stopped", stop: { what: "powered off", by: "PSCI SYSTEM_OFF", status: 7 } };
const crashed: SessionEnd = { why: "stopped", stop: { what: "crashed", by: "PSCI SYSTEM_RESET2" } };

describe("a run's exit status", () => {
  it("is that of a guest that ended well, unless it was to come somewhere first", () => {
    expect(exitCodeOf(poweredOff, {})).toBe(0);
    expect(exitCodeOf(poweredOff, { until: "end" })).toBe(0);
    expect(exitCodeOf(poweredOff, { until: "console:/login/" })).toBe(1);
    expect(exitCodeOf(crashed, {})).toBe(1);
    expect(exitCodeOf(poweredOff, { until: "exit 9", exitStatus: true })).toBe(7);
  });

  it("comes with what was not reached, and how the run ended instead", () => {
    expect(missedGoal(poweredOff, "console:/login/")).toBe(
      "--until console:/login/ was not reached: guest powered off (PSCI SYSTEM_OFF, status 7)",
    );
    expect(missedGoal({ why: "timeout", of: "guest" }, "exit 9")).toBeUndefined();
    expect(missedGoal(poweredOff, undefined)).toBeUndefined();
  });

  it("is that of the failure where something else came at the same moment", () => {
    const goal = (name: "until" | "fail-on"): SessionEnd => ({ why: "goal", goal: { name, text: "exit:5" } });
    expect([goal("until"), goal("fail-on")].map((end) => exitCodeOf(end, { until: "exit:5" }))).toEqual([0, 1]);
  });
});

it("a run is ended in a hurry by the wall clock and by a signal, and by nothing that a user or the guest does", () => {
  const hurried: SessionEnd[] = [
    { why: "timeout", of: "host" },
    { why: "interrupted", by: "SIGTERM" },
  ];
  const others: SessionEnd[] = [poweredOff, { why: "timeout", of: "guest" }, { why: "interrupted", by: "C-a x" }];
  expect([...hurried, ...others].map(isHurried)).toEqual([true, true, false, false, false]);
});
