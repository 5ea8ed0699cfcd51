import { describe, expect, it } from "@jest/globals";
import { FloatControl, FloatEnvironment, FloatFlag, Precision } from "./environment.js";
import { type Extended, extendedAdd, extendedFrom } from "./extended.js";
import { binary32, binary64 } from "./format.js";

/**
 * What x87 hardware gives for FADD: two operands (sign and exponent in four digits, then the significand), the control word,
 * the result, and of the status word the exceptions and C1. Where an exception is not masked the result is its handler's.
 */
const HARDWARE = [
  "00000000000000000000 4009b800000000000000 019 4009b800000000000000 000",
  "3fff4000000000000000 00008000000000000000 03f ffffc000000000000000 001",
  "bfe5a928000000000000 bff3a656577e8d095a9c 03f bff3a658fc0000000000 020",
  "00008000000000000000 800198c979690aa0e093 03f 800018c9790000000000 032",
  "bfe5cb9848f000000000 00018000000000000001 025 bfe5cb98490000000000 220",
  "00018000000000000001 7ffeffffffffffffffff 03f 7fff8000000000000000 228",
  "800059d1a4da13a8abd4 00007fffffffffffffff 00e 5fff98b96d0000000000 232",
  "ffffc000000000000001 80007423e71e782f9436 43f ffffc000000000000001 000",
  "00007fffffffffffffff 00018000000000000001 43f 00028000000000000000 002",
  "40108c28c4584b016bb9 3fffffffffffffffffff 43f 40108c29440000000000 020",
  "7ffcfbc19262d38cc000 7ffefffffffffffffc00 43f 7ffeffffff0000000000 028",
  "bff1f8cb78aede94f875 00008000000000000000 42e bff1f8cb790000000000 222",
  "c006f457700000000000 80000000000000000000 83f c006f457700000000000 000",
  "400cd05598c8d087c16a ffff8000000000000001 83f ffffc000000000000001 001",
  "8002c0727fec3ce86249 00008000000000000000 83f 800280727f0000000000 022",
  "800001040d83c1759b1b 00000000000000000000 813 800001040d0000000000 032",
  "3fe6c9e3bc09415f0c36 0000791ca28000000000 83f 3fe6c9e3bd0000000000 222",
  "c005aa0c3f328ad0b223 7ffefffffffffffffc00 826 1fff8000000000000000 228",
  "00018000000000000001 8000505caca0ebc00000 83f 00002fa3540000000000 232",
  "ffffc000000000000001 8001b18d43d45e290df9 c3f ffffc000000000000001 000",
  "00000000000000000001 00007fffffffffffffff c3f 00018000000000000000 002",
  "4004ed8564f31f78431a 8002c0f7cd92ebbc3e26 c22 4004ed85640000000000 020",
  "7ffed287250000000000 7ffde670000000000000 c3f 7ffeffffff0000000000 028",
  "0002acda500000000000 8002e9d6b8d900000000 c3f 800079f8d10000000000 030",
  "00000000000000000000 00007fffffffffffffff c0e 6000ffffff0000000000 032",
  "7fffc000000000000001 fffdf40a649b65bbd3d5 23f 7fffc000000000000001 000",
  "8002ad5054ae60600000 80001979600000000000 23f 8002ba0d04ae60600000 002",
  "00004dcdc2fabd98f478 8001e4db445ba1ca5e5f 23f 8001970d8160e4316800 022",
  "3fdf930a269a00000000 3fe3adfc874609af8ece 23f 3fe3b72d29afa9af9000 220",
  "7ffeffffffffffffffff 40108d0b964000000000 22a 7fff8000000000000000 228",
  "00000000000000000001 fffeffffffffffffffff 23f ffff8000000000000000 22a",
  "4020f800000000000000 bfff8000000000000000 63f 4020f7ffffffc0000000 000",
  "000008c5d7af80000000 7fff0000000000000000 615 ffffc000000000000000 001",
  "bfe18120000000000000 3ffdf991db0c819b315b 63f 3ffdf991db046f9b3000 020",
  "7ffefffffffffffffc00 7ffc89c9e8f1958013f6 63f 7ffefffffffffffff800 028",
  "00019e3fb649e9000000 800188aab5cc4a911747 63f 00001595007d9e6ee800 030",
  "00018000000000000000 bfdfafef107a27529ad0 608 bfdfafef107a2752a000 220",
  "bfdfeb972fc689e4ceba fffeffffffffffffffff 63f ffff8000000000000000 228",
  "3fdebfe9c00000000000 bfdeb3d0000000000000 a0f 3fdac19c000000000000 000",
  "c013c238a5c26b1fdeaa 7fff0000000000000000 a3f ffffc000000000000000 001",
  "8001f838000000000000 0001d9fe1dad58000000 a0c dffef1cf129540000000 010",
  "800062f87c0000000000 bfedeb55afd4c2e69ab6 a3f bfedeb55afd4c2e69800 022",
  "800199104621934d9b43 00018000000000000001 a3f 800019104621934d9800 030",
  "00008000000000000000 7ffdf4cf7f7415328782 a06 7ffdf4cf7f7415328800 222",
  "00004abc9e75595ca345 00000f1ab909453f8600 a3f 000059d7577e9e9c3000 232",
  "400a8c51a90e99642428 ffffc000000000000001 e3f ffffc000000000000001 000",
  "00000000000000000000 80002591e00000000000 e1a 80002591e00000000000 002",
  "800035bdd63a675e92a9 7ffd935e96eec3381d0c e3f 7ffd935e96eec3381800 022",
] as const;

