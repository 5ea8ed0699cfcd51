/** One line for an exit. */
import { type ExitFrame, type ExitModel, ExitWord, frameU64, KvmExit } from "@hvjournal/core";
import { KVM_CALL_NAMES } from "./call-names.js";
import { hypervCallText, recordedHypervCall, recordedXenCall, xenCallTitle } from "./recorded-calls.js";
import { MMIO_WRITE } from "./exit-frames.js";
import { isCause } from "./exit-model.js";
import { msrName } from "./msr-names.js";

function hex(value: bigint | number, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

export function describeExit(model: ExitModel, frame: ExitFrame): string {
  const reason = frame[ExitWord.reason] ?? 0;
  const name = model.reasons[reason]?.name ?? `reason ${reason}`;
  const info = frame[ExitWord.info] ?? 0;
  const first = frameU64(frame, ExitWord.arg0Low);
  const second = frameU64(frame, ExitWord.arg1Low);
  if (isCause(model, reason, "port")) return describeAccess("IO", hex(first, 4), info, second);
  if (isCause(model, reason, "mmio") || isCause(model, reason, "apicPage"))
    return describeAccess("MMIO", hex(first, 8), info, second);
  if (isCause(model, reason, "readMsr") || isCause(model, reason, "writeMsr"))
    return info === 1 ? `${name} ${msrName(Number(first))} <- ${hex(second)}` : `${name} ${msrName(Number(first))}`;
  if (isCause(model, reason, "cpuid")) return `${name} ${hex(first)}.${second}`;
  if (isCause(model, reason, "hypercall")) return `${name} ${callText(frame, first)}`;
  return name;
}

/** "0x0003 HvCallFlushVirtualAddressList repCount=3", "0xc KVM_HC_MAP_GPA_RANGE", "0x11 HYPERVISOR_xen_version" */
function callText(frame: ExitFrame, number: bigint): string {
  const call = recordedHypervCall(frame);
  if (call !== undefined) return hypervCallText(call);
  const xenCall = recordedXenCall(frame);
  if (xenCall !== undefined) return xenCallTitle(xenCall);
  const name = frame[ExitWord.kvmExit] === KvmExit.hypercall ? KVM_CALL_NAMES.get(Number(number)) : undefined;
  return name === undefined ? hex(number) : `${hex(number)} ${name}`;
}

function describeAccess(what: string, place: string, info: number, data: bigint): string {
  const bytes = info & 0xff;
  return (info & MMIO_WRITE) === 0
    ? `${what} read ${place} ${bytes}`
    : `${what} write ${place} ${bytes} <- ${hex(data, bytes * 2)}`;
}
