/** What a recorded exit says of a call by Hyper-V's ABI (TLFS, "Hypercall Inputs") or by Xen's. */
import { type ExitFrame, ExitWord, frameU64, KvmExit } from "@hvjournal/core";
import { HYPERV_CALL_NAMES, KVM_CALL_NAMES, XEN_CALL_NAMES } from "./call-names.js";
import { isExtended } from "./hyperv/extended-call-mask.js";
import { inputOf } from "./hyperv/hypercall-input.js";
import { xenCallInfo } from "./xen/exit-info.js";

/** Bits 30:27, 47:44 and 63:60 of an input value are reserved, and zero. */
const RESERVED = (0xfn << 60n) | (0xfn << 44n) | (0xfn << 27n);

/** The fields of an input value. */
export interface RecordedHypervCall {
  readonly code: number;
  /** undefined: this build knows none. */
  readonly name: string | undefined;
  readonly fast: boolean;
  /** In units of 8 bytes. */
  readonly variableHeaderSize: number;
  readonly repCount: number;
  readonly repStart: number;
}

/**
 * undefined: it is none, or it can't be told. That a call is by Hyper-V's ABI is recorded where it is the VMM's; else it is one
 * where its number is a well-formed input value of a known code or an extended one, and no number of KVM's own.
 */
export function recordedHypervCall(frame: ExitFrame): RecordedHypervCall | undefined {
  const value = frameU64(frame, ExitWord.arg0Low);
  const kvmExit = frame[ExitWord.kvmExit];
  const { code, isFast, variableHeader, repCount, repStart } = inputOf(value);
  const name = HYPERV_CALL_NAMES.get(code);
  const isOther = kvmExit === KvmExit.hypercall || kvmExit === KvmExit.xen;
  const isHyperv = name !== undefined || isExtended(code);
  const isLikely = isHyperv && (value & RESERVED) === 0n && !KVM_CALL_NAMES.has(Number(value));
  if (kvmExit !== KvmExit.hyperv && (isOther || !isLikely)) return undefined;
  return { code, name, fast: isFast, variableHeaderSize: variableHeader, repCount, repStart };
}

/** "0x0003 HvCallFlushVirtualAddressList" */
export function hypervCallTitle({ code, name }: RecordedHypervCall): string {
  const number = `0x${code.toString(16).padStart(4, "0")}`;
  return name === undefined ? number : `${number} ${name}`;
}

/** The title, and each field that is not zero: "0x0003 HvCallFlushVirtualAddressList repCount=3 repStart=1". */
export function hypervCallText(call: RecordedHypervCall): string {
  const { fast, variableHeaderSize, repCount, repStart } = call;
  const fields = { fast: Number(fast), variableHeaderSize, repCount, repStart };
  const shown = Object.entries(fields).flatMap(([name, value]) => (value === 0 ? [] : [`${name}=${value}`]));
  return [hypervCallTitle(call), ...shown].join(" ");
}

/** What an exit with KVM_EXIT_XEN tells beside its parameters. */
export interface RecordedXenCall {
  readonly nr: number;
  /** undefined: this build knows none. */
  readonly name: string | undefined;
  readonly longMode: boolean;
  readonly cpl: number;
}

/** undefined: it is none. */
export function recordedXenCall(frame: ExitFrame): RecordedXenCall | undefined {
  if (frame[ExitWord.kvmExit] !== KvmExit.xen) return undefined;
  const nr = Number(frameU64(frame, ExitWord.arg0Low));
  return { nr, name: XEN_CALL_NAMES.get(nr), ...xenCallInfo(frame) };
}

/** "0x11 HYPERVISOR_xen_version" */
export function xenCallTitle({ nr, name }: RecordedXenCall): string {
  const number = `0x${nr.toString(16)}`;
  return name === undefined ? number : `${number} ${name}`;
}
