import { readFileSync } from "node:fs";
import { describe, expect, it } from "@jest/globals";
import { FloatControl, FloatFlag, Rounding } from "./environment.js";
import { FloatOperation, floatOperationCode, type FloatOperationOptions, runSoftFloat } from "./soft-float.js";

type FormatBits = 16 | 32 | 64;

/**
 * Headings name an operation: "multiplyAdd 64", "convert 64 to 32", "toFixed 32 s64 #7". The lines below have the
 * control word, operands a, b, c, and behind "=" the result and the exceptions that the architecture can report, all in hexadecimal.
 */
const lines = readFileSync(new URL("../testing/soft-float-results.txt", import.meta.url), "utf8")
  .trimEnd()
  .split("\n");

const ARM_FLAGS = 0x9f;
const X86_FLAGS = 0x11f;

function codeOf(heading: string): number {
  const [name = "", bits, ...rest] = heading.split(" ");
  const operation = FloatOperation[name as keyof typeof FloatOperation];
  const width = Number(bits) as FormatBits;
  return floatOperationCode(operation, width, optionsOf(rest));
}

function optionsOf([first, second]: readonly string[]): FloatOperationOptions {
  if (first === "to") return { target: Number(second) as FormatBits };
  if (first === undefined) return {};
  const integer = { bits: Number(first.slice(1)) as FormatBits, signed: first.startsWith("s") };
  return second === undefined ? { integer } : { integer, fractionBits: Number(second.slice(1)) };
}

function resultLine(code: number, operands: string, flagMask: number): string {
  const [control = 0n, a = 0n, b = 0n, c = 0n] = operands.split(" ").map((word) => BigInt(`0x${word}`));
  const { result, flags } = runSoftFloat(code, { a, b, c, control: Number(control) });
  return `${operands} = ${result.toString(16)} ${(flags & flagMask).toString(16)}`;
}

/** The file as the software floats would write it, from one "# ..." line to the next. */
function recomputed(section: string, flagMask: number): { readonly actual: string[]; readonly expected: string[] } {
  const start = lines.findIndex((line) => line.startsWith(`# ${section}`));
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => line.startsWith("#"));
  const expected = end < 0 ? rest : rest.slice(0, end);
  let code = 0;
  const actual = expected.map((line) => {
    const [operands = "", result] = line.split(" = ");
    if (result !== undefined) return resultLine(code, operands, flagMask);
    code = codeOf(line);
    return line;
  });
  return { actual, expected };
}

const ROUNDS = 2000;
const seed = Number(process.env["HVJOURNAL_SEED"] ?? process.hrtime.bigint() & 0xffff_ffffn);

