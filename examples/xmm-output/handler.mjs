/** A VMM that knows of output in XMM registers: it looks at whether an exit carries them, and gives back what was asked for. */
const GET_VP_REGISTERS = 0x50;
const HV_REGISTER_GUEST_OS_ID = 0x00090002n;
const HV_REGISTER_VP_INDEX = 0x00090003n;
const MSR_GUEST_OS_ID = 0x40000000;
const SUCCESS = 0;
const INVALID_PARAMETER = 5;
/** 24 bytes of input take two registers of the block whole: RDX and R8, and XMM0. Output begins with the one behind. */
const FIRST_OUTPUT = 1;

/** @type {import("hvjournal/handler").X86Handler} */
export default function answerVpRegisters(call, vm) {
  const isCall = call.type === "hv-call" || call.type === "hv-call-xmm";
  if (!isCall || call.code !== GET_VP_REGISTERS || call.xmm === undefined) return vm.notHandled;
  const [{ low: names }] = call.xmm;
  const xmm = [];
  for (let rep = call.repStart; rep < call.repCount; rep++) {
    const value = registerValue((names >> BigInt(32 * rep)) & 0xffffffffn, call, vm);
    if (value === undefined) return { status: INVALID_PARAMETER, repsCompleted: rep, xmm };
    xmm[FIRST_OUTPUT + rep] = { low: value, high: 0n };
  }
  return { status: SUCCESS, repsCompleted: call.repCount, xmm };
}

function registerValue(name, { vcpu }, vm) {
  if (name === HV_REGISTER_GUEST_OS_ID) return vm.vcpu(vcpu).getMsr(MSR_GUEST_OS_ID);
  return name === HV_REGISTER_VP_INDEX ? BigInt(vcpu) : undefined;
}
