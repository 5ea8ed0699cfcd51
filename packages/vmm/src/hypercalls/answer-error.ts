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
  if (whole < -(1n << BigInt(bits - 1)) || whole >= 1n << BigInt(bits))
    throw new AnswerError(`it answered ${name} = ${whole}: does not fit into ${bits} bits`);
  return BigInt.asUintN(bits, whole);
}

export function shownAnswer(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "function" ? "a function" : String(value);
}
