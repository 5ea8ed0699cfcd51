import { describe, expect, it } from "@jest/globals";
import { encodeUtf8 } from "./canonical/utf8.js";
import { ConsoleMatcher, MATCH_CHARACTERS_MAX } from "./console-matcher.js";

/** Numbers of the characters, from 1, that complete a match. */
function matches(expression: RegExp, text: string, matcher = new ConsoleMatcher(expression)): number[] {
  return text.split("").flatMap((character, index) => (matcher.pushAll(encodeUtf8(character)) > 0 ? [index + 1] : []));
}

describe("^ and $ in console text", () => {
  it.each(["\n", "\r\n", "\r"])("are those of lines that end in %j", (end) => {
    const text = `no ok${end}ok${end}`;
    const at = text.lastIndexOf("ok") + 2;
    expect(matches(/^ok/, text)).toEqual([at]);
    expect(matches(/^ok$/, text)).toEqual([at]);
    expect(matches(/^no ok$\s+^ok$/, text)).toEqual([at]);
  });

  it("hold at the very start, and at a prompt that ends no line", () => {
    expect(matches(/^boot/, "boot")).toEqual([4]);
    expect(matches(/^login: $/, "hello\r\nlogin: ")).toEqual([14]);
  });

  it("are not where the text was cut for its length", () => {
    const long = "x".repeat(2 * MATCH_CHARACTERS_MAX);
    expect(matches(/^x{3}/, `a${long}`)).toEqual([]);
    expect(matches(/^x{3}/, `a${long}\nxxxx`)).toEqual([2 * MATCH_CHARACTERS_MAX + 5]);
    expect(matches(/^y/, `${long}y\n${long}y`)).toEqual([]);
  });

  it("are not where the last match ended within a line", () => {
    expect(matches(/^a|b/, "aab\nabab")).toEqual([1, 3, 5, 6, 8]);
    expect(matches(/\bfoo/, "foofoo foo")).toEqual([3, 10]);
  });

  it("stay where they are when a matcher goes on elsewhere", () => {
    const first = new ConsoleMatcher(/^ok/);
    matches(/^ok/, "say ", first);
    const second = new ConsoleMatcher(/^ok/);
    second.restore(first.save());
    expect(matches(/^ok/, "ok\nok", second)).toEqual([5]);
    const third = new ConsoleMatcher(/^ok/);
    third.restore({ window: "", sequence: [] });
    expect(matches(/^ok/, "ok", third)).toEqual([2]);
  });
});
