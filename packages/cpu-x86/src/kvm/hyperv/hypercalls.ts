/**
 * Hyper-V's calls as KVM answers them: arch/x86/kvm/hyperv.c, kvm_hv_hypercall. The input value says what is called; its
 * parameters are in registers (fast), or in guest memory.
 */
import { highWord, lowWord } from "@hvjournal/core";
import { CAP_HYPERV_ENFORCE_CPUID } from "../capabilities.js";
import { isSwitchedOn, policyValue } from "../control/control-state.js";
import { hypervOffer } from "../cpuid.js";
import { Delivery } from "../irqchip/apic-registers.js";
import { signalEventfd } from "../gsi.js";
import type { Vm } from "../vm.js";
import { HvCall } from "./call-codes.js";
import { callExtended, kernelMask } from "./extended-calls.js";
import { extendedBit, isExtended } from "./extended-call-mask.js";
import { Feature, HypercallPrivilege, Recommendation } from "./features.js";
import { type HypervInput, inputWords, memoryWord } from "./hypercall-input.js";
import { hasSynic } from "./msrs.js";
import { type HypervOffer, tellsOfSpinning } from "./leaves.js";
import { HvStatus } from "./status.js";
import { fitsRegisters, hasXmmOutput, knowsXmmOutput } from "./xmm-output.js";

/** Bits 63 to 60, 47 to 44 and 31 to 27. */
const RESERVED = { low: 0xf800_0000, high: 0xf000_f000 } as const;
const REPS_SHIFT = 32n;
/** Fast input of these may be in XMM registers. */
const XMM_CALLS: ReadonlySet<number> = new Set([
  ...[HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE, HvCall.FLUSH_VIRTUAL_ADDRESS_LIST],
  ...[HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE_EX, HvCall.FLUSH_VIRTUAL_ADDRESS_LIST_EX, HvCall.SEND_IPI_EX],
]);
/** More addresses than this are flushed as all of them, unread (KVM_HV_TLB_FLUSH_FIFO_SIZE). */
const FLUSH_ENTRIES_MAX = 15;
/** HV_X64_SYNDBG_OPTION_USE_HCALLS. */
const DEBUG_BY_CALLS = 4n;

/**
 * What becomes of a call: its result; something that is done when the exit is finished, which gives the result, or undefined
 * where the call is made again; #UD; or the VMM's answer, asked with this first parameter.
 */
export type HypervOutcome =
  | { readonly result: bigint }
  | { readonly act: () => bigint | undefined }
  | "undefined"
  | { readonly userspace: HypervInput };

function status(code: number): HypervOutcome {
  return { result: BigInt(code) };
}

function repsDone({ repCount }: HypervInput): HypervOutcome {
  return { result: BigInt(repCount) << REPS_SHIFT };
}

const wrongInput: HypervOutcome = status(HvStatus.INVALID_HYPERCALL_INPUT);

/** Whether CPUID offers a call; unknown ones pass. */
function isOffered(offer: HypervOffer, code: number): boolean {
  const { privilegesHigh, recommendations } = offer;
  const recommends = (bits: number): boolean => (recommendations & bits) === bits;
  const allows = (bits: number): boolean => (privilegesHigh & bits) !== 0;
  switch (code) {
    case HvCall.NOTIFY_LONG_SPIN_WAIT:
      return tellsOfSpinning(offer);
    case HvCall.POST_MESSAGE:
      return allows(HypercallPrivilege.postMessages);
    case HvCall.SIGNAL_EVENT:
      return allows(HypercallPrivilege.signalEvents);
    case HvCall.POST_DEBUG_DATA:
    case HvCall.RETRIEVE_DEBUG_DATA:
    case HvCall.RESET_DEBUG_SESSION:
      return !offer.allowsDebugging || allows(HypercallPrivilege.debugging);
    case HvCall.FLUSH_VIRTUAL_ADDRESS_LIST:
    case HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE:
      return recommends(Recommendation.remoteFlush);
    case HvCall.FLUSH_VIRTUAL_ADDRESS_LIST_EX:
    case HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE_EX:
      return recommends(Recommendation.remoteFlush | Recommendation.extendedMasks);
    case HvCall.SEND_IPI:
      return recommends(Recommendation.clusterIpi);
    case HvCall.SEND_IPI_EX:
      return recommends(Recommendation.clusterIpi | Recommendation.extendedMasks);
    default:
      return !isExtended(code) || allows(HypercallPrivilege.extended);
  }
}

