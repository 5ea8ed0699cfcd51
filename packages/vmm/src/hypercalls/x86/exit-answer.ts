/** From a handler's answer to what the VMM gives back in kvm_run. */
import { highWord, lowWord, type VmmPort } from "@hvjournal/core";
import { HvStatus, MSR_ERROR, outputRegister } from "@hvjournal/cpu-x86";
import { AnswerError, answeredValue, shownAnswer } from "../answer-error.js";
import type { AnswerEffect } from "../handler-chain.js";
import type { HvCall, IoAccess, MmioAccess, VmportCall, WrmsrCall, X86Call, XmmValue } from "./exit-call.js";

const STATUS_BITS = 16;
const REPS_BITS = 12;
const REPS_SHIFT = 32n;
/** What a command of the VMware backdoor may give back. */
const VMPORT_OUTPUTS = ["eax", "ebx", "ecx", "edx", "esi", "edi"] as const;

/** 64 bits; negative numbers stand for their two's complement. */
export type AnsweredValue = bigint | number;

/** What a hypercall comes to. */
export interface HvAnswer {
  readonly status: number;
  /** Of a rep call: counted from its first element, whatever its start index. */
  readonly repsCompleted?: number;
  /** XMM0 to XMM5 on success, of an exit that carries them; those that are left out stay. */
  readonly xmm?: readonly (XmmValue | undefined)[];
}

export interface MsrAnswer {
  readonly data?: AnsweredValue;
  /** Not 0: the guest gets #GP. */
  readonly error?: 0 | 1;
}

/** What a command of the VMware backdoor leaves in registers; those that are left out stay. */
export type VmportAnswer = { readonly [register in (typeof VMPORT_OUTPUTS)[number]]?: AnsweredValue };

/**
 * undefined: what kvm_run holds when the guest leaves, so 2 (INVALID_HYPERCALL_CODE) of a hypercall, 0 of a call of KVM's or Xen's,
 * data 0 of RDMSR, a WRMSR that succeeds, and EAX as it was of the backdoor.
 */
export type X86Answer = void | undefined | AnsweredValue | HvAnswer | MsrAnswer | VmportAnswer;

function complete(port: VmmPort, value: bigint): void {
  port.complete(lowWord(value), highWord(value));
}

/** Throws AnswerError for one that makes no sense for the call. */
export function x86Effect(call: X86Call, answer: unknown): AnswerEffect {
  switch (call.type) {
    case "hv-call":
    case "hv-call-xmm":
      return hvEffect(call, answer);
    case "hv-synic":
    case "eventfd":
      if (answer !== undefined) throw wrongForm(answer, "it is told, and gives nothing back");
      return () => undefined;
    case "hv-syndbg":
      return valueEffect("status", answer ?? call.status);
    case "kvm-call":
      return raxEffect("ret", answer);
    case "xen-call":
      return raxEffect("result", answer);
    case "rdmsr":
      return rdmsrEffect(call.vcpu, answer);
    case "wrmsr":
      return wrmsrEffect(call, answer);
    case "vmport":
      return vmportEffect(call, answer);
    case "io":
    case "mmio":
      return accessEffect(call, answer);
    default:
      return call satisfies never;
  }
}

function wrongForm(answer: unknown, forms: string): AnswerError {
  return new AnswerError(`it answered ${shownAnswer(answer)}: ${forms}`);
}

function isValue(answer: unknown): answer is AnsweredValue {
  return typeof answer === "bigint" || typeof answer === "number";
}

/** Its own fields, each of which is one of `names`. Throws AnswerError. */
function fieldsOf(answer: unknown, names: readonly string[], forms: string): Readonly<Record<string, unknown>> {
  if (typeof answer !== "object" || answer === null || Array.isArray(answer)) throw wrongForm(answer, forms);
  const other = Object.keys(answer).find((name) => !names.includes(name));
  if (other !== undefined) throw new AnswerError(`it answered ${other}: ${forms}`);
  return answer as Readonly<Record<string, unknown>>;
}

function valueEffect(name: string, answer: unknown): AnswerEffect {
  const value = answer === undefined ? 0n : answeredValue(name, answer);
  return (port) => complete(port, value);
}

function raxEffect(name: "ret" | "result", answer: unknown): AnswerEffect {
  if (answer !== undefined && !isValue(answer))
    throw wrongForm(answer, "a number or bigint for RAX, vm.notHandled, or nothing");
  return valueEffect(name, answer);
}

const HV_FORMS = "a result of 64 bits, {status, repsCompleted, xmm}, vm.notHandled, or nothing";

