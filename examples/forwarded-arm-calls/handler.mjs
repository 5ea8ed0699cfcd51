/** The VMM's side: two functions of a vendor, in a range that it has asked for. PSCI and SDEI are `builtin:` handlers. */
const ECHO = 0xc6000001;
const SUM = 0xc6000002;

/** @type {import("hvjournal/handler").Handler} */
export default function answerVendorCalls(call, vm) {
  switch (call.nr) {
    case ECHO:
      return { x0: 0, x1: call.args[1], x2: call.conduit === "smc" ? 1 : 0, x3: BigInt(call.vcpu) };
    case SUM:
      return call.args.slice(1).reduce((sum, value) => sum + value, 0n);
    default:
      return vm.notHandled;
  }
}
