/** GICR: the two frames of each vCPU's redistributor (IHI 0069 12.11). Without an ITS there are no LPIs, so their registers read as zero. */
import { vcpuAffinity } from "../affinity.js";
import { readInterruptRegister, writeInterruptRegister } from "./distributor.js";
import type { InterruptBank } from "./interrupt-bank.js";
import type { Interrupts } from "./interrupts.js";
import {
  GIC_PIDR2,
  Gicr,
  GICR_IIDR,
  GICR_TYPER_LAST,
  REDISTRIBUTOR_BYTES,
  REDISTRIBUTOR_FRAME_BYTES,
} from "./registers.js";

interface Place {
  readonly vcpu: number;
  /** Offset in SGI_base, or undefined in RD_base. */
  readonly sgi: number | undefined;
  readonly offset: number;
}

function place(offset: number): Place {
  const vcpu = Math.floor(offset / REDISTRIBUTOR_BYTES);
  const within = offset % REDISTRIBUTOR_BYTES;
  const frameOffset = within % REDISTRIBUTOR_FRAME_BYTES;
  return { vcpu, offset: frameOffset, sgi: within >= REDISTRIBUTOR_FRAME_BYTES ? frameOffset : undefined };
}

function privateBank(interrupts: Interrupts, vcpu: number): (index: number) => InterruptBank | undefined {
  return (index) => (index === 0 ? interrupts.privateBank(vcpu) : undefined);
}

/** `offset` is from the first vCPU's RD_base. [low word, high word]. */
export function readRedistributor(interrupts: Interrupts, offset: number, bytes: number): readonly [number, number] {
  const at = place(offset);
  if (at.sgi !== undefined) return [readInterruptRegister(privateBank(interrupts, at.vcpu), at.sgi, bytes) ?? 0, 0];
  const last = at.vcpu === interrupts.vcpuCount - 1 ? GICR_TYPER_LAST : 0;
  const typerLow = ((at.vcpu & 0xffff) << 8) | last;
  const typerHigh = vcpuAffinity(at.vcpu);
  if (at.offset === Gicr.typer && bytes === 8) return [typerLow, typerHigh];
  if (bytes !== 4) return [0, 0];
  switch (at.offset) {
    case Gicr.typer:
      return [typerLow, 0];
    case Gicr.typer + 4:
      return [typerHigh, 0];
    case Gicr.iidr:
      return [GICR_IIDR, 0];
    case Gicr.pidr2:
      return [GIC_PIDR2, 0];
    default:
      // GICR_WAKER among them: a redistributor under KVM never sleeps.
      return [0, 0];
  }
}

export function writeRedistributor(interrupts: Interrupts, offset: number, bytes: number, low: number): void {
  const at = place(offset);
  if (at.sgi !== undefined) writeInterruptRegister(privateBank(interrupts, at.vcpu), at.sgi, bytes, low);
}
