/**
 * Hyper-V's calls as KVM answers them: arch/x86/kvm/hyperv.c, kvm_hv_hypercall. The input value says what is called; its
 * parameters are in registers (fast), or in guest memory.
 */
import { elementOf } from "@hvjournal/engine";
import { CAP_HYPERV_ENFORCE_CPUID } from "../capabilities.js";
import { isSwitchedOn } from "../control/control-state.js";
import { hypervOffer } from "../cpuid.js";
import { Delivery } from "../irqchip/apic-registers.js";
import { isInRam } from "../paravirtual.js";
import { Register, xmm } from "../../isa/state.js";
import type { Vm } from "../vm.js";
import { Feature, HypercallPrivilege, Recommendation } from "./features.js";
import { tellsOfSpinning } from "./leaves.js";
import { hasSynic } from "./msrs.js";

export const HvStatus = {
  SUCCESS: 0,
  INVALID_HYPERCALL_CODE: 2,
  INVALID_HYPERCALL_INPUT: 3,
  INVALID_ALIGNMENT: 4,
  INVALID_PARAMETER: 5,
  ACCESS_DENIED: 6,
  OPERATION_DENIED: 8,
  INVALID_PORT_ID: 0x11,
  INVALID_CONNECTION_ID: 0x12,
} as const;

export const HvCall = {
  FLUSH_VIRTUAL_ADDRESS_SPACE: 0x0002,
  FLUSH_VIRTUAL_ADDRESS_LIST: 0x0003,
  NOTIFY_LONG_SPIN_WAIT: 0x0008,
  SEND_IPI: 0x000b,
  FLUSH_VIRTUAL_ADDRESS_SPACE_EX: 0x0013,
  FLUSH_VIRTUAL_ADDRESS_LIST_EX: 0x0014,
  SEND_IPI_EX: 0x0015,
  POST_MESSAGE: 0x005c,
  SIGNAL_EVENT: 0x005d,
  POST_DEBUG_DATA: 0x0069,
  RETRIEVE_DEBUG_DATA: 0x006a,
  RESET_DEBUG_SESSION: 0x006b,
} as const;

const EXTENDED_FIRST = 0x8001;
const EXTENDED_LAST = 0x8041;
/** Bits 63 to 60, 47 to 44 and 31 to 27. */
const RESERVED = 0xf000_f000_f800_0000n;
const REPS_SHIFT = 32n;
const XMM_CALLS: ReadonlySet<number> = new Set([0x0002, 0x0003, 0x0013, 0x0014, 0x0015]);
const XMM_REGISTERS = 6;

/** The parts of an input value, and the parameters beside it. */
export interface HypervInput {
  readonly value: bigint;
  readonly code: number;
  readonly isFast: boolean;
  readonly variableHeader: number;
  readonly repCount: number;
  readonly repStart: number;
  /** Address of the input block, or the first parameter; address of the output block, or the second one. */
  readonly input: bigint;
  readonly output: bigint;
}

/** RCX, RDX, R8 in 64-bit mode; else EDX:EAX, EBX:ECX, EDI:ESI. */
export function readInput({ states }: Vm): HypervInput {
  const pair = (high: number, low: number): bigint =>
    (BigInt(states.readGeneral32(high)) << 32n) | BigInt(states.readGeneral32(low));
  const [value, input, output] = states.isLongMode
    ? [states.readGeneral(Register.rcx), states.readGeneral(Register.rdx), states.readGeneral(8)]
    : [pair(Register.rdx, Register.rax), pair(Register.rbx, Register.rcx), pair(Register.rdi, Register.rsi)];
  return {
    ...{ value, input, output },
    code: Number(value & 0xffffn),
    isFast: ((value >> 16n) & 1n) === 1n,
    variableHeader: Number((value >> 17n) & 0x3ffn),
    repCount: Number((value >> 32n) & 0xfffn),
    repStart: Number((value >> 48n) & 0xfffn),
  };
}

/** What becomes of a call: its result, #UD, or the VMM's answer. */
export type HypervOutcome =
  { readonly result: bigint; /** An eventfd. */ readonly signals?: number } | "undefined" | "userspace";

function status(code: number): HypervOutcome {
  return { result: BigInt(code) };
}

function repsDone({ repCount }: HypervInput): HypervOutcome {
  return { result: BigInt(repCount) << REPS_SHIFT };
}

