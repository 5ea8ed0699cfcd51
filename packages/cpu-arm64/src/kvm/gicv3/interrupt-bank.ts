/** Thirty-two interrupts in a row: one bit each in words, as the registers show them. */
import { PRIORITY_MASK } from "./registers.js";

const WORD_COUNT = 6;
const BANK_BYTES = WORD_COUNT * 4 + 32;

/** What MMIO registers with one bit per interrupt show. */
export type BankWord = "group" | "enabled" | "pending" | "active" | "edge";

export class InterruptBank {
  /** 1: group 1. */
  group = 0xffff_ffff;
  enabled = 0;
  /** Pending by an edge, an SGI or a write to ISPENDR; for a level-sensitive interrupt beside its line. */
  latch = 0;
  active = 0;
  /** Level of the input line; of level-sensitive interrupts only, as KVM keeps it. */
  level = 0;
  /** 1: edge-triggered. */
  edge = 0;
  readonly priority: Uint8Array = new Uint8Array(32);

  get pending(): number {
    return (this.latch | (this.level & ~this.edge)) >>> 0;
  }

  /** Interrupts that could be signalled to a CPU interface. */
  get deliverable(): number {
    return (this.pending & this.enabled & ~this.active) >>> 0;
  }

  read(word: BankWord): number {
    return word === "pending" ? this.pending : this[word];
  }

  setBits(word: BankWord, mask: number): void {
    const target = word === "pending" ? "latch" : word;
    this[target] = (this[target] | mask) >>> 0;
  }

  /** Clearing a pending level-sensitive interrupt leaves it pending while its line is high. */
  clearBits(word: BankWord, mask: number): void {
    const target = word === "pending" ? "latch" : word;
    this[target] = (this[target] & ~mask) >>> 0;
  }

  setPriority(index: number, value: number): void {
    this.priority[index] = value & PRIORITY_MASK;
  }

  /** KVM's rule: a line's level is kept for level-sensitive interrupts; each high level pends an edge-triggered one. */
  setLine(index: number, level: 0 | 1): void {
    const mask = (1 << index) >>> 0;
    if ((this.edge & mask) !== 0) {
      if (level === 1) this.setBits("pending", mask);
      return;
    }
    this.level = (level === 1 ? this.level | mask : this.level & ~mask) >>> 0;
  }

  /** Pending to active. What stays of a level-sensitive one is its line. */
  acknowledge(index: number): void {
    const mask = (1 << index) >>> 0;
    this.clearBits("pending", mask);
    this.setBits("active", mask);
  }

  /** `derivedLevels`: lines whose level follows from other state (timers) and is not saved here. */
  save(derivedLevels: number): Uint8Array {
    const bytes = new Uint8Array(BANK_BYTES);
    const view = new DataView(bytes.buffer);
    const words = [this.group, this.enabled, this.latch, this.active, this.level & ~derivedLevels, this.edge];
    words.forEach((word, index) => {
      view.setUint32(index * 4, word);
    });
    bytes.set(this.priority, WORD_COUNT * 4);
    return bytes;
  }

  /** Throws RangeError for another length. */
  restore(bytes: Uint8Array): void {
    if (bytes.length !== BANK_BYTES)
      throw new RangeError(`an interrupt bank has ${BANK_BYTES} bytes, found ${bytes.length}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.group = view.getUint32(0);
    this.enabled = view.getUint32(4);
    this.latch = view.getUint32(8);
    this.active = view.getUint32(12);
    this.level = view.getUint32(16);
    this.edge = view.getUint32(20);
    this.priority.set(bytes.subarray(WORD_COUNT * 4));
  }
}
