const FNV_BASIS = 0x811c_9dc5;
const FNV_PRIME = 0x0100_0193;

/** FNV-1a of 32 bits; `hash` goes on from what was hashed before. */
export function fnv1a(bytes: Uint8Array, hash: number = FNV_BASIS): number {
  return bytes.reduce((sum, byte) => Math.imul(sum ^ byte, FNV_PRIME), hash) >>> 0;
}
