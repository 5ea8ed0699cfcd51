/**
 * The CPU interface of one vCPU: the ICC_*_EL1 registers as a guest under KVM sees them, which is
 * the hardware's virtual interface (IHI 0069 chapter 12.3): no security, system registers only.
 */
import { IDLE_PRIORITY, PRIORITY_BITS, PRIORITY_MASK } from "./registers.js";

/** ICC_CTLR_EL1. */
const CtlrBit = { commonBinaryPoint: 1, eoiMode: 2 } as const;
/** ICC_CTLR_EL1.PRIbits; IDbits 0: 16-bit INTIDs; no Aff3, no range selector, no SEI. */
const CTLR_FIXED = (PRIORITY_BITS - 1) << 8;
/** ICC_SRE_EL1: SRE, DFB and DIB, all fixed: there is no memory-mapped CPU interface. */
export const ICC_SRE_VALUE = 7;
/** Smallest binary points with 5 preemption bits. */
const BINARY_POINT_0_MIN = 7 - PRIORITY_BITS;
const BINARY_POINT_1_MIN: number = BINARY_POINT_0_MIN + 1;
const BINARY_POINT_MAX = 7;

/** 0: signalled as FIQ; 1: as IRQ. */
export type InterruptGroup = 0 | 1;

function lowestBit(word: number): number {
  return word === 0 ? 32 : 31 - Math.clz32(word & -word);
}

const FIELDS = [
  "priorityMask",
  "binaryPoint0",
  "binaryPoint1",
  "control",
  "enabled0",
  "enabled1",
  "active0",
  "active1",
] as const;

export class CpuInterface {
  /** ICC_PMR_EL1. */
  priorityMask = 0;
  binaryPoint0: number = BINARY_POINT_0_MIN;
  binaryPoint1: number = BINARY_POINT_1_MIN;
  /** The writable bits of ICC_CTLR_EL1. */
  control = 0;
  /** ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1. */
  enabled0 = 0;
  enabled1 = 0;
  /** ICC_AP0R0_EL1, ICC_AP1R0_EL1: bit n: an interrupt of group priority n * 8 is active. */
  active0 = 0;
  active1 = 0;

  get controlRegister(): number {
    return CTLR_FIXED | this.control;
  }

  writeControl(value: number): void {
    this.control = value & (CtlrBit.commonBinaryPoint | CtlrBit.eoiMode);
  }

  /** Whether EOIR only drops the priority, and DIR deactivates. */
  get splitsDeactivation(): boolean {
    return (this.control & CtlrBit.eoiMode) !== 0;
  }

  get binaryPoint1Register(): number {
    if ((this.control & CtlrBit.commonBinaryPoint) === 0) return this.binaryPoint1;
    return Math.min(this.binaryPoint0 + 1, BINARY_POINT_MAX);
  }

  writeBinaryPoint(group: InterruptGroup, value: number): void {
    if (group === 0) this.binaryPoint0 = Math.max(value & 7, BINARY_POINT_0_MIN);
    else if ((this.control & CtlrBit.commonBinaryPoint) === 0)
      this.binaryPoint1 = Math.max(value & 7, BINARY_POINT_1_MIN);
  }

  writePriorityMask(value: number): void {
    this.priorityMask = value & PRIORITY_MASK;
  }

  isEnabled(group: InterruptGroup): boolean {
    return (group === 0 ? this.enabled0 : this.enabled1) !== 0;
  }

  /** ICC_RPR_EL1: priority of the most urgent active interrupt. */
  get runningPriority(): number {
    const level = Math.min(lowestBit(this.active0), lowestBit(this.active1));
    return level === 32 ? IDLE_PRIORITY : level << (8 - PRIORITY_BITS);
  }

  /** The part of a priority that decides preemption. */
  #groupPriority(group: InterruptGroup, priority: number): number {
    const shift =
      group === 0 || (this.control & CtlrBit.commonBinaryPoint) !== 0 ? this.binaryPoint0 + 1 : this.binaryPoint1;
    return priority & (0xff << shift);
  }

  /** Whether an interrupt of this priority passes the mask and preempts what runs. */
  admits(group: InterruptGroup, priority: number): boolean {
    if (priority >= this.priorityMask) return false;
    const running = this.runningPriority;
    return running === IDLE_PRIORITY || this.#groupPriority(group, priority) < this.#groupPriority(group, running);
  }

  activate(group: InterruptGroup, priority: number): void {
    const bit = (1 << (this.#groupPriority(group, priority) >> (8 - PRIORITY_BITS))) >>> 0;
    if (group === 0) this.active0 = (this.active0 | bit) >>> 0;
    else this.active1 = (this.active1 | bit) >>> 0;
  }

  /** Priority drop: the most urgent active priority ends. */
  dropPriority(): void {
    if (lowestBit(this.active0) <= lowestBit(this.active1)) this.active0 = (this.active0 & (this.active0 - 1)) >>> 0;
    else this.active1 = (this.active1 & (this.active1 - 1)) >>> 0;
  }

  save(): Uint8Array {
    const bytes = new Uint8Array(FIELDS.length * 4);
    const view = new DataView(bytes.buffer);
    FIELDS.forEach((field, index) => {
      view.setUint32(index * 4, this[field]);
    });
    return bytes;
  }

  /** Throws RangeError for another length. */
  restore(bytes: Uint8Array): void {
    if (bytes.length !== FIELDS.length * 4)
      throw new RangeError(`a CPU interface has ${FIELDS.length * 4} bytes, found ${bytes.length}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    FIELDS.forEach((field, index) => {
      this[field] = view.getUint32(index * 4);
    });
  }
}
