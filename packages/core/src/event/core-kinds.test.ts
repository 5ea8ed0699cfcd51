import { describe, expect, it } from "@jest/globals";
import { CoreKind, EventKinds, UnknownEventError } from "./core-kinds.js";
import type { RowEvent } from "./event-kind.js";

const row = (kind: string, version: number, payload = {}): RowEvent => ({
  seq: 5,
  kind,
  version,
  vcpu: -1,
  icount: 0,
  exitNumber: 0,
  payload,
});

describe("an event's kind", () => {
  const kinds = new EventKinds(
    [{ name: "small.Set", version: 3, role: "vmm output", fields: ["value", "unit"] }],
    [
      { kind: "small.Set", version: 1, upcast: (payload) => ({ value: payload["v"] ?? 0 }) },
      { kind: "small.Set", version: 2, upcast: (payload) => ({ ...payload, unit: "ns" }) },
    ],
  );

  it("of an old version is read as today's", () => {
    expect(kinds.upcast(row("small.Set", 1, { v: 7 }))).toMatchObject({
      version: 3,
      payload: { value: 7, unit: "ns" },
    });
    expect(kinds.upcast(row("small.Set", 3, { value: 1 }))).toMatchObject({ payload: { value: 1 } });
  });

  it("that this build does not know is named, and never guessed at", () => {
    expect(() => kinds.of(row("other.Set", 1))).toThrow(
      "event:5 is of kind other.Set (version 1), which this build does not know",
    );
    expect(() => kinds.upcast(row("small.Set", 4))).toThrow("event:5 is small.Set version 4, this build knows up to 3");
    expect(() => new EventKinds([]).upcast(row("Paused", 0))).toThrow(UnknownEventError);
    expect(() => new EventKinds([CoreKind.paused])).toThrow(/Paused is defined twice/);
  });

  it("has one role", () => {
    expect(kinds.all.map(({ name }) => name)).toEqual([...new Set(kinds.all.map(({ name }) => name))]);
  });
});
