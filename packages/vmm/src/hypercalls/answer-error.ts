/** What may be wrong with a handler's answer, whatever the architecture. */

/** The answer makes no sense; the message says which part of it. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

const BITS_MAX = 64;

/** A number of `bits` bits; a negative one stands for its two's complement. Throws AnswerError. */
export function answeredValue(name: string, value: unknown, bits: number = BITS_MAX): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value))
    throw new AnswerError(`it answered ${name} = ${value}: no whole number up to 2^53 - 1; beyond it, write a bigint`);
  if (typeof value !== "number" && typeof value !== "bigint")
    throw new AnswerError(`it answered ${name} = ${shownAnswer(value)}: a number or bigint was expected`);
  const whole = BigInt(value);
  const stored = BigInt.asUintN(bits, whole);
  if (stored !== whole && BigInt.asIntN(bits, whole) !== whole)
    throw new AnswerError(`it answered ${name} = ${whole}: does not fit into ${bits} bits`);
  return stored;
}

/** What is shown of a list or an object. */
const ITEMS_SHOWN = 8;

/** `{status: 85}`, `[1, 2]`; what lies in them is shown by its kind. */
export function shownAnswer(value: unknown): string {
  if (typeof value !== "object" || value === null) return shownItem(value);
  if (Array.isArray(value)) return `[${shownItems(value.map(shownItem))}]`;
  return `{${shownItems(Object.entries(value).map(([name, each]) => `${name}: ${shownItem(each)}`))}}`;
}

function shownItem(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object";
  return String(value);
}

function shownItems(texts: readonly string[]): string {
  return [...texts.slice(0, ITEMS_SHOWN), ...(texts.length > ITEMS_SHOWN ? ["..."] : [])].join(", ");
}
