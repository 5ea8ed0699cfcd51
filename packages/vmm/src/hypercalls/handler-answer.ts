/** From a handler's answer to registers. */
import { CALL_REGISTERS } from "./hypercall-call.js";

/** The answer makes no sense; the message says which part of it. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

const REGISTER_BITS = 64;
const SMALLEST = -(1n << 63n);
const LARGEST = (1n << 64n) - 1n;
const FORMS = "undefined, a number for x0, a list from x0 on, registers by name, or vm.notHandled";

type RegisterWrite = readonly [name: string, value: bigint];

/** Everything is checked before anything is written. Throws AnswerError. */
export function registersOf(answer: unknown): RegisterWrite[] {
  if (answer === undefined) return [];
  if (typeof answer === "bigint" || typeof answer === "number") return [["x0", registerValue("x0", answer)]];
  if (Array.isArray(answer)) return listedRegisters(answer);
  if (typeof answer !== "object" || answer === null) throw new AnswerError(`it answered ${shown(answer)}: ${FORMS}`);
  return Object.entries(answer).map(([name, value]: [string, unknown]) => {
    if (CALL_REGISTERS.includes(name)) return [name, registerValue(name, value)];
    throw new AnswerError(
      `it answered a register ${name}: a call returns in x0 to x17; vm.vcpu(n).setOneReg sets others`,
    );
  });
}

function listedRegisters(values: readonly unknown[]): RegisterWrite[] {
  if (values.length > CALL_REGISTERS.length)
    throw new AnswerError(`it answered ${values.length} registers: a call returns in x0 to x17`);
  const writes: RegisterWrite[] = [];
  // By index, because a hole is a wrong value too.
  for (let index = 0; index < values.length; index++) {
    const name = CALL_REGISTERS[index] ?? "";
    writes.push([name, registerValue(name, values[index])]);
  }
  return writes;
}

function registerValue(name: string, value: unknown): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value))
    throw new AnswerError(`it answered ${name} = ${value}: no whole number up to 2^53 - 1; beyond it, write a bigint`);
  if (typeof value !== "number" && typeof value !== "bigint")
    throw new AnswerError(`it answered ${name} = ${shown(value)}: a number or bigint was expected`);
  const whole = BigInt(value);
  if (whole < SMALLEST || whole > LARGEST)
    throw new AnswerError(`it answered ${name} = ${whole}: does not fit into ${REGISTER_BITS} bits`);
  return BigInt.asUintN(REGISTER_BITS, whole);
}

function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return typeof value === "function" ? "a function" : String(value);
}
