/** 256 bits, one for each vector: ISR, TMR and IRR of a local APIC. Intel SDM volume 3, 11.8.4. */
export class VectorSet {
  readonly words: Uint32Array = new Uint32Array(8);

  has(vector: number): boolean {
    return (((this.words[vector >> 5] ?? 0) >>> (vector & 31)) & 1) === 1;
  }

  set(vector: number, isIn: boolean): void {
    const bit = 1 << (vector & 31);
    const word = this.words[vector >> 5] ?? 0;
    this.words[vector >> 5] = isIn ? word | bit : word & ~bit;
  }

  /** -1: there is none. */
  get highest(): number {
    for (let index = 7; index >= 0; index--) {
      const word = this.words[index] ?? 0;
      if (word !== 0) return 32 * index + 31 - Math.clz32(word);
    }
    return -1;
  }

  clear(): void {
    this.words.fill(0);
  }
}