/** Decides a call in KVM's order, and does nothing yet. */
export function decideCall(vm: Vm, call: HypervInput): HypervOutcome {
  const isEnforced = isSwitchedOn(vm.control, CAP_HYPERV_ENFORCE_CPUID, vm.current);
  if (vm.states.cpl !== 0 || !vm.states.isProtected) return "undefined";
  const offer = hypervOffer(vm, vm.current);
  if (offer === undefined) return "undefined";
  if (isEnforced && !isOffered(offer, call.code)) return status(HvStatus.ACCESS_DENIED);
  if (((lowWord(call.value) & RESERVED.low) | (highWord(call.value) & RESERVED.high)) !== 0) return wrongInput;
  const lacks = (feature: number): boolean => (offer.features & feature) === 0;
  if (call.isFast && XMM_CALLS.has(call.code) && isEnforced && lacks(Feature.xmmInput)) return "undefined";
  if (hasXmmOutput(call.code) && knowsXmmOutput(vm.control)) {
    const isThere = vm.states.isLongMode && !lacks(Feature.xmmOutput);
    return decideXmmOutput(call, isThere, isEnforced);
  }
  return decideByCode(vm, call, offer);
}

/** The slow form is a call as others. A guest outside 64-bit mode has no such registers. */
function decideXmmOutput(call: HypervInput, isThere: boolean, isEnforced: boolean): HypervOutcome {
  if (!call.isFast) return { userspace: call };
  if (!isThere) return isEnforced ? "undefined" : status(HvStatus.INVALID_HYPERCALL_CODE);
  return fitsRegisters(call) ? { userspace: call } : wrongInput;
}

function decideByCode(vm: Vm, call: HypervInput, { allowsDebugging }: HypervOffer): HypervOutcome {
  const { code } = call;
  const isSimple = call.repCount === 0 && call.repStart === 0;
  const hasHeader = call.variableHeader !== 0;
  switch (code) {
    case HvCall.NOTIFY_LONG_SPIN_WAIT:
      return isSimple && !hasHeader ? yieldSlice(vm) : wrongInput;
    case HvCall.POST_MESSAGE:
      return isSimple && !hasHeader && hasSynic(vm) ? { userspace: call } : wrongInput;
    case HvCall.SIGNAL_EVENT:
      return isSimple && !hasHeader ? signalEvent(vm, call) : wrongInput;
    case HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE:
      return isSimple && !hasHeader ? flush(vm, call) : wrongInput;
    case HvCall.FLUSH_VIRTUAL_ADDRESS_LIST:
      return isList(call) && !hasHeader ? flush(vm, call) : wrongInput;
    case HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE_EX:
      return isSimple ? flushEx(vm, call) : wrongInput;
    case HvCall.FLUSH_VIRTUAL_ADDRESS_LIST_EX:
      return isList(call) ? flushEx(vm, call) : wrongInput;
    case HvCall.SEND_IPI:
      return isSimple && !hasHeader ? sendIpi(vm, call) : wrongInput;
    case HvCall.SEND_IPI_EX:
      return isSimple ? sendIpiEx(vm, call) : wrongInput;
    case HvCall.POST_DEBUG_DATA:
    case HvCall.RETRIEVE_DEBUG_DATA:
      return call.isFast ? status(HvStatus.INVALID_PARAMETER) : debug(vm, call, allowsDebugging);
    case HvCall.RESET_DEBUG_SESSION:
      return debug(vm, call, allowsDebugging);
    default:
      return isExtended(code) ? extended(vm, call) : status(HvStatus.INVALID_HYPERCALL_CODE);
  }
}

function isList({ repCount, repStart }: HypervInput): boolean {
  return repCount > 0 && repStart === 0;
}

function yieldSlice(vm: Vm): HypervOutcome {
  return {
    act() {
      vm.schedule.endSlice();
      return BigInt(HvStatus.SUCCESS);
    },
  };
}

function extended(vm: Vm, call: HypervInput): HypervOutcome {
  if (policyValue(vm.control, "hv.ext.route") === "off") return status(HvStatus.INVALID_HYPERCALL_CODE);
  if (call.isFast) return status(HvStatus.INVALID_PARAMETER);
  const mask = kernelMask(vm);
  const isKernels = mask !== 0n && (mask & extendedBit(call.code)) !== 0n;
  return isKernels ? { act: () => callExtended(vm, call) } : { userspace: call };
}

function debug(vm: Vm, call: HypervInput, isAllowed: boolean): HypervOutcome {
  if (!isAllowed) return status(HvStatus.INVALID_HYPERCALL_CODE);
  const byCalls = (vm.hyperv.vm.debugOptions & DEBUG_BY_CALLS) !== 0n;
  return byCalls ? { userspace: call } : status(HvStatus.OPERATION_DENIED);
}

function signal(vm: Vm, eventfd: number): bigint {
  signalEventfd(vm, eventfd);
  return BigInt(HvStatus.SUCCESS);
}

