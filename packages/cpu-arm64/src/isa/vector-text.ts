/** Names of SIMD and FP registers and immediates, in the form that GNU objdump prints. */

const ARRANGEMENTS = ["8b", "16b", "4h", "8h", "2s", "4s", "1d", "2d"] as const;
const SCALARS = ["b", "h", "s", "d", "q"] as const;

/** "16b" for size 0 and Q 1. */
export function arrangement(size: number, q: number): string {
  return ARRANGEMENTS[size * 2 + q] ?? "";
}

/** "v3.16b". */
export function vectorName(register: number, size: number, q: number): string {
  return `v${register}.${arrangement(size, q)}`;
}

/** "d3" for size 3; size 4 is q. */
export function scalarName(size: number, register: number): string {
  return `${SCALARS[size] ?? ""}${register}`;
}

/** "v3.s[1]". */
export function elementName(register: number, size: number, index: number): string {
  return `v${register}.${SCALARS[size] ?? ""}[${index}]`;
}

/** "{v0.16b-v3.16b}": registers in a row, modulo 32. */
export function vectorList(register: number, count: number, suffix: string): string {
  const name = (index: number): string => `v${(register + index) & 31}.${suffix}`;
  if (count === 1) return `{${name(0)}}`;
  if (count > 2 && register + count <= 32) return `{${name(0)}-${name(count - 1)}}`;
  return `{${Array.from({ length: count }, (_unused, index) => name(index)).join(", ")}}`;
}

/** C's "%.18e". */
export function floatImmediateText(value: number): string {
  const [digits = "", exponent = "+0"] = value.toExponential(18).split("e");
  return `#${digits}e${exponent.slice(0, 1)}${exponent.slice(1).padStart(2, "0")}`;
}
