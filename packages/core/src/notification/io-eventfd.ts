/** Which write signals which eventfd: KVM_IOEVENTFD (Documentation/virt/kvm/api.rst, 4.59; virt/kvm/eventfd.c). */
import { type ExitFrame, ExitWord, frameU64 } from "../event/exit-frame.js";

export const IoeventfdFlag = { datamatch: 1, pio: 2, deassign: 4, virtioCcw: 8 } as const;
/** As KVM's own mask, which is made of an enumeration with one name more than it has flags. */
export const IOEVENTFD_FLAGS = 0x1f;
export const IOEVENTFD_LENGTHS = [0, 1, 2, 4, 8] as const;

export type IoBus = "mmio" | "pio" | "virtio-ccw";

export interface Ioeventfd {
  readonly bus: IoBus;
  readonly addr: bigint;
  /** 0: a write of any length. */
  readonly len: number;
  /** Absent: any data. */
  readonly datamatch?: bigint;
  readonly fd: number;
}

export function busOfFlags(flags: number): IoBus {
  if ((flags & IoeventfdFlag.pio) !== 0) return "pio";
  return (flags & IoeventfdFlag.virtioCcw) === 0 ? "mmio" : "virtio-ccw";
}

/** Whether one write could be for both. */
export function collides(a: Ioeventfd, b: Ioeventfd): boolean {
  if (a.bus !== b.bus || a.addr !== b.addr) return false;
  if (a.len === 0 || b.len === 0) return true;
  return a.len === b.len && (a.datamatch === undefined || b.datamatch === undefined || a.datamatch === b.datamatch);
}

/** Of `ExitWord.info` of an access: it is a write; its bytes. */
const WRITE = 0x100;
const LENGTH = 0xff;

/** The eventfd of the access that a frame describes; undefined: it is for somebody else. */
export function eventfdOfExit(
  { ioeventfds }: { readonly ioeventfds?: readonly Ioeventfd[] },
  bus: IoBus,
  frame: ExitFrame,
): number | undefined {
  const info = frame[ExitWord.info] ?? 0;
  if (ioeventfds === undefined || (info & WRITE) === 0) return undefined;
  const len = info & LENGTH;
  const addr = frameU64(frame, ExitWord.arg0Low);
  const data = BigInt.asUintN(8 * len, frameU64(frame, ExitWord.arg1Low));
  return ioeventfds.find(
    (each) =>
      each.bus === bus &&
      each.addr === addr &&
      (each.len === 0 || (each.len === len && (each.datamatch === undefined || each.datamatch === data))),
  )?.fd;
}
