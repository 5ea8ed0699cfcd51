/** The virtual timer's interrupt, opened and started by the guest: a wake source that needs no device (GICv3, Arm ARM D11). */
import { mrs, msr, moveImmediate, poke32 } from "./instructions.js";

const GICD_CTLR = 0x0800_0000;
const GICR_ISENABLER0 = 0x080b_0100;
const TIMER_PPI = 27;
/** op0, op1, CRn, CRm, op2. */
const ICC_PMR_EL1 = 0xc230;
const ICC_IGRPEN1_EL1 = 0xc667;
const CNTV_TVAL_EL0 = 0xdf18;
export const CNTV_CTL_EL0 = 0xdf19;
export const CNTV_CVAL_EL0 = 0xdf1a;

function write(selector: number, value: bigint): number[] {
  return [...moveImmediate(2, value), msr(selector, 2)];
}

export function readRegister(rt: number, selector: number): number {
  return mrs(rt, selector);
}

/** Signalled to vCPU 0, which keeps it masked in PSTATE: it wakes and is not taken. */
export const openTimerInterrupt: readonly number[] = [
  ...poke32(GICD_CTLR, 0x12),
  ...poke32(GICR_ISENABLER0, 1 << TIMER_PPI),
  ...write(ICC_PMR_EL1, 0xf0n),
  ...write(ICC_IGRPEN1_EL1, 1n),
];

/** It expires `ticks` from now. */
export function startTimer(ticks: number): number[] {
  return [...write(CNTV_TVAL_EL0, BigInt(ticks)), ...write(CNTV_CTL_EL0, 1n)];
}
