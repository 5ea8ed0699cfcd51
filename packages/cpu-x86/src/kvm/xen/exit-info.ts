/** What the frame of a KVM_EXIT_XEN says of the call, and the registers of its parameters. */
import { type ExitFrame, ExitWord } from "@hvjournal/core";
import { Register } from "../../isa/state.js";

/** Bits of `ExitWord.info`. */
export const XEN_LONG_MODE = 1;
export const XEN_CPL_SHIFT = 1;

/** `longmode` and `cpl` of `kvm_run.xen.u.hcall`. */
export interface XenCallInfo {
  /** 64-bit mode. */
  readonly longMode: boolean;
  readonly cpl: number;
}

export function xenCallInfo(frame: ExitFrame): XenCallInfo {
  const info = frame[ExitWord.info] ?? 0;
  return { longMode: (info & XEN_LONG_MODE) !== 0, cpl: info >>> XEN_CPL_SHIFT };
}

export interface XenParameter {
  readonly name: string;
  readonly register: number;
}

const parameter = (name: string, register: number): XenParameter => ({ name, register });
const [R8, R9, R10] = [8, 9, 10];

const OF_64_BITS: readonly XenParameter[] = [
  parameter("rdi", Register.rdi),
  parameter("rsi", Register.rsi),
  parameter("rdx", Register.rdx),
  parameter("r10", R10),
  parameter("r8", R8),
  parameter("r9", R9),
];

const OF_32_BITS: readonly XenParameter[] = [
  parameter("ebx", Register.rbx),
  parameter("ecx", Register.rcx),
  parameter("edx", Register.rdx),
  parameter("esi", Register.rsi),
  parameter("edi", Register.rdi),
  parameter("ebp", Register.rbp),
];

/** In their order. */
export function xenParameters(longMode: boolean): readonly XenParameter[] {
  return longMode ? OF_64_BITS : OF_32_BITS;
}
