import { expect, it } from "@jest/globals";
import { shellCommand, shellWord } from "./shell-words.js";

it.each([
  ["boot.hvj", "boot.hvj"],
  ["exit:4821+12", "exit:4821+12"],
  ["my boot.hvj", "'my boot.hvj'"],
  ["$pc == 1", "'$pc == 1'"],
  ["it's", String.raw`'it'\''s'`],
  ["", "''"],
])("%s is %s in a shell", (word, quoted) => expect(shellWord(word)).toBe(quoted));

it("a command line is its words, quoted where they must be", () => {
  expect(shellCommand("hvjournal", "replay", "a b.hvj", "--until", "end")).toBe(
    "hvjournal replay 'a b.hvj' --until end",
  );
});
