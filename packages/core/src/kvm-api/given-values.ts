/** Values as programs give them: guests pass addresses and lengths in registers, which are bigints; people write numbers. */

/** Of an address, a length or an index. */
export type WholeNumber = number | bigint;

/** A string is shown as such: "5" is no number. */
function shown(value: unknown): string {
  if (typeof value === "string") return `the text ${JSON.stringify(value)}`;
  return typeof value === "bigint" ? `${value}n` : String(value);
}

/** `what` is the call and its argument: "readMemory: physical". Throws TypeError. */
export function wholeNumber(what: string, value: unknown): number {
  const isWhole = typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
  if (!isWhole || value < 0) throw new TypeError(`${what} is a whole number or bigint from 0 up, not ${shown(value)}`);
  return Number(value);
}

/** Of a register or an attribute: KVM's rules say which are too large. Throws TypeError. */
export function wideNumber(what: string, value: unknown): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  throw new TypeError(`${what} is a bigint or a whole number up to 2^53 - 1, not ${shown(value)}`);
}

/** Text has no bytes of its own. Throws TypeError. */
export function givenBytes(what: string, value: unknown): Uint8Array {
  // By its tag, because arrays of another realm, and Buffers, are as good.
  if (Object.prototype.toString.call(value) === "[object Uint8Array]") return value as Uint8Array;
  const hint = typeof value === "string" ? ": new TextEncoder().encode(text) makes one" : "";
  throw new TypeError(`${what} is a Uint8Array, not ${shown(value)}${hint}`);
}
