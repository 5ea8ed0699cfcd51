import { describe, expect, it } from "@jest/globals";
import { AnswerError } from "./answer-error.js";
import { registersOf } from "./handler-answer.js";

describe("a handler's answer", () => {
  it.each<[unknown, readonly (readonly [string, bigint])[]]>([
    [undefined, []],
    [7, [["x0", 7n]]],
    [-1, [["x0", 0xffff_ffff_ffff_ffffn]]],
    [1n << 63n, [["x0", 1n << 63n]]],
    [-(1n << 63n), [["x0", 1n << 63n]]],
    [[], []],
    [
      [0, 5n],
      [
        ["x0", 0n],
        ["x1", 5n],
      ],
    ],
    [
      { x3: 1, x17: -2n },
      [
        ["x3", 1n],
        ["x17", 0xffff_ffff_ffff_fffen],
      ],
    ],
  ])("%p sets %p", (answer, registers) => {
    expect(registersOf(answer)).toEqual(registers);
  });

  it.each<[unknown, RegExp]>([
    ["5", /it answered "5": undefined, a number for x0/],
    [null, /it answered null/],
    [true, /it answered true/],
    [() => 1, /it answered a function/],
    [Number.NaN, /x0 = NaN/],
    [1.5, /x0 = 1\.5: no whole number/],
    [2 ** 53, /beyond it, write a bigint/],
    [1n << 64n, /x0 = 18446744073709551616: does not fit into 64 bits/],
    [-(1n << 63n) - 1n, /does not fit into 64 bits/],
    [{ x18: 1 }, /a register x18: a call returns in x0 to x17/],
    [{ pc: 1n }, /a register pc/],
    [{ x0: undefined }, /x0 = undefined/],
    [new Array<number>(19).fill(0), /19 registers/],
    // eslint-disable-next-line no-sparse-arrays
    [[1, , 2], /x1 = undefined/],
  ])("%p is refused, whole", (answer, message) => {
    expect(() => registersOf(answer)).toThrow(AnswerError);
    expect(() => registersOf(answer)).toThrow(message);
  });
});
