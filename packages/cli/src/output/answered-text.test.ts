import { describe, expect, it } from "@jest/globals";
import { answeredLines, pendingLine } from "./answered-text.js";

describe("what a guest has been answered", () => {
  it("is told function by function, with the last answer and its exit", () => {
    expect(
      answeredLines([
        { nr: 0xc600_0001, count: 3, exitNumber: 70, registers: { x0: "0x0", x1: "0xffffffffffffffff" } },
        { nr: 0xc600_0000, count: 1, exitNumber: 50, registers: { x0: "0x10002" } },
        { nr: 0xc600_0002, count: 1, exitNumber: 51, registers: {} },
      ]),
    ).toEqual([
      "       0xc6000001 -> x0=0 x1=-1, asked 3 times, last answer exit:70",
      "       0xc6000000 -> x0=0x10002, asked once, exit:50",
      "       0xc6000002 -> no register set, asked once, exit:51",
    ]);
  });

  it("says of a call that waits who answers it, as far as the destination has told", () => {
    const call = { what: "HVC64 0xc6000000", args: ["0x1", "0x0", "0x3"], vcpu: 1, exitNumber: 50 };
    const open = "OPEN   call HVC64 0xc6000000 (0x1, 0x0, 0x3) of vcpu1, exit:50, is pending: not answered yet";
    expect(
      [["a.mjs", "builtin:psci"], [], undefined].map((askedThere) => pendingLine({ ...call, askedThere })),
    ).toEqual([
      `${open}; at the destination it is answered by a.mjs, builtin:psci, else by the board`,
      `${open}; at the destination it is answered by the board`,
      open,
    ]);
  });

  it("is no long list: those behind the busiest are counted", () => {
    const many = Array.from({ length: 11 }, (_, nr) => ({ nr, count: 1, exitNumber: 1, registers: {} }));
    expect(answeredLines(many)).toHaveLength(9);
    expect(answeredLines(many).at(-1)).toBe("       and 3 more");
  });
});
