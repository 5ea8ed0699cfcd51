/** The immediates of logical and bitfield instructions. Arm ARM: shared pseudocode DecodeBitMasks. */

/** `count` ones from bit 0 on. */
function ones(count: number): bigint {
  return (1n << BigInt(count)) - 1n;
}

function rotateRight(value: bigint, bits: number, width: number): bigint {
  return ((value >> BigInt(bits)) | (value << BigInt(width - bits))) & ones(width);
}

/**
 * The immediate that N, immr and imms stand for in a logical instruction of `width` bits,
 * or undefined where they are reserved.
 */
export function bitmaskImmediate(n: number, immr: number, imms: number, width: 32 | 64): bigint | undefined {
  if (width === 32 && n === 1) return undefined;
  const log2Size = 31 - Math.clz32((n << 6) | (~imms & 0x3f));
  if (log2Size < 1) return undefined;
  const size = 1 << log2Size;
  const levels = size - 1;
  if ((imms & levels) === levels) return undefined;
  let element = rotateRight(ones((imms & levels) + 1), immr & levels, size);
  for (let filled = size; filled < width; filled *= 2) element |= element << BigInt(filled);
  return element;
}

/** As `bitmaskImmediate`, for fields that a definition's `where` has let through. */
export function validBitmaskImmediate(n: number, immr: number, imms: number, width: 32 | 64): bigint {
  const value = bitmaskImmediate(n, immr, imms, width);
  if (value === undefined)
    throw new RangeError(`reserved bitmask immediate: N ${n}, immr ${immr}, imms ${imms}, ${width} bits`);
  return value;
}

/**
 * The bits that a bitfield instruction (BFM, SBFM, UBFM) takes from the source after
 * it was rotated right by `immr`: `wmask AND tmask` of the manual.
 */
export function bitfieldMask(immr: number, imms: number, width: 32 | 64): bigint {
  if (imms >= immr) return ones(imms - immr + 1);
  return ones(imms + 1) << BigInt(width - immr);
}

/** Whether one MOVZ or MOVN can give the value, so that assemblers use those for MOV and show this ORR as such. */
export function isWideImmediate(value: bigint, width: 32 | 64): boolean {
  return isOneHalfword(value) || isOneHalfword(value ^ ones(width));
}

function isOneHalfword(value: bigint): boolean {
  return [0n, 16n, 32n, 48n].some((shift) => (value & ~(0xffffn << shift)) === 0n);
}
