/** The time-stamp counter of a vCPU: guest time, and what the guest has added to it. Intel SDM volume 3, 18.17. */

/** One tick is a nanosecond of guest time, so that no rounding comes between them. */
export const TSC_HZ = 1_000_000_000;

const WORD = 0x1_0000_0000;

export class TimeStampCounter {
  /** What is added to guest time; u64. */
  offset = 0n;
  /** IA32_TSC_ADJUST. */
  adjust = 0n;

  at(guestTimeNs: number): bigint {
    return BigInt.asUintN(64, BigInt(guestTimeNs) + this.offset);
  }

  /** The same in two words: [low, high] are written without an object on the way. */
  low(guestTimeNs: number): number {
    return this.offset === 0n ? guestTimeNs >>> 0 : Number(this.at(guestTimeNs) & 0xffff_ffffn);
  }

  high(guestTimeNs: number): number {
    return this.offset === 0n ? Math.floor(guestTimeNs / WORD) : Number(this.at(guestTimeNs) >> 32n);
  }

  /** WRMSR to IA32_TIME_STAMP_COUNTER: IA32_TSC_ADJUST takes the difference too. */
  write(value: bigint, guestTimeNs: number): void {
    const difference = value - this.at(guestTimeNs);
    this.#add(difference);
  }

  writeAdjust(value: bigint): void {
    this.#add(value - this.adjust);
  }

  #add(difference: bigint): void {
    this.offset = BigInt.asUintN(64, this.offset + difference);
    this.adjust = BigInt.asUintN(64, this.adjust + difference);
  }

  /** Guest time at which the counter reaches `value`, if it has not yet; Infinity where that is beyond any. */
  timeOf(value: bigint): number {
    const time = BigInt.asIntN(64, value - this.offset);
    return time > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(time);
  }
}
