/**
 * One exit as a row of 32-bit words: the form in which it crosses from the kernel
 * half to the run loop and into the journal's columns, without an object on the way.
 */
import { highWord, lowWord, u64OfWords } from "./u64-words.js";

/** Index of each word. 64-bit quantities are a low and a high word. */
export const ExitWord = {
  /** Row of the exit model's table (`ExitModel.reasons`). */
  reason: 0,
  vcpu: 1,
  /** `FinishedBy`. */
  finishedBy: 2,
  /** `KVM_EXIT_*` of include/uapi/linux/kvm.h when the VMM half finishes it, else 0. */
  kvmExit: 3,
  /**
   * MMIO and IO: length in bytes, plus 0x100 for a write. HYPERCALL: `kvm_run.hypercall.flags`.
   * XEN: 1 in 64-bit mode, plus twice the CPL.
   * SYSTEM_EVENT: type, and its flags from `SYSTEM_EVENT_FLAGS_SHIFT` up. Trapped register: 1 for a write.
   */
  info: 4,
  /** Seq of the control event whose rule decided what happens; 0 the default rule. */
  rule: 5,
  /** The address that the exit model's table says for this reason (HVC behind, MMIO at, SMC behind the instruction). */
  pcLow: 6,
  pcHigh: 7,
  /** ESR_EL2, or the exit qualification. */
  syndromeLow: 8,
  syndromeHigh: 9,
  /** MMIO: guest-physical address. IO: the port; each element of a string instruction is an exit. A call of the guest, whatever came of it: function id. Trapped register: its encoding. */
  arg0Low: 10,
  arg0High: 11,
  /** MMIO or IO write: data. A call: the next argument registers. */
  arg1Low: 12,
  arg1High: 13,
  arg2Low: 14,
  arg2High: 15,
  arg3Low: 16,
  arg3High: 17,
} as const;

export const EXIT_WORD_COUNT = 18;

/** `EXIT_WORD_COUNT` words; a frame that is reused, so copy what must last. */
export type ExitFrame = Uint32Array;

/** `kvm_run.system_event.flags` lie in `info` from this bit up, so that the arguments are the guest's, as for every call. */
export const SYSTEM_EVENT_FLAGS_SHIFT = 8;
const SYSTEM_EVENT_TYPE_MASK = (1 << SYSTEM_EVENT_FLAGS_SHIFT) - 1;

export interface SystemEventInfo {
  /** KVM_SYSTEM_EVENT_* of include/uapi/linux/kvm.h. */
  readonly type: number;
  readonly flags: number;
}

/** What `info` of a KVM_EXIT_SYSTEM_EVENT says. */
export function systemEventOf(info: number): SystemEventInfo {
  return { type: info & SYSTEM_EVENT_TYPE_MASK, flags: info >>> SYSTEM_EVENT_FLAGS_SHIFT };
}

export const FinishedBy = { kernelHalf: 0, vmmHalf: 1 } as const;

/** The KVM_EXIT_* numbers that occur, from include/uapi/linux/kvm.h. */
export const KvmExit = {
  unknown: 0,
  io: 2,
  hypercall: 3,
  debug: 4,
  hlt: 5,
  mmio: 6,
  shutdown: 8,
  failEntry: 9,
  internalError: 17,
  systemEvent: 24,
  hyperv: 27,
  armNisv: 28,
  x86Rdmsr: 29,
  x86Wrmsr: 30,
  xen: 34,
} as const;

/** A 64-bit quantity of a frame; `low` is the index of its low word. */
export function frameU64(frame: ExitFrame, low: number): bigint {
  return u64OfWords(frame[low] ?? 0, frame[low + 1] ?? 0);
}

export function setFrameU64(frame: ExitFrame, low: number, value: bigint): void {
  frame[low] = lowWord(value);
  frame[low + 1] = highWord(value);
}
