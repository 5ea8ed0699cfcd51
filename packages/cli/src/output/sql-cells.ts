/** Values of a query's answer, as the sqlite3 shell prints them. */

/** A real number as `%!.15g` of SQLite's printf. */
const REAL_DIGITS = 15;
const SMALLEST_EXPONENT = -4;

/** "-2.5", "1.0", "3.0e+30": it can be told from a whole number. */
function realText(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? "Inf" : "-Inf";
  const rounded = Number(value.toPrecision(REAL_DIGITS));
  const [digits = "", exponent = ""] = rounded.toExponential().split("e");
  const power = Number(exponent);
  if (power >= SMALLEST_EXPONENT && power < REAL_DIGITS) return withPoint(String(rounded));
  return `${withPoint(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

function withPoint(digits: string): string {
  return digits.includes(".") ? digits : `${digits}.0`;
}

/** Integers come as bigint. */
export function plainCell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return realText(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : String(value);
}

export function csvCell(value: unknown): string {
  const text = plainCell(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Numbers as numbers, as far as JSON's readers keep them whole. */
export function jsonCell(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (typeof value !== "bigint") return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : BigInt.asUintN(64, value);
}
