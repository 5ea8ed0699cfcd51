import { describe, expect, it } from "@jest/globals";
import { nearestWord } from "./nearest-word.js";

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

  it("is near nothing when every letter is another", () => {
    expect(nearestWord("nothing", options)).toBeUndefined();
    expect(nearestWord("", options)).toBeUndefined();
    expect(nearestWord("s", ["symbols", "seed"])).toBeUndefined();
  });
});