const MASK_OVERFLOW = 8;
const MASK_UNDERFLOW = 16;

function environmentOf(controlWord: number): FloatEnvironment {
  const rounding = (controlWord >> 10) & 3;
  const precision = (controlWord >> 8) & 3;
  return new FloatEnvironment(
    // Down and up have their numbers the other way round.
    ((rounding & 1) << 1) |
      (rounding >> 1) |
      (precision << FloatControl.precisionShift) |
      ((controlWord & MASK_OVERFLOW) === 0 ? FloatControl.overflowTrapped : 0) |
      ((controlWord & MASK_UNDERFLOW) === 0 ? FloatControl.underflowTrapped : 0),
  );
}

/** Exceptions and C1 as the status word has them. */
function statusOf(flags: number): number {
  const denormal = (flags & FloatFlag.denormalOperand) === 0 ? 0 : 2;
  const up = (flags & FloatFlag.roundedUp) === 0 ? 0 : 0x200;
  return (flags & FloatFlag.invalidOperation) | denormal | ((flags & 0x1e) << 1) | up;
}

function parse(text: string): Extended {
  return { signExponent: Number.parseInt(text.slice(0, 4), 16), significand: BigInt(`0x${text.slice(4)}`) };
}

function print({ signExponent, significand }: Extended): string {
  return signExponent.toString(16).padStart(4, "0") + significand.toString(16).padStart(16, "0");
}

const EXTENDED_PRECISION = Precision.extended << FloatControl.precisionShift;

describe("sums in the 80-bit format", () => {
  it("are the hardware's in every rounding and precision, with its exceptions, whichever operand comes first", () => {
    for (const line of HARDWARE) {
      const [a = "", b = "", control = "", result = "", status = ""] = line.split(" ");
      for (const [left, right] of [
        [a, b],
        [b, a],
      ] as const) {
        const environment = environmentOf(Number.parseInt(control, 16));
        const sum = extendedAdd(parse(left), parse(right), environment);
        expect([line, print(sum), statusOf(environment.flags).toString(16).padStart(3, "0")]).toEqual([
          line,
          result,
          status,
        ]);
      }
    }
  });

  it("are exactly zero with the sign that the rounding gives", () => {
    const one = parse("3fff8000000000000000");
    const minusOne = parse("bfff8000000000000000");
    for (const [control, zero] of [
      [0x33f, "00000000000000000000"],
      [0x73f, "80000000000000000000"],
    ] as const) {
      const environment = environmentOf(control);
      expect([print(extendedAdd(one, minusOne, environment)), environment.flags]).toEqual([zero, 0]);
    }
  });

  it("give the quiet NaN beside a signalling one, and of two alike the one with the larger significand", () => {
    const sum = (left: string, right: string): readonly [string, number] => {
      const environment = new FloatEnvironment(EXTENDED_PRECISION);
      return [print(extendedAdd(parse(left), parse(right), environment)), environment.flags];
    };
    const quiet = "7fffc000000000000001";
    const signalling = "ffffb000000000000000";
    expect(sum(quiet, signalling)).toEqual([quiet, FloatFlag.invalidOperation]);
    expect(sum("ffffc000000000000009", quiet)).toEqual(["ffffc000000000000009", 0]);
    expect(sum("ffffc000000000000001", quiet)).toEqual([quiet, 0]);
    expect(sum("7fff8000000000000000", "ffff8000000000000000")).toEqual([
      "ffffc000000000000000",
      FloatFlag.invalidOperation,
    ]);
  });
});

describe("shorter formats", () => {
  it("are taken exactly, subnormal numbers with their flag, signalling NaNs without one", () => {
    const convert = (bits: 32 | 64, pattern: bigint): readonly [string, number] => {
      const environment = new FloatEnvironment(EXTENDED_PRECISION);
      return [print(extendedFrom(bits === 32 ? binary32 : binary64, pattern, environment)), environment.flags];
    };
    expect(convert(32, 0x3fc0_0000n)).toEqual(["3fffc000000000000000", 0]);
    expect(convert(32, 0x8000_0001n)).toEqual(["bf6a8000000000000000", FloatFlag.denormalOperand]);
    expect(convert(64, 0x7ff0_0000_0000_0001n)).toEqual(["7fff8000000000000800", 0]);
    expect(convert(64, 0xfff0_0000_0000_0000n)).toEqual(["ffff8000000000000000", 0]);
    expect(convert(64, 0x8000_0000_0000_0000n)).toEqual(["80000000000000000000", 0]);
  });
});
