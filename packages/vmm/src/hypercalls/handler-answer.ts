/** From a handler's answer to registers. */
import { AnswerError, answeredValue, shownAnswer } from "./answer-error.js";
import { CALL_REGISTERS } from "./hypercall-call.js";

const FORMS = "undefined, a number for x0, a list from x0 on, registers by name, or vm.notHandled";

type RegisterWrite = readonly [name: string, value: bigint];

/** Everything is checked before anything is written. Throws AnswerError. */
export function registersOf(answer: unknown): RegisterWrite[] {
  if (answer === undefined) return [];
  if (typeof answer === "bigint" || typeof answer === "number") return [["x0", answeredValue("x0", answer)]];
  if (Array.isArray(answer)) return listedRegisters(answer);
  if (typeof answer !== "object" || answer === null)
    throw new AnswerError(`it answered ${shownAnswer(answer)}: ${FORMS}`);
  return Object.entries(answer).map(([name, value]: [string, unknown]) => {
    if (CALL_REGISTERS.includes(name)) return [name, answeredValue(name, value)];
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
    writes.push([name, answeredValue(name, values[index])]);
  }
  return writes;
}
