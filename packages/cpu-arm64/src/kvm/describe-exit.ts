/** One line for an exit. */
import { type ExitFrame, type ExitModel, ExitWord, frameU64 } from "@hvjournal/core";
import { systemRegisterName } from "../isa/system-registers.js";
import { MMIO_WRITE } from "./exit-frames.js";
import { Reason } from "./exit-model.js";
import { functionName } from "./smccc/function-id.js";

/** ISS of HVC and SMC: the instruction's immediate. */
const IMMEDIATE_MASK = 0xffff;

function hex(value: bigint | number, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

/** The SMCCC function id of a hypercall's exit. */
export function functionIdOf(frame: ExitFrame): number {
  return frame[ExitWord.arg0Low] ?? 0;
}

/** SMCCC has 0; KVM looks at that of SMC alone. */
function immediateText(frame: ExitFrame): string {
  const immediate = (frame[ExitWord.syndromeLow] ?? 0) & IMMEDIATE_MASK;
  return immediate === 0 ? "" : ` #${immediate}`;
}

export function describeExit(model: ExitModel, frame: ExitFrame): string {
  const reason = frame[ExitWord.reason] ?? 0;
  const name = model.reasons[reason]?.name ?? `reason ${reason}`;
  switch (reason) {
    case Reason.dabtLow:
      return describeMmio(frame);
    case Reason.hvc64:
    case Reason.smc64: {
      const id = functionIdOf(frame);
      const known = functionName(id);
      return `${name} ${hex(id, 8)}${known === undefined ? "" : ` ${known}`}${immediateText(frame)}`;
    }
    case Reason.sys64: {
      const register = systemRegisterName(frame[ExitWord.arg0Low] ?? 0);
      return frame[ExitWord.info] === 1
        ? `${name} ${register} <- ${hex(frameU64(frame, ExitWord.arg1Low))}`
        : `${name} ${register}`;
    }
    case Reason.wfx:
      return ((frame[ExitWord.syndromeLow] ?? 0) & 1) === 1 ? `${name} WFE` : `${name} WFI`;
    default:
      return name;
  }
}

function describeMmio(frame: ExitFrame): string {
  const info = frame[ExitWord.info] ?? 0;
  const bytes = info & 0xff;
  const place = `${hex(frameU64(frame, ExitWord.arg0Low), 8)} ${bytes}`;
  return (info & MMIO_WRITE) === 0
    ? `MMIO read ${place}`
    : `MMIO write ${place} <- ${hex(frameU64(frame, ExitWord.arg1Low), bytes * 2)}`;
}
