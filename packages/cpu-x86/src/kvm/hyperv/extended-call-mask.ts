/** Extended calls by a mask of `hv.ext.kernelMask`: bit n is call 0x8001 + n. TLFS, "Extended Hypercall Interface". */

export const EXTENDED_FIRST = 0x8001;
/** KVM hands over so many, known or not. */
export const EXTENDED_LAST = 0x8041;
export const QUERY_CAPABILITIES = 0x8001;
export const MEMORY_HEAT_HINT = 0x8003;

export function isExtended(code: number): boolean {
  return code >= EXTENDED_FIRST && code <= EXTENDED_LAST;
}

export function extendedBit(code: number): bigint {
  return 1n << BigInt(code - EXTENDED_FIRST);
}

/** What the kernel half can answer itself. */
export const EXTENDED_CALLS_OF_KERNEL: bigint = extendedBit(QUERY_CAPABILITIES) | extendedBit(MEMORY_HEAT_HINT);
