/**
 * A VMM from before there was output in XMM registers. It knows hypercalls as exits of type 2, and what it implements of them it
 * answers: that the values belong into registers which its struct did not have, it can't know.
 */
const GET_VP_REGISTERS = 0x50;
const SUCCESS = 0;

/** @type {import("hvjournal/handler").X86Handler} */
export default function answerAsEver(call, vm) {
  if (call.type !== "hv-call" || call.code !== GET_VP_REGISTERS) return vm.notHandled;
  return { status: SUCCESS, repsCompleted: call.repCount };
}
