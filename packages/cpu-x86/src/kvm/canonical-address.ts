/** Linear addresses of 48 bits: bits 63 to 47 are equal (Intel SDM volume 1, 3.3.7.1). */
const LINEAR_ADDRESS_BITS = 48;

export function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(LINEAR_ADDRESS_BITS, address)) === address;
}
