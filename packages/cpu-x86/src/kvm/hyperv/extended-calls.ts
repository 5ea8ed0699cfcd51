/**
 * Extended calls that the kernel answers, of those that `hv.ext.kernelMask` names. Not upstream, where all are the VMM's: after
 * the proposal of October 2022 and its discussion. TLFS, "HvExtCallQueryCapabilities", "HvExtCallMemoryHeatHint".
 */
import { policyValue } from "../control/control-state.js";
import { isInRam } from "../paravirtual.js";
import type { Vm } from "../vm.js";
import { extendedBit, EXTENDED_FIRST, MEMORY_HEAT_HINT, QUERY_CAPABILITIES } from "./extended-call-mask.js";
import { type HypervInput, restartAt } from "./hypercall-input.js";
import { HvStatus } from "./status.js";

/** Of the header of a heat hint: the page may be given up, for it will not be read soon. */
const COLD_DISCARD = 2n;
/** Elements of one go; what is left is another exit, so that a vCPU is not kept for long. */
const ELEMENTS_OF_A_GO = 64;
const WORD_BYTES = 8;
/** Linux looks here for whether it may give cold hints (HV_EXT_CAPABILITY_MEMORY_COLD_DISCARD_HINT). */
const COLD_DISCARD_CAPABILITY = 1n << 8n;
const REPS_SHIFT = 32n;

export function kernelMask({ control }: Pick<Vm, "control">): bigint {
  return policyValue(control, "hv.ext.route") === "mask" ? BigInt(policyValue(control, "hv.ext.kernelMask")) : 0n;
}

/** Its result; undefined: it is to be made again with what is left of its elements. */
export function callExtended(vm: Vm, call: HypervInput): bigint | undefined {
  if (call.code === QUERY_CAPABILITIES) return queryCapabilities(vm, call);
  if (call.code === MEMORY_HEAT_HINT) return takeHints(vm, call);
  return BigInt(HvStatus.INVALID_HYPERCALL_CODE);
}

/** Bit n of what is told is call 0x8002 + n. */
function queryCapabilities(vm: Vm, { output }: HypervInput): bigint {
  const { memory } = vm.engine;
  if ((output & 7n) !== 0n) return BigInt(HvStatus.INVALID_ALIGNMENT);
  if (!isInRam(memory, output, WORD_BYTES)) return BigInt(HvStatus.OPERATION_DENIED);
  const mask = kernelMask(vm);
  const cold = (mask & extendedBit(MEMORY_HEAT_HINT)) === 0n ? 0n : COLD_DISCARD_CAPABILITY;
  const view = new DataView(new ArrayBuffer(WORD_BYTES));
  view.setBigUint64(0, (mask >> BigInt(QUERY_CAPABILITIES + 1 - EXTENDED_FIRST)) | cold, true);
  memory.write(Number(output), new Uint8Array(view.buffer));
  return BigInt(HvStatus.SUCCESS);
}

/** A hint changes no memory: what a guest has given up it may not read before it has written it. */
function takeHints(vm: Vm, call: HypervInput): bigint | undefined {
  const { input, repCount, repStart } = call;
  if (repCount === 0 || repStart >= repCount) return BigInt(HvStatus.INVALID_HYPERCALL_INPUT);
  const bytes = WORD_BYTES * (1 + repCount);
  if ((input & 7n) !== 0n || (input & 0xfffn) + BigInt(bytes) > 0x1000n) return BigInt(HvStatus.INVALID_ALIGNMENT);
  if (!isInRam(vm.engine.memory, input, bytes)) return BigInt(HvStatus.INVALID_PARAMETER);
  const head = vm.engine.memory.read(Number(input), WORD_BYTES);
  const header = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  if (header !== COLD_DISCARD) return BigInt(HvStatus.INVALID_PARAMETER);
  const end = Math.min(repCount, repStart + ELEMENTS_OF_A_GO);
  if (end < repCount) {
    restartAt(vm, call, end);
    return undefined;
  }
  return BigInt(repCount) << REPS_SHIFT;
}
