/** Cryptographic hashing, which the host gives: core itself imports no host module. */
export interface Digester {
  /** SHA-256, 32 bytes. */
  sha256(bytes: Uint8Array): Uint8Array;
}