/** Whether CPUID offers a call; unknown ones pass. */
function isOffered(vm: Vm, code: number): boolean {
  const offer = hypervOffer(vm, vm.current);
  if (offer === undefined) return false;
  const { privilegesHigh, recommendations } = offer;
  const recommends = (bits: number): boolean => (recommendations & bits) === bits;
  switch (code) {
    case HvCall.NOTIFY_LONG_SPIN_WAIT:
      return tellsOfSpinning(offer);
    case HvCall.POST_MESSAGE:
      return (privilegesHigh & HypercallPrivilege.postMessages) !== 0;
    case HvCall.SIGNAL_EVENT:
      return (privilegesHigh & HypercallPrivilege.signalEvents) !== 0;
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
      return !isExtended(code) || (privilegesHigh & HypercallPrivilege.extended) !== 0;
  }
}

export function isExtended(code: number): boolean {
  return code >= EXTENDED_FIRST && code <= EXTENDED_LAST;
}

/** Decides a call in KVM's order; has no effect beside what the call itself is for. */
export function decideCall(vm: Vm, call: HypervInput): HypervOutcome {
  const isEnforced = isSwitchedOn(vm.control, CAP_HYPERV_ENFORCE_CPUID, vm.current);
  if (vm.states.cpl !== 0 || !vm.states.isProtected) return "undefined";
  if (isEnforced && !isOffered(vm, call.code)) return status(HvStatus.ACCESS_DENIED);
  if ((call.value & RESERVED) !== 0n) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  const hasXmmInput = ((hypervOffer(vm, vm.current)?.features ?? 0) & Feature.xmmInput) !== 0;
  if (call.isFast && XMM_CALLS.has(call.code) && isEnforced && !hasXmmInput) return "undefined";
  return decideByCode(vm, call);
}

function decideByCode(vm: Vm, call: HypervInput): HypervOutcome {
  const { code } = call;
  const isSimple = call.repCount === 0 && call.repStart === 0;
  const hasHeader = call.variableHeader !== 0;
  switch (code) {
    case HvCall.NOTIFY_LONG_SPIN_WAIT:
      return isSimple && !hasHeader ? status(HvStatus.SUCCESS) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.POST_MESSAGE:
    case HvCall.SIGNAL_EVENT:
      return isSimple && !hasHeader && hasSynic(vm) ? signalEvent(vm, call) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE:
      return isSimple && !hasHeader ? status(HvStatus.SUCCESS) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.FLUSH_VIRTUAL_ADDRESS_LIST:
      return isList(call) && !hasHeader ? repsDone(call) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.FLUSH_VIRTUAL_ADDRESS_SPACE_EX:
      return isSimple ? flushEx(vm, call) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.FLUSH_VIRTUAL_ADDRESS_LIST_EX:
      return isList(call) ? flushEx(vm, call) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.SEND_IPI:
      return isSimple && !hasHeader ? sendIpi(vm, call) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.SEND_IPI_EX:
      return isSimple ? sendIpiEx(vm, call) : status(HvStatus.INVALID_HYPERCALL_INPUT);
    case HvCall.POST_DEBUG_DATA:
    case HvCall.RETRIEVE_DEBUG_DATA:
      return status(call.isFast ? HvStatus.INVALID_PARAMETER : HvStatus.INVALID_HYPERCALL_CODE);
    default:
      if (!isExtended(code)) return status(HvStatus.INVALID_HYPERCALL_CODE);
      return call.isFast ? status(HvStatus.INVALID_PARAMETER) : "userspace";
  }
}

function isList({ repCount, repStart }: HypervInput): boolean {
  return repCount > 0 && repStart === 0;
}

/** Connections are the VMM's, but for those of KVM_HYPERV_EVENTFD; KVM looks at the parameter before it hands it over. */
function signalEvent(vm: Vm, call: HypervInput): HypervOutcome {
  if (call.code !== HvCall.SIGNAL_EVENT) return "userspace";
  const parameter = call.isFast ? call.input : readWord(vm, call.input);
  if (parameter === undefined) return status(HvStatus.INVALID_ALIGNMENT);
  // Flag numbers other than 0 are the VMM's to look at.
  if (((parameter >> 32n) & 0xffffn) === 0n && (parameter & ~0xff_ffffn) !== 0n)
    return status(HvStatus.INVALID_HYPERCALL_INPUT);
  const assigned = vm.control.hypervEventfds?.find(({ connectionId }) => BigInt(connectionId) === parameter);
  return assigned === undefined ? "userspace" : { result: BigInt(HvStatus.SUCCESS), signals: assigned.fd };
}

