import { describe, expect, it } from "@jest/globals";
import { checkGoals } from "./live-goals.js";
import { parseStopCondition } from "./stop-condition.js";

describe("POSITION|EXPR", () => {
  it.each([
    "start",
    "end",
    "exit:5",
    "exit 5+3",
    "exit HVC64#2",
    "icount:7",
    "time:1.5s",
    "console:/a/",
    "console /a/",
  ])("is a position in %s", (text) => {
    expect(parseStopCondition(text).form).toBe("position");
  });

  it.each(["exit.nr == 5", "icount > 5", "time >= 1000", "console =~ /a/", "$x0 == 1", "*(u64 *)0x10 != 0"])(
    "is an expression in %s",
    (text) => {
      expect(parseStopCondition(text).form).toBe("expression");
    },
  );

  it("that is neither is refused before anything is made", () => {
    expect(() => checkGoals({ until: "exit:0", failOn: undefined })).toThrow("exits are numbered from 1");
    expect(() => checkGoals({ until: undefined, failOn: "$x0 +" })).toThrow("column 6");
  });
});
