import { describe, expect, it } from "@jest/globals";
import { DUTY_MIN, Pacing, type Round } from "./pacing.js";

const round: Round = {
  tookMs: 100,
  replayed: { events: 1000, units: 1_000_000 },
  added: { events: 100, units: 100_000 },
  backlog: { events: 10, units: 10_000 },
  changedPages: undefined,
  elapsedMs: 100,
};
const limits = { downtimeLimitMs: 300, isThrottled: true };

describe("the pace of a move", () => {
  it("hands over by replay when the rest is replayed within a third of the limit", () => {
    expect(new Pacing(limits).decide(round)).toEqual({ act: "hand over", by: "replay" });
  });

  it("hands over by a snapshot where few pages and events stand for much work", () => {
    const computing = { ...round, backlog: { events: 10, units: 50_000_000 }, changedPages: 40 };
    expect(new Pacing(limits).decide(computing)).toEqual({ act: "hand over", by: "snapshot" });
  });

  it("hands over by a snapshot where the destination has had nothing to replay by which its speed were known", () => {
    const few = { added: { events: 0, units: 10_000 }, replayed: { events: 2, units: 0 } };
    const silent = { ...round, ...few, backlog: { events: 0, units: 10_000 } };
    expect(new Pacing(limits).decide({ ...silent, changedPages: 40 })).toEqual({ act: "hand over", by: "snapshot" });
    expect(new Pacing(limits).decide(silent)).toEqual({ act: "go on", duty: 1 });
  });

  it("takes the speed of an earlier round where nothing was replayed in this one", () => {
    const pacing = new Pacing(limits);
    pacing.decide({ ...round, backlog: { events: 10, units: 10_000_000 } });
    const silent = { ...round, replayed: { events: 0, units: 0 }, backlog: { events: 0, units: 800_000 } };
    expect(pacing.decide(silent)).toEqual({ act: "hand over", by: "replay" });
  });

  it("goes on while neither is close enough, and slows the source until the backlog halves", () => {
    const behind = {
      ...round,
      backlog: { events: 50_000, units: 50_000_000 },
      added: { events: 4000, units: 4_000_000 },
    };
    const pacing = new Pacing(limits);
    expect(pacing.decide(behind)).toEqual({ act: "go on", duty: 0.125 });
    for (let again = 0; again < 5; again++) pacing.decide(behind);
    expect(pacing.duty).toBe(DUTY_MIN);
  });

  it("leaves the source its pace without throttling, and stops it at the time limit all the same", () => {
    const behind = {
      ...round,
      backlog: { events: 50_000, units: 50_000_000 },
      added: { events: 4000, units: 4_000_000 },
    };
    const pacing = new Pacing({ downtimeLimitMs: 300, isThrottled: false, maxTimeMs: 1000 });
    expect(pacing.decide(behind)).toEqual({ act: "go on", duty: 1 });
    expect(pacing.decide({ ...behind, elapsedMs: 1000 })).toEqual({ act: "hand over", by: "replay" });
  });
});