/**
 * Connections are the VMM's, but for those of KVM_HYPERV_EVENTFD; KVM looks at the parameter before it hands it over, and hands
 * it over in the place of its address.
 */
function signalEvent(vm: Vm, call: HypervInput): HypervOutcome {
  const input = call.isFast ? call.input : alignedWord(vm, call.input);
  if (input === undefined) return status(HvStatus.INVALID_ALIGNMENT);
  // Flag numbers other than 0 are the VMM's to look at.
  if (((input >> 32n) & 0xffffn) === 0n && (input & ~0xff_ffffn) !== 0n) return wrongInput;
  const eventfd = vm.control.hypervEventfds?.find(({ connectionId }) => BigInt(connectionId) === input)?.fd;
  if (eventfd !== undefined) return { act: () => signal(vm, eventfd) };
  return hasSynic(vm) ? { userspace: { ...call, input } } : wrongInput;
}

/** Eight bytes that are aligned; undefined: they are not, or there is no RAM. */
function alignedWord(vm: Vm, address: bigint): bigint | undefined {
  return (address & 7n) === 0n ? memoryWord(vm.engine.memory, address) : undefined;
}

/** TLBs never show: what is left of a flush is its checks. Address space, flags, processors; addresses. */
function flush(vm: Vm, call: HypervInput): HypervOutcome {
  const words = inputWords(vm, call, 3 + addressesRead(call));
  return words === undefined ? wrongInput : repsDone(call);
}

function addressesRead({ repCount }: HypervInput): number {
  return repCount > FLUSH_ENTRIES_MAX ? 0 : repCount;
}

/** Address space, flags, format, mask of banks; banks; addresses. */
function flushEx(vm: Vm, call: HypervInput): HypervOutcome {
  const words = inputWords(vm, call, 4);
  if (words === undefined) return wrongInput;
  const [, , format = 0n, mask = 0n] = words;
  const banks = countBits(mask);
  if (banks !== call.variableHeader) return wrongInput;
  if (format === 0n && banks === 0) return repsDone(call);
  const all = inputWords(vm, call, 4 + banks + addressesRead(call));
  return all === undefined ? wrongInput : repsDone(call);
}

function countBits(mask: bigint): number {
  return mask.toString(2).replaceAll("0", "").length;
}

const LOWEST_VECTOR = 0x10n;
const HIGHEST_VECTOR = 0xffn;
const U32 = 0xffff_ffffn;

function sendIpi(vm: Vm, call: HypervInput): HypervOutcome {
  const words = inputWords(vm, call, 2);
  if (words === undefined) return wrongInput;
  const [first = 0n, mask = 0n] = words;
  if (call.isFast && first >> 32n !== 0n) return wrongInput;
  return interruptAll(vm, first & U32, (index) => index < 64 && ((mask >> BigInt(index)) & 1n) === 1n);
}

/** A set of processors by banks of 64, of which only those in the mask are there; or all of them. */
function sendIpiEx(vm: Vm, call: HypervInput): HypervOutcome {
  const head = inputWords(vm, call, 3);
  if (head === undefined) return wrongInput;
  const [vector = 0n, format = 0n, mask = 0n] = head;
  const banks = countBits(mask);
  if (banks !== call.variableHeader) return wrongInput;
  if (format !== 0n) return interruptAll(vm, vector & U32, () => true);
  if (banks === 0) return status(HvStatus.SUCCESS);
  const words = inputWords(vm, call, 3 + banks)?.slice(3);
  if (words === undefined) return wrongInput;
  return interruptAll(vm, vector & U32, (index) => isInBanks(mask, words, index));
}

function isInBanks(mask: bigint, banks: readonly bigint[], index: number): boolean {
  const bank = BigInt(index >> 6);
  if (((mask >> bank) & 1n) === 0n) return false;
  const at = countBits(mask & ((1n << bank) - 1n));
  return (((banks[at] ?? 0n) >> BigInt(index & 63)) & 1n) === 1n;
}

/** Targets are VP indices, not APIC ids. */
function interruptAll(vm: Vm, vector: bigint, isTarget: (vpIndex: number) => boolean): HypervOutcome {
  if (vector < LOWEST_VECTOR || vector > HIGHEST_VECTOR) return wrongInput;
  return {
    act() {
      for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++) {
        if (isTarget(vm.hyperv.vpIndexOf(vcpu)))
          vm.irqchip.send({
            ...{ vector: Number(vector), delivery: Delivery.fixed },
            ...{ isLogical: false, destination: vcpu, isWide: true },
          });
      }
      return BigInt(HvStatus.SUCCESS);
    },
  };
}
