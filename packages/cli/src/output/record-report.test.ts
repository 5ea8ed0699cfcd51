import { describe, expect, it } from "@jest/globals";
import { fileText, LastLine, stopText } from "./record-report.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("the console's last line", () => {
  it("is the one that is being written, else the last whole one that is not empty", () => {
    const line = new LastLine();
    line.note(0, bytes("[ 1.0] first\r\n[ 1.4] Kernel pa"));
    expect(line.text).toBe("[ 1.4] Kernel pa");
    line.note(0, bytes("nic\r\n\r\n"));
    expect(line.text).toBe("[ 1.4] Kernel panic");
  });

  it("is not what other ports write", () => {
    const line = new LastLine();
    line.note(1, bytes("noise"));
    expect(line.text).toBe("");
  });
});

describe("the end of a run", () => {
  it("says by what the guest stopped", () => {
    expect(stopText({ what: "powered off", by: "PSCI SYSTEM_OFF" })).toBe("guest powered off (PSCI SYSTEM_OFF)");
    expect(stopText({ what: "stuck", by: "no vector" })).toBe("guest can't go on (no vector)");
  });

  it("says how large events and snapshots are", () => {
    const summary = { path: "a.hvj", events: 41310, eventBytes: 734_003, snapshots: 31, snapshotBytes: 42_152_755 };
    expect(fileText(summary)).toBe("a.hvj: 41310 events in 0.7 MiB, 31 snapshots in 40.2 MiB");
    expect(fileText({ ...summary, eventBytes: 1024 })).toContain("events in 1.0 KiB");
  });
});
