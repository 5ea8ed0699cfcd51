/** A 64-bit register value as two words, used again and again where a bigint for each access would cost too much. */

const WORD = 0x1_0000_0000;

export class RegisterValue {
  /** u32. */
  low = 0;
  high = 0;

  set(low: number, high: number): void {
    this.low = low >>> 0;
    this.high = high >>> 0;
  }

  /** A whole number from 0 to 2^53. */
  setNumber(value: number): void {
    this.low = value >>> 0;
    this.high = Math.floor(value / WORD) >>> 0;
  }

  setBigint(value: bigint): void {
    this.low = Number(value & 0xffff_ffffn);
    this.high = Number((value >> 32n) & 0xffff_ffffn);
  }

  /** Exact up to 2^53; beyond, no smaller than that. */
  get number(): number {
    return this.high * WORD + this.low;
  }

  get bigint(): bigint {
    return (BigInt(this.high) << 32n) | BigInt(this.low);
  }
}