function hvEffect(call: HvCall, answer: unknown): AnswerEffect {
  if (answer === undefined) return (port) => complete(port, BigInt(HvStatus.INVALID_HYPERCALL_CODE));
  if (isValue(answer)) {
    const result = answeredValue("a result", answer);
    return (port) => complete(port, result);
  }
  const { status, repsCompleted = 0, xmm } = fieldsOf(answer, ["status", "repsCompleted", "xmm"], HV_FORMS);
  const reps = answeredValue("repsCompleted", repsCompleted, REPS_BITS);
  const result = answeredValue("status", status, STATUS_BITS) | (reps << REPS_SHIFT);
  const values = xmm === undefined ? [] : xmmValues(call, xmm);
  return (port) => {
    // The kernel half gives them to the guest if the call succeeds, or elements of it.
    for (const [name, value] of values) port.setRegister(call.vcpu, name, value);
    complete(port, result);
  };
}

function xmmValues(call: HvCall, xmm: unknown): readonly (readonly [name: string, value: bigint])[] {
  if (call.xmm === undefined) throw new AnswerError("it answered xmm: this exit carries no XMM registers");
  const count = call.xmm.length;
  if (!Array.isArray(xmm) || xmm.length > count)
    throw new AnswerError(
      `it answered xmm = ${shownAnswer(xmm)}: a list of up to ${count} of {low, high} was expected`,
    );
  return xmm.flatMap((each: unknown, index): [string, bigint][] => {
    if (each === undefined) return [];
    const { low, high } = fieldsOf(each, ["low", "high"], "xmm is a list of {low, high}");
    return [
      [outputRegister(index, 0), answeredValue(`xmm[${index}].low`, low)],
      [outputRegister(index, 1), answeredValue(`xmm[${index}].high`, high)],
    ];
  });
}

/** #GP. */
export function msrError(vcpu: number): AnswerEffect {
  return (port) => {
    port.setRegister(vcpu, MSR_ERROR, 1n);
    port.complete(0, 0);
  };
}

function saysError(error: unknown): boolean {
  if (error === undefined || error === 0) return false;
  if (error === 1) return true;
  throw new AnswerError(`it answered error = ${shownAnswer(error)}: 0, or 1 for #GP`);
}

function rdmsrEffect(vcpu: number, answer: unknown): AnswerEffect {
  if (answer === undefined || isValue(answer)) return valueEffect("data", answer);
  const { data = 0, error } = fieldsOf(answer, ["data", "error"], "data of 64 bits, {data}, {error: 1}, or nothing");
  return saysError(error) ? msrError(vcpu) : valueEffect("data", data);
}

function wrmsrEffect({ vcpu }: WrmsrCall, answer: unknown): AnswerEffect {
  if (answer === undefined) return valueEffect("data", undefined);
  const { error } = fieldsOf(answer, ["error"], "nothing where it succeeds, or {error: 1}");
  return saysError(error) ? msrError(vcpu) : valueEffect("data", undefined);
}

/** A read of which nothing is said gives ones, as a bus that nobody drives. */
function accessEffect({ isWrite, bytes }: IoAccess | MmioAccess, answer: unknown): AnswerEffect {
  if (isWrite) {
    if (answer !== undefined) throw wrongForm(answer, "a write takes nothing back");
    return () => undefined;
  }
  const bits = 8 * bytes;
  const data = answer === undefined ? (1n << BigInt(bits)) - 1n : answeredValue("data", answer, bits);
  return (port) => complete(port, data);
}

const EAX_BITS = 32;

function vmportEffect({ vcpu, eax, isWrite }: VmportCall, answer: unknown): AnswerEffect {
  const forms = `EAX, or registers by name: ${VMPORT_OUTPUTS.join(", ")}`;
  const given = isValue(answer) ? { eax: answer } : answer === undefined ? {} : fieldsOf(answer, VMPORT_OUTPUTS, forms);
  const values = Object.entries(given).map(([name, value]) => [name, answeredValue(name, value, EAX_BITS)] as const);
  const others = values.filter(([name]) => name !== "eax");
  const result = values.find(([name]) => name === "eax")?.[1] ?? BigInt(eax);
  return (port) => {
    for (const [name, value] of others) port.setRegister(vcpu, `r${name.slice(1)}`, value);
    // An OUT has no data to give back: its EAX is a register like the others.
    if (isWrite) port.setRegister(vcpu, "rax", result);
    else complete(port, result);
  };
}