/** Marsaglia's xorshift32. */
function randomWords(start: number): () => number {
  let state = start >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

const view = new DataView(new ArrayBuffer(8));

function numberOf(bits: bigint, width: 32 | 64): number {
  view.setBigUint64(0, bits);
  return width === 64 ? view.getFloat64(0) : view.getFloat32(4);
}

function bitsOf(value: number, width: 32 | 64): bigint {
  if (width === 64) view.setFloat64(0, value);
  else view.setUint32(0, 0);
  if (width === 32) view.setFloat32(4, value);
  return view.getBigUint64(0);
}

/** Patterns whose exponents are near each other, near the ends of the range, or anywhere. */
function randomPattern(next: () => number, width: 32 | 64): bigint {
  const bits = BigInt.asUintN(width, (BigInt(next()) << 32n) | BigInt(next()));
  const fractionBits = width === 64 ? 52n : 23n;
  const exponentMax = width === 64 ? 2047 : 255;
  const kind = next() % 4;
  if (kind === 0) return bits;
  const places = [next() % 3, exponentMax - (next() % 3), (exponentMax >> 1) - 8 + (next() % 16)];
  const exponent = BigInt(places[kind - 1] ?? 0) << fractionBits;
  return (bits & ~(BigInt(exponentMax) << fractionBits)) | exponent;
}

const hostOperations: readonly (readonly [keyof typeof FloatOperation, (a: number, b: number) => number])[] = [
  ["add", (a, b) => a + b],
  ["subtract", (a, b) => a - b],
  ["multiply", (a, b) => a * b],
  ["divide", (a, b) => a / b],
  ["squareRoot", (a) => Math.sqrt(a)],
];

describe("software floats", () => {
  it("give Arm's results and exceptions in every rounding, with FZ, DN and AHP", () => {
    const { actual, expected } = recomputed("Arm", ARM_FLAGS);
    expect(expected.length).toBeGreaterThan(1000);
    expect(actual).toEqual(expected);
  });

  it("give x86's results and exceptions, with DAZ and FTZ", () => {
    const { actual, expected } = recomputed("x86", X86_FLAGS);
    expect(expected.length).toBeGreaterThan(200);
    expect(actual).toEqual(expected);
  });

  // Singles: the host computes in double precision and rounds twice, which is harmless for these operations.
  it.each([32, 64] as const)(`agree with the host on numbers of %d bits (seed ${seed})`, (width) => {
    const next = randomWords(seed);
    for (let round = 0; round < ROUNDS; round++) {
      const [a, b] = [randomPattern(next, width), randomPattern(next, width)];
      for (const [name, onHost] of hostOperations) {
        const host = onHost(numberOf(a, width), numberOf(b, width));
        const { result } = runSoftFloat(floatOperationCode(FloatOperation[name], width), { a, b, c: 0n, control: 0 });
        const shown = `${name} ${a.toString(16)} ${b.toString(16)}`;
        if (Number.isNaN(host)) expect([shown, numberOf(result, width)]).toEqual([shown, Number.NaN]);
        else expect([shown, result]).toEqual([shown, bitsOf(host, width)]);
      }
    }
  });

  it("round a number halfway between two doubles by the attribute", () => {
    const half = { a: 0x3ff0_0000_0000_0001n, b: 0x3ca0_0000_0000_0000n, c: 0n };
    const add = floatOperationCode(FloatOperation.add, 64);
    const rounded = (rounding: number): bigint => runSoftFloat(add, { ...half, control: rounding }).result - half.a;
    const { nearestEven, nearestAway, towardPositive, towardNegative, towardZero, toOdd } = Rounding;
    expect([nearestEven, nearestAway, towardPositive, towardNegative, towardZero, toOdd].map(rounded)).toEqual([
      1n,
      1n,
      1n,
      0n,
      0n,
      0n,
    ]);
  });

  it("report underflow by tininess before rounding, or after it", () => {
    // The largest subnormal times one and a bit: rounds to the smallest normal number.
    const operands = { a: 0x000f_ffff_ffff_ffffn, b: 0x3ff0_0000_0000_0001n, c: 0n };
    const multiply = floatOperationCode(FloatOperation.multiply, 64);
    const before = runSoftFloat(multiply, { ...operands, control: Rounding.towardPositive });
    const after = runSoftFloat(multiply, {
      ...operands,
      control: Rounding.towardPositive | FloatControl.tininessAfterRounding,
    });
    expect(before.result).toBe(0x0010_0000_0000_0000n);
    expect(after.result).toBe(before.result);
    expect(before.flags & FloatFlag.underflow).toBe(FloatFlag.underflow);
    expect(after.flags & FloatFlag.underflow).toBe(0);
  });

  it("tell a handler of underflow or overflow that a result is inexact if it were with an unbounded exponent", () => {
    const multiply = floatOperationCode(FloatOperation.multiply, 64);
    const flags = (a: bigint, b: bigint, control: number): number =>
      runSoftFloat(multiply, { a, b, c: 0n, control }).flags;
    const tiny = [0x0010_0000_0000_0001n, 0x3fe0_0000_0000_0000n] as const;
    const large = [0x7fe0_0000_0000_0000n, 0x4000_0000_0000_0000n] as const;
    const { underflow, overflow, inexact } = FloatFlag;
    expect([flags(...tiny, 0), flags(...tiny, FloatControl.underflowTrapped)]).toEqual([
      underflow | inexact,
      underflow,
    ]);
    expect([flags(...large, 0), flags(...large, FloatControl.overflowTrapped)]).toEqual([overflow | inexact, overflow]);
  });

  it("refuse a rounding and an operation that do not exist", () => {
    const operands = { a: 0n, b: 0n, c: 0n };
    expect(() => runSoftFloat(FloatOperation.add, { ...operands, control: 6 })).toThrow("no rounding has number 6");
    expect(() => runSoftFloat(63, { ...operands, control: 0 })).toThrow("no float operation has code 63");
    expect(() => runSoftFloat(3 << 6, { ...operands, control: 0 })).toThrow("no float format in operation code 192");
  });
});
