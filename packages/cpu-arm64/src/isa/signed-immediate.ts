/** Two's complement fields of an encoding. */

/** The low `bits` bits of a field as a signed number. */
export function signedImmediate(field: number, bits: number): number {
  return (field << (32 - bits)) >> (32 - bits);
}

/** A signed field in units of `scale`, as a 64-bit operand. */
export function scaledImmediate(field: number, bits: number, scale: number): bigint {
  return BigInt(signedImmediate(field, bits) * scale);
}
