/** The state that line n of `simd-results.txt` starts from: a function of n, so that the file only holds results. */

/** Integers at the edges of every width; singles and doubles: ordinary, halfway, subnormal, infinite, NaN. */
const PATTERNS = [
  0n,
  0x0000_0000_0000_0001n,
  0x8000_7fff_80ff_7f01n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  0x0123_4567_89ab_cdefn,
  0xfedc_ba98_7654_3210n,
  // 1, -2.5, 0.1, 1e300, 4503599627370497.5, 3e-310, infinity, quiet and signalling NaN in double precision
  0x3ff0_0000_0000_0000n,
  0xc004_0000_0000_0000n,
  0x3fb9_9999_9999_999an,
  0x7e37_e43c_8800_759cn,
  0x4330_0000_0000_0001n,
  0x0000_373a_b99b_7d6dn,
  0x7ff0_0000_0000_0000n,
  0xfff8_0000_0000_1234n,
  0x7ff0_0000_0000_5678n,
  // Two singles each: 1.5 and -0.75, 16777217 rounded and 0.3, subnormal and infinity, NaNs, 3.4e38 and -2147483648
  0x3fc0_0000_bf40_0000n,
  0x4b80_0000_3e99_999an,
  0x0000_1234_ff80_0000n,
  0x7fc1_2345_7f80_0001n,
  0x7f7f_c99e_cf00_0000n,
  // Four halves: 1, -65504, subnormal, NaN
  0x3c00_fbff_03ff_7e01n,
] as const;

/** FPCR: round to nearest; up; down with FZ; to zero; nearest with DN; nearest with AHP. */
const CONTROLS = [0, 0x40_0000, 0, 0x180_0000, 0, 0xc0_0000, 0x200_0000, 0x400_0000] as const;

/** Bytes of memory around the pointer, and the pointer's place among them. */
export const MEMORY_BYTES = 128;
export const POINTER_OFFSET = 64;
/** Holds the pointer; X1 holds a small index. */
export const POINTER_REGISTER = 3;
const INDEX_REGISTER = 1;
const INDEX = 2n;

/** Lines use V0 to V7 and X0 to X3. */
export const VECTOR_COUNT = 8;
export const GENERAL_COUNT = 4;

export interface LineState {
  readonly v: readonly bigint[];
  /** The pointer is 0. */
  readonly x: readonly bigint[];
  readonly memory: Uint8Array;
  readonly nzcv: number;
  readonly fpcr: number;
  readonly fpsr: number;
}

function pattern(index: number): bigint {
  return PATTERNS[index % PATTERNS.length] ?? 0n;
}

export function lineState(line: number): LineState {
  const v = Array.from(
    { length: VECTOR_COUNT },
    (_unused, register) => (pattern(11 * register + 5 * line + 1) << 64n) | pattern(7 * register + 3 * line),
  );
  const x = Array.from({ length: GENERAL_COUNT }, (_unused, register) => pattern(5 * register + line));
  x[INDEX_REGISTER] = INDEX;
  x[POINTER_REGISTER] = 0n;
  return {
    v,
    x,
    memory: Uint8Array.from({ length: MEMORY_BYTES }, (_unused, byte) => (31 * byte + 7 * line + 1) & 0xff),
    nzcv: line % 16,
    fpcr: CONTROLS[line % CONTROLS.length] ?? 0,
    // In turn: nothing has been reported, or "inexact" has.
    fpsr: Math.floor(line / CONTROLS.length) % 2 === 0 ? 0 : 0x10,
  };
}

/** What a line changed, in the form of the file: registers, NZCV, FPSR, and memory from its first byte that changed. */
export function changesBetween(before: LineState, after: LineState): string {
  const changes: string[] = [];
  const compare = (name: string, left: bigint | number, right: bigint | number): void => {
    if (left !== right) changes.push(`${name}=${right.toString(16)}`);
  };
  after.v.forEach((value, register) => compare(`v${register}`, before.v[register] ?? 0n, value));
  after.x.forEach((value, register) => compare(`x${register}`, before.x[register] ?? 0n, value));
  compare("nzcv", before.nzcv, after.nzcv);
  compare("fpsr", before.fpsr, after.fpsr);
  const differs = after.memory.map((byte, index) => (byte === before.memory[index] ? 0 : 1));
  const first = differs.indexOf(1);
  if (first >= 0) {
    const bytes = Array.from(after.memory.subarray(first, differs.lastIndexOf(1) + 1));
    changes.push(`m${first}=${bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")}`);
  }
  return changes.join(" ");
}
