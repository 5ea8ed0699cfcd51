import { describe, expect, it } from "@jest/globals";
import { parseExpression } from "../expression/parse-expression.js";
import { outcomeForm } from "./outcome.js";

describe("an expected EXPR", () => {
  it.each([
    ["console =~ /login:/", "once"],
    ["console =~ /login:/ && count(exit.nr == 3) >= 2", "once"],
    ["time > 1.5s || 3 < count(exit.nr == 3)", "once"],
    ["!(console =~ /panic/)", "end"],
    ["console =~ /login:/ && !(console =~ /panic/)", "end"],
    ["count(exit.nr == 3) == 2", "end"],
    ["$x0 == 0", "end"],
    ["*(u64 *)0x40000000 > 3", "end"],
    ["exit.nr == 0xc4000003", "ever"],
    ["exit.nr == 3 && exit.args[0] == 1 && !(console =~ /panic/)", "ever"],
  ] as const)("'%s' holds %s", (text, form) => {
    expect(outcomeForm(parseExpression(text))).toBe(form);
  });
});
