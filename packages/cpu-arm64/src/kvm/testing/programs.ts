/** Programs for tests of the kernel half, in words. Registers from x20 on hold what a test looks at. */
import * as a from "../../isa/testing/encodings.js";
import { UART } from "./guest.js";

export const GICD = 0x0800_0000;
export const GICR = 0x080a_0000;
export const GICR_SGI: number = GICR + 0x1_0000;
const REDISTRIBUTOR = 0x2_0000;
const TIMER_PPI = 27;

/** STR Wt, [Xn] and LDR Wt, [Xn]. */
export function store32(rt: number, rn: number): number {
  return (0xb900_0000 | (rn << 5) | rt) >>> 0;
}

export function load32(rt: number, rn: number): number {
  return (0xb940_0000 | (rn << 5) | rt) >>> 0;
}

/** STP Xt, Xt2, [Xn] and LDP. */
export function storePair(rt: number, rt2: number, rn: number): number {
  return (0xa900_0000 | (rt2 << 10) | (rn << 5) | rt) >>> 0;
}

export function loadPair(rt: number, rt2: number, rn: number): number {
  return (0xa940_0000 | (rt2 << 10) | (rn << 5) | rt) >>> 0;
}

/** ADD Xd, Xd, #immediate; SUBS Xd, Xd, #1. */
export function increment(rd: number, immediate = 1): number {
  return (0x9100_0000 | (immediate << 10) | (rd << 5) | rd) >>> 0;
}

export function decrement(rd: number): number {
  return (0xf100_0400 | (rd << 5) | rd) >>> 0;
}

/** B.NE and CBNZ Wt by an offset in words. */
export function branchIfNotEqual(words: number): number {
  return (0x5400_0001 | ((words & 0x7_ffff) << 5)) >>> 0;
}

export function branchIfNonZero32(rt: number, words: number): number {
  return (0x3500_0000 | ((words & 0x7_ffff) << 5) | rt) >>> 0;
}

/** LDXR and STXR of 64 bits. */
export function loadExclusive(rt: number, rn: number): number {
  return (0xc85f_7c00 | (rn << 5) | rt) >>> 0;
}

export function storeExclusive(rs: number, rt: number, rn: number): number {
  return (0xc800_7c00 | (rs << 16) | (rn << 5) | rt) >>> 0;
}

/** SUBS XZR, Xn, #immediate. */
export function compareImmediate(rn: number, immediate: number): number {
  return (0xf100_001f | (immediate << 10) | (rn << 5)) >>> 0;
}

export function poke32(physical: number, value: number): number[] {
  return [...a.moveImmediate(1, BigInt(physical)), ...a.moveImmediate(2, BigInt(value)), store32(2, 1)];
}

export function call(id: number): number[] {
  return [...a.moveImmediate(0, BigInt(id)), a.hvc(0)];
}

export const systemOff: readonly number[] = call(0x8400_0008);

/** A loop that does nothing `count` times: two instructions each. */
export function spin(count: number): number[] {
  return [...a.moveImmediate(9, BigInt(count)), decrement(9), branchIfNotEqual(-1)];
}

/** Opens the GIC for the virtual timer of a vCPU, and the mask for interrupts. */
export function openTimerInterrupt(vcpu = 0): number[] {
  return [
    ...poke32(GICD, 0x12),
    ...poke32(GICR_SGI + vcpu * REDISTRIBUTOR + 0x100, 1 << TIMER_PPI),
    ...a.moveImmediate(2, 0xf0n),
    a.msr("ICC_PMR_EL1", 2),
    ...a.moveImmediate(2, 1n),
    a.msr("ICC_IGRPEN1_EL1", 2),
    a.daifClear(2),
  ];
}

/** The virtual timer expires `ticks` from now. */
export function startTimer(ticks: number): number[] {
  return [
    ...a.moveImmediate(2, BigInt(ticks)),
    a.msr("CNTV_TVAL_EL0", 2),
    ...a.moveImmediate(2, 1n),
    a.msr("CNTV_CTL_EL0", 2),
  ];
}

/** For the IRQ vector: counts in x21, keeps the last INTID in x22, and puts the timer `ticks` further. */
export function timerHandler(ticks: number): number[] {
  return [
    a.mrs(22, "ICC_IAR1_EL1"),
    increment(21),
    ...a.moveImmediate(23, BigInt(ticks)),
    a.msr("CNTV_TVAL_EL0", 23),
    a.msr("ICC_EOIR1_EL1", 22),
    a.eret,
  ];
}

/** Everything that a single vCPU can do, once around: `rounds` times. Ends in SYSTEM_OFF. */
export function mixture(rounds: number): number[] {
  const round = [
    a.mrs(3, "CNTVCT_EL0"),
    ...a.moveImmediate(1, BigInt(UART)),
    storePair(3, 20, 1),
    loadPair(4, 5, 1),
    a.mrs(6, "ID_AA64MMFR0_EL1"),
    ...call(0xc400_0053),
    ...a.moveImmediate(0, 0x8400_0000n),
    a.smc(0),
    a.mrs(7, "CNTP_CTL_EL0"),
    ...poke32(GICD + 0x108, 0xff),
    ...spin(300),
    a.wfi,
    increment(20),
    // The first one takes the event that the exception return left.
    a.wfe,
    a.wfe,
  ];
  return [
    ...openTimerInterrupt(),
    ...startTimer(40),
    ...round,
    compareImmediate(20, rounds),
    branchIfNotEqual(-round.length - 1),
    ...systemOff,
  ];
}
