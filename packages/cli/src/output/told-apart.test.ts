import { describe, expect, it } from "@jest/globals";
import { EXIT_WORD_COUNT, ExitWord, type RecordedExit } from "@hvjournal/core";
import { toldApart } from "./told-apart.js";

function exit(icount: number, words: { readonly [word: number]: number } = {}): RecordedExit {
  const frame = new Uint32Array(EXIT_WORD_COUNT);
  for (const [word, value] of Object.entries(words)) frame[Number(word)] = value;
  return { number: 1, seq: 1, icount, frame };
}

describe("two exits with one title", () => {
  const names = ["x1", "x2", "x3"];

  it("are told apart by the arguments that differ, 0 too", () => {
    const [a, b] = [exit(5, { [ExitWord.arg1Low]: 7, [ExitWord.arg2High]: 1 }), exit(9, { [ExitWord.arg1Low]: 7 })];
    expect(toldApart(a, b, names)).toEqual(["x2=0x100000000", "x2=0x0"]);
    expect(toldApart(a, b, [])).toEqual(["arg2=0x100000000", "arg2=0x0"]);
  });

  it("are told apart by their vCPU", () => {
    expect(toldApart(exit(5), exit(5, { [ExitWord.vcpu]: 3 }), names)).toEqual(["vcpu0", "vcpu3"]);
  });

  it("are not told apart by where they are, or by who finishes them", () => {
    expect(toldApart(exit(5), exit(9, { [ExitWord.pcLow]: 4, [ExitWord.info]: 1 }), names)).toBeUndefined();
  });
});
