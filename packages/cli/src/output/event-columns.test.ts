import { describe, expect, it } from "@jest/globals";
import { EventColumns, type EventLine, shortKind } from "./event-lines.js";

const line = (seq: number, place: string, ...columns: string[]): EventLine => ({ seq, place, columns, json: {} });

describe("the lines of a log", () => {
  it("are aligned with each other, and rows have their own columns", () => {
    const lines = [
      line(9, "exit:4", "vcpu0", "DABT_LOW", "MMIO read 0x9000018 4", "pl011"),
      line(10, "exit:10", "vcpu0", " answer", "<- 0x97"),
      line(11, "exit:10", "RegisterSet   ", "vcpu0 x0 <- 0x1"),
    ];
    const columns = new EventColumns();
    columns.fit(lines);
    expect(lines.map((each) => columns.text(each))).toEqual([
      "event:9   exit:4   vcpu0  DABT_LOW  MMIO read 0x9000018 4  pl011",
      "event:10  exit:10  vcpu0   answer   <- 0x97",
      "event:11  exit:10  RegisterSet     vcpu0 x0 <- 0x1",
    ]);
  });

  it("stay aligned with earlier ones when shorter ones follow", () => {
    const columns = new EventColumns();
    columns.fit([line(1000, "exit:1000", "vcpu0", "HVC64", "x")]);
    columns.fit([line(1, "exit:1", "vcpu0", "IRQ", "y")]);
    expect(columns.text(line(1, "exit:1", "vcpu0", "IRQ", "y"))).toBe("event:1     exit:1     vcpu0  IRQ    y");
  });

  it("name kinds without the architecture", () => {
    expect([shortKind("arm64.SmcccFilterSet"), shortKind("Exited")]).toEqual(["SmcccFilterSet", "Exited"]);
  });
});