/** Eight bytes that are aligned; undefined: they are not, or there is no RAM. */
function readWord(vm: Vm, address: bigint): bigint | undefined {
  const { memory } = vm.engine;
  if ((address & 7n) !== 0n || !isInRam(memory, address, 8)) return undefined;
  const { buffer, byteOffset } = memory.read(Number(address), 8);
  return new DataView(buffer, byteOffset).getBigUint64(0, true);
}

/** 64-bit words of the input from its first on, wherever they are: registers, XMM registers, memory. undefined: no RAM. */
function inputWords(vm: Vm, call: HypervInput, count: number): bigint[] | undefined {
  const words: bigint[] = [];
  for (let index = 0; index < count; index++) {
    const word = call.isFast ? fastWord(vm, call, index) : readWord(vm, call.input + BigInt(8 * index));
    if (word === undefined) return undefined;
    words.push(word);
  }
  return words;
}

function fastWord(vm: Vm, { input, output }: HypervInput, index: number): bigint | undefined {
  if (index < 2) return index === 0 ? input : output;
  const register = (index - 2) >> 1;
  if (register >= XMM_REGISTERS) return undefined;
  const value = vm.engine.readField(elementOf(xmm, register));
  return (index & 1) === 0 ? BigInt.asUintN(64, value) : value >> 64n;
}

/** TLBs never show: what is left of a flush is its checks. */
function flushEx(vm: Vm, call: HypervInput): HypervOutcome {
  const words = inputWords(vm, call, 4);
  if (words === undefined) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  const [, , format = 0n, mask = 0n] = words;
  if (format === 0n && countBits(mask) !== call.variableHeader) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  return repsDone(call);
}

function countBits(mask: bigint): number {
  return mask.toString(2).replaceAll("0", "").length;
}

const LOWEST_VECTOR = 0x10n;
const HIGHEST_VECTOR = 0xffn;
const U32 = 0xffff_ffffn;

function sendIpi(vm: Vm, call: HypervInput): HypervOutcome {
  const words = inputWords(vm, call, 2);
  if (words === undefined) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  const [first = 0n, mask = 0n] = words;
  if (call.isFast && first >> 32n !== 0n) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  return interruptAll(vm, first & U32, (vcpu) => vcpu < 64 && ((mask >> BigInt(vcpu)) & 1n) === 1n);
}

/** A set of processors by banks of 64, of which only those in the mask are there; or all of them. */
function sendIpiEx(vm: Vm, call: HypervInput): HypervOutcome {
  const head = inputWords(vm, call, 3);
  if (head === undefined) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  const [vector = 0n, format = 0n, mask = 0n] = head;
  if (format !== 0n) return interruptAll(vm, vector & U32, () => true);
  const banks = countBits(mask);
  if (banks !== call.variableHeader) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  if (banks === 0) return status(HvStatus.SUCCESS);
  const words = inputWords(vm, call, 3 + banks)?.slice(3);
  if (words === undefined) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  return interruptAll(vm, vector & U32, (vcpu) => isInBanks(mask, words, vcpu));
}

function isInBanks(mask: bigint, banks: readonly bigint[], vcpu: number): boolean {
  const bank = BigInt(vcpu >> 6);
  if (((mask >> bank) & 1n) === 0n) return false;
  const at = countBits(mask & ((1n << bank) - 1n));
  return (((banks[at] ?? 0n) >> BigInt(vcpu & 63)) & 1n) === 1n;
}

function interruptAll(vm: Vm, vector: bigint, isTarget: (vcpu: number) => boolean): HypervOutcome {
  if (vector < LOWEST_VECTOR || vector > HIGHEST_VECTOR) return status(HvStatus.INVALID_HYPERCALL_INPUT);
  for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++) {
    if (isTarget(vcpu))
      vm.irqchip.send({
        ...{ vector: Number(vector), delivery: Delivery.fixed },
        ...{ isLogical: false, destination: vcpu, isWide: true },
      });
  }
  return status(HvStatus.SUCCESS);
}
