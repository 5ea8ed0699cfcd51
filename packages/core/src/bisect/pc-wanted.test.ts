import { describe, expect, it } from "@jest/globals";
import { parseExpression } from "../expression/parse-expression.js";
import { symbolsAsPc } from "./pc-wanted.js";

describe("a symbol that a pc is compared with", () => {
  it.each([
    ["$pc == &panic", ["panic"]],
    ["icount > 5 && (&data == $rip || $pc == &code)", ["data", "code"]],
    ["$x0 == &data", []],
    ["$pc == counter", []],
    ["$pc != &data", []],
  ])("is found: %s", (source, names) => {
    expect(symbolsAsPc(parseExpression(source).tree, "rip")).toEqual(names);
  });
});
