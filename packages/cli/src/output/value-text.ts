/** Values as people read them. */

const SMALL = 10n;
const KIBIBYTE = 2 ** 10;
const MEBIBYTE = 2 ** 20;
const PRINTABLE = { first: 0x20, last: 0x7e } as const;
const ESCAPES: Readonly<Record<number, string>> = { 0x0a: "\\n", 0x0d: "\\r", 0x09: "\\t", 0x5c: "\\\\", 0x27: "\\'" };

/** "9.4 KiB", "40.2 MiB" */
export function sizeText(bytes: number): string {
  return bytes < MEBIBYTE / 10 ? `${(bytes / KIBIBYTE).toFixed(1)} KiB` : `${(bytes / MEBIBYTE).toFixed(1)} MiB`;
}

/** "1 exit", "2 exits" */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

/** As a C programmer writes a result: "0", "-1", "0x51a7". */
export function resultText(value: bigint): string {
  const signed = BigInt.asIntN(64, value);
  return signed > -SMALL && signed < SMALL ? signed.toString() : hex(value);
}

/** Low and high word of a 64-bit quantity. */
export function u64({ low, high }: { readonly low: number; readonly high: number }): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Bytes between single quotes: printable ASCII as it is, the rest escaped. */
export function quotedBytes(bytes: Uint8Array): string {
  const text = Array.from(bytes, (byte) => {
    const escape = ESCAPES[byte];
    if (escape !== undefined) return escape;
    if (byte >= PRINTABLE.first && byte <= PRINTABLE.last) return String.fromCharCode(byte);
    return `\\x${byte.toString(16).padStart(2, "0")}`;
  });
  return `'${text.join("")}'`;
}

/** Fields that hold addresses or identifiers, which people know by their hexadecimal digits. */
const HEX_FIELDS: ReadonlySet<string> = new Set([
  "base",
  "count",
  "gpa",
  "id",
  "function",
  "memoryBase",
  "memoryBytes",
]);

/** Plain data on one line: {base 0x1, action forward}. `field`: the name that it has. */
export function plainText(value: unknown, field = ""): string {
  if (typeof value === "bigint" || (typeof value === "number" && HEX_FIELDS.has(field))) return hex(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (Array.isArray(value)) return `[${value.map((item) => plainText(item)).join(", ")}]`;
  if (typeof value === "object" && value !== null)
    return `{${Object.entries(value)
      .map(([name, item]) => `${name} ${plainText(item, name)}`)
      .join(", ")}}`;
  return String(value);
}

/** "1.9 s", "12 ms": time of the host. */
export function hostTimeText(milliseconds: number): string {
  return milliseconds < 100 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
