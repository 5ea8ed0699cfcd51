/** What `struct kvm_run` holds of an exit that is the same on every architecture (Documentation/virt/kvm/api.rst, 5). */
import { type ExitFrame, ExitWord, frameU64 } from "../event/exit-frame.js";
import type { VmmPort } from "../ports/vmm-half.js";
import type { RunBase } from "./kvm-session.js";

export interface SystemEventRun extends RunBase {
  readonly exitReason: "SYSTEM_EVENT";
  readonly systemEvent: { readonly type: number; readonly ndata: number; readonly data: readonly bigint[] };
}

export interface MmioRun extends RunBase {
  readonly exitReason: "MMIO";
  readonly mmio: {
    readonly physAddr: bigint;
    /** 8 bytes, little-endian; of a read, for the VMM to fill before it runs again. */
    readonly data: Uint8Array;
    readonly len: number;
    readonly isWrite: boolean;
  };
}

const DATA_BYTES = 8;
const LENGTH_MASK = 0xff;
const WRITE = 0x100;

/** Length and data of an access, as its exit's frame has them. */
export function accessOf(frame: ExitFrame): Pick<MmioRun["mmio"], "data" | "len" | "isWrite"> {
  const info = frame[ExitWord.info] ?? 0;
  const isWrite = (info & WRITE) !== 0;
  const data = new Uint8Array(DATA_BYTES);
  if (isWrite) new DataView(data.buffer).setBigUint64(0, frameU64(frame, ExitWord.arg1Low), true);
  return { data, len: info & LENGTH_MASK, isWrite };
}

export function mmioOf(frame: ExitFrame): MmioRun["mmio"] {
  return { physAddr: frameU64(frame, ExitWord.arg0Low), ...accessOf(frame) };
}

/** What the program has put where the data of a read belongs. */
export function completeRead(port: VmmPort, { data }: Pick<MmioRun["mmio"], "data">): void {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  port.complete(view.getUint32(0, true), view.getUint32(4, true));
}
