import { expect, it } from "@jest/globals";
import { shellHint } from "./shell-hint.js";

it.each([" == 0x40080000", "", "*(u64 *)", "exit.nr == 1 && == 5", "exit.nr ==", "( == 1)", "*(u64 *)8 == 5 &"])(
  "'%s' has lost something to a shell",
  (source) => expect(shellHint(source)).toContain("single quotes"),
);

it.each(["exit.nrr == 1", "1 + )", "foo(", "$x == 1"])("'%s' is wrong by itself", (source) =>
  expect(shellHint(source)).toBe(""),
);
