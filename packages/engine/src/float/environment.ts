/**
 * How a floating-point operation rounds and what it reports: IEEE 754-2019 sections 4 and 7,
 * and the choices that the standard leaves to an architecture.
 */

/** Rounding attributes. The first four are numbered as Arm's FPCR.RMode. */
export const Rounding = {
  nearestEven: 0,
  towardPositive: 1,
  towardNegative: 2,
  towardZero: 3,
  nearestAway: 4,
  /** An inexact result gets an odd last bit, so that a second rounding is right (Arm: FCVTXN). */
  toOdd: 5,
} as const;

/** Bits of the control word of an operation. All zero: Arm's rules with FPCR zero. */
export const FloatControl = {
  /** A `Rounding` in the low three bits. */
  roundingMask: 7,
  /** Every NaN result is the default NaN (Arm: FPCR.DN). */
  defaultNaN: 1 << 3,
  /** A subnormal operand counts as zero of its sign (Arm: FPCR.FZ; x86: MXCSR.DAZ). Not in binary16. */
  flushInputs: 1 << 4,
  /** A tiny result becomes zero of its sign (Arm: FPCR.FZ; x86: MXCSR.FTZ). Not in binary16. */
  flushOutputs: 1 << 5,
  /** Tininess is looked at after rounding (x86); otherwise before (Arm). */
  tininessAfterRounding: 1 << 6,
  /** binary16 has no infinities and NaNs but more numbers (Arm: FPCR.AHP). */
  alternativeHalf: 1 << 7,
  /** The first NaN operand wins, quiet or not (x86); otherwise the first signalling one, then the first quiet one (Arm). */
  firstNaNWins: 1 << 8,
  /** The default NaN has its sign bit set (x86). */
  defaultNaNNegative: 1 << 9,
  /** An integer that can't be told is the lowest signed one, or all ones (x86); otherwise it saturates and NaN is 0 (Arm). */
  integerIndefinite: 1 << 10,
  /** 80-bit format only: bits of the significand, a `Precision` (x87: FCW.PC, in these two bits). */
  precisionShift: 11,
  /**
   * The exception has a handler (x86: its mask is clear): a tiny result is underflow though it is exact, and "inexact" is
   * reported by the result with an unbounded exponent. In the 80-bit format the handler gets that, with its exponent brought
   * into range (x87).
   */
  overflowTrapped: 1 << 13,
  underflowTrapped: 1 << 14,
} as const;

/** How many bits of its significand the 80-bit format uses, as x87's FCW.PC. */
export const Precision = { single: 0, double: 2, extended: 3 } as const;

/** Exceptions as bits, where Arm's FPSR has them. */
export const FloatFlag = {
  invalidOperation: 1 << 0,
  divideByZero: 1 << 1,
  overflow: 1 << 2,
  underflow: 1 << 3,
  inexact: 1 << 4,
  /** A subnormal operand was taken as zero (Arm: IDC). */
  inputFlushed: 1 << 7,
  /**
   * A subnormal operand was taken as it is (x86: DE), in an operation without NaN operands that is neither
   * invalid nor a division by zero. Not a flag of FPSR.
   */
  denormalOperand: 1 << 8,
  /** 80-bit format only: rounding made the magnitude larger (x87: FSW.C1). */
  roundedUp: 1 << 9,
} as const;

/** The control word of one operation, unpacked, and the exceptions that it has raised so far. */
export class FloatEnvironment {
  readonly control: number;
  readonly rounding: number;
  flags = 0;

  /** Throws RangeError for a rounding that does not exist. */
  constructor(control: number) {
    this.control = control;
    this.rounding = control & FloatControl.roundingMask;
    if (this.rounding > Rounding.toOdd)
      throw new RangeError(`no rounding has number ${this.rounding} (control word ${control})`);
  }

  has(option: number): boolean {
    return (this.control & option) !== 0;
  }

  /** What comes before the look at the values of operands leaves no word about them: Intel SDM volume 1, 4.9.2. */
  raise(flags: number): void {
    this.flags |= flags;
    if ((flags & (FloatFlag.invalidOperation | FloatFlag.divideByZero)) !== 0) this.forgetDenormalOperand();
  }

  forgetDenormalOperand(): void {
    this.flags &= ~FloatFlag.denormalOperand;
  }
}
