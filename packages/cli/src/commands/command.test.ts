import { describe, expect, it } from "@jest/globals";
import { UsageError } from "../cli-error.js";
import { countOption, flag, listOption, stringOption } from "./command.js";

describe("an option's value", () => {
  it("is refused when it is given twice and there is room for one", () => {
    expect(() => stringOption({ until: ["exit:1", "exit:2"] }, "until")).toThrow(
      new UsageError("--until is given 2 times: exit:1, exit:2"),
    );
    expect(listOption({ cap: ["a", "b"] }, "cap")).toEqual(["a", "b"]);
  });

  it("is what was given last where it is yes or no", () => {
    expect(flag({ json: [true, false] }, "json")).toBe(false);
    expect(flag({}, "json")).toBe(false);
  });

  it("is a whole number from 1 up where things are counted", () => {
    expect(countOption({ n: "12" }, "n")).toBe(12);
    for (const n of ["0", "-1", "1.5", "x"]) expect(() => countOption({ n }, "n")).toThrow(`--n ${n}`);
  });
});
