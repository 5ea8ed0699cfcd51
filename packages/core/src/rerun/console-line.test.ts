import { describe, expect, it } from "@jest/globals";
import { similarity, unfinishedLineKey, wholeLineKey } from "./console-line.js";

describe("a line of the console", () => {
  it("is the same in another build, whatever its time stamp, address or version", () => {
    expect(wholeLineKey("[    1.234567] Linux version 6.1.0-56 at ffff8000081c\r")).toBe(
      wholeLineKey("[   12.000001] Linux version 6.1.0-9   at ffff80000abc\r"),
    );
    expect(wholeLineKey("init: shell")).not.toBe(wholeLineKey("init: done"));
  });

  it("that is being written is never taken for one that is still to become it", () => {
    for (const line of ["login: ", "host1 login: ", "bash-5.1$", "~ # \x1b[6n", "[    0.123456] probe"]) {
      const key = unfinishedLineKey(line);
      for (let length = 0; length < line.length; length++)
        expect(unfinishedLineKey(line.slice(0, length))).not.toBe(key);
    }
  });

  it("that is being written may have other numbers in it", () => {
    expect(unfinishedLineKey("bash-5.1$ ")).toBe(unfinishedLineKey("bash-5.12$ "));
    expect(unfinishedLineKey("[12] $")).toBe(unfinishedLineKey("[13] $"));
  });

  it("is as similar to another as they have pairs of characters in common", () => {
    expect(similarity("login: ", "login: ")).toBe(1);
    expect(similarity("login: ", "0123")).toBeLessThan(0.2);
    expect(similarity("login: ", "Login: ")).toBeGreaterThan(similarity("login: ", "Password: "));
  });
});
