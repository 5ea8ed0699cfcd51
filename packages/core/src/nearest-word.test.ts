import { describe, expect, it } from "@jest/globals";
import { meantHint, nearestWord } from "./nearest-word.js";

const options = ["until", "timeout", "host-timeout", "snapshot-every", "symbols", "seed", "append"];

describe("a word that does not exist", () => {
  it.each([
    ["untill", "until"],
    ["unitl", "until"],
    ["snapshot", "snapshot-every"],
    ["time-out", "timeout"],
    ["sede", "seed"],
    ["apend", "append"],
  ])("%s is near %s", (word, meant) => expect(nearestWord(word, options)).toBe(meant));

  it("has a hint where another is near", () => {
    expect(meantHint("untill", options)).toBe("; did you mean until?");
    expect(meantHint("nothing", options)).toBe("");
  });

  it("is near nothing when every letter is another", () => {
    expect(nearestWord("nothing", options)).toBeUndefined();
    expect(nearestWord("", options)).toBeUndefined();
    expect(nearestWord("s", ["symbols", "seed"])).toBeUndefined();
  });
});
