/** All interrupts of a VM with their CPU interfaces: what is pending where, acknowledged, active. */
import { vcpuOfAffinity } from "../affinity.js";
import { CpuInterface, type InterruptGroup } from "./cpu-interface.js";
import { InterruptBank } from "./interrupt-bank.js";
import {
  IDLE_PRIORITY,
  PRIVATE_INTERRUPT_COUNT,
  SGI_COUNT,
  SPECIAL_INTID_START,
  SPI_COUNT,
  SPURIOUS_INTID,
} from "./registers.js";

const SGI_MASK: number = (1 << SGI_COUNT) - 1;

const NONE_PENDING = -1;

export class Interrupts {
  readonly vcpuCount: number;
  /** GICD_CTLR.EnableGrp1; in KVM it stands for both groups. */
  distributorEnabled = false;
  readonly privateBanks: readonly InterruptBank[];
  readonly sharedBanks: readonly InterruptBank[];
  readonly interfaces: readonly CpuInterface[];
  /** GICD_IROUTER: affinity {Aff2, Aff1, Aff0} of each SPI. */
  readonly routes: Uint32Array = new Uint32Array(SPI_COUNT);

  /** What `#findPending` found. */
  #intid = NONE_PENDING;
  #priority = 0;
  #group: InterruptGroup = 0;

  constructor(vcpuCount: number) {
    this.vcpuCount = vcpuCount;
    this.privateBanks = Array.from({ length: vcpuCount }, () => {
      const bank = new InterruptBank();
      // KVM resets SGIs to enabled; they are edges, PPIs are levels, and neither can be configured.
      bank.enabled = SGI_MASK;
      bank.edge = SGI_MASK;
      return bank;
    });
    this.sharedBanks = Array.from({ length: SPI_COUNT / 32 }, () => new InterruptBank());
    this.interfaces = Array.from({ length: vcpuCount }, () => new CpuInterface());
  }

  interfaceOf(vcpu: number): CpuInterface {
    const found = this.interfaces[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpuCount}`);
    return found;
  }

  privateBank(vcpu: number): InterruptBank {
    const found = this.privateBanks[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpuCount}`);
    return found;
  }

  /** The bank of INTIDs `index * 32` and up as vCPU `vcpu` sees it; undefined beyond the last SPI. */
  bank(vcpu: number, index: number): InterruptBank | undefined {
    return index === 0 ? this.privateBank(vcpu) : this.sharedBanks[index - 1];
  }

  /** KVM_IRQ_LINE for an SPI, numbered from 0. Throws RangeError beyond the last. */
  setSpiLine(spi: number, level: 0 | 1): void {
    const bank = this.sharedBanks[spi >> 5];
    if (bank === undefined || spi < 0) throw new RangeError(`SPI ${spi} is beyond the last, ${SPI_COUNT - 1}`);
    bank.setLine(spi & 31, level);
  }

  /**
   * Finds the most urgent pending interrupt of an enabled group, of equal priority the lowest INTID, and keeps it in
   * `#intid`, `#priority`, `#group`: this runs at every entry to guest mode.
   */
  #findPending(vcpu: number): void {
    this.#intid = NONE_PENDING;
    this.#priority = IDLE_PRIORITY + 1;
    if (!this.distributorEnabled) return;
    const cpuInterface = this.interfaceOf(vcpu);
    this.#compareBank(vcpu, cpuInterface, this.privateBank(vcpu), 0);
    for (let index = 0; index < this.sharedBanks.length; index++) {
      const bank = this.sharedBanks[index];
      if (bank !== undefined) this.#compareBank(vcpu, cpuInterface, bank, index + 1);
    }
  }

  #compareBank(vcpu: number, cpuInterface: CpuInterface, bank: InterruptBank, index: number): void {
    for (let left = bank.deliverable; left !== 0; left = (left & (left - 1)) >>> 0) {
      const bit = 31 - Math.clz32(left & -left);
      const group: InterruptGroup = ((bank.group >>> bit) & 1) === 1 ? 1 : 0;
      if (!cpuInterface.isEnabled(group)) continue;
      if (index > 0 && this.#target(index * 32 + bit) !== vcpu) continue;
      const priority = bank.priority[bit] ?? 0;
      if (priority >= this.#priority) continue;
      this.#intid = index * 32 + bit;
      this.#priority = priority;
      this.#group = group;
    }
  }

  #target(intid: number): number | undefined {
    return vcpuOfAffinity(this.routes[intid - PRIVATE_INTERRUPT_COUNT] ?? 0, this.vcpuCount);
  }

  /**
   * Whether an interrupt could be signalled to a vCPU while nobody writes a register of the GIC: a shared one, or a
   * private one with a line in `privateLines`.
   */
  canSignal(vcpu: number, privateLines: number): boolean {
    const cpuInterface = this.interfaceOf(vcpu);
    if (!this.distributorEnabled || cpuInterface.priorityMask === 0) return false;
    if (!cpuInterface.isEnabled(0) && !cpuInterface.isEnabled(1)) return false;
    const own = this.privateBank(vcpu);
    if (((own.pending | privateLines) & own.enabled & ~own.active) !== 0) return true;
    return this.sharedBanks.some((bank) => (bank.enabled & ~bank.active) !== 0);
  }

  /** The group of the interrupt that is signalled to a vCPU, if one is: 0 as FIQ, 1 as IRQ. */
  signalled(vcpu: number): InterruptGroup | undefined {
    this.#findPending(vcpu);
    if (this.#intid === NONE_PENDING) return undefined;
    return this.interfaceOf(vcpu).admits(this.#group, this.#priority) ? this.#group : undefined;
  }

  /** ICC_IAR0_EL1, ICC_IAR1_EL1. */
  acknowledge(vcpu: number, group: InterruptGroup): number {
    if (this.signalled(vcpu) !== group) return SPURIOUS_INTID;
    this.bank(vcpu, this.#intid >> 5)?.acknowledge(this.#intid & 31);
    this.interfaceOf(vcpu).activate(group, this.#priority);
    return this.#intid;
  }

  /** ICC_HPPIR0_EL1, ICC_HPPIR1_EL1. */
  highestPendingIntid(vcpu: number, group: InterruptGroup): number {
    this.#findPending(vcpu);
    return this.#intid !== NONE_PENDING && this.#group === group ? this.#intid : SPURIOUS_INTID;
  }

  /** ICC_EOIR0_EL1, ICC_EOIR1_EL1. True when the interrupt has been deactivated. */
  endOfInterrupt(vcpu: number, intid: number): boolean {
    if (intid >= SPECIAL_INTID_START) return false;
    const cpuInterface = this.interfaceOf(vcpu);
    cpuInterface.dropPriority();
    return !cpuInterface.splitsDeactivation && this.deactivate(vcpu, intid);
  }

  /** ICC_DIR_EL1 with EOImode 1, and the second half of an EOI without it. */
  deactivate(vcpu: number, intid: number): boolean {
    const bank = this.bank(vcpu, intid >> 5);
    const mask = (1 << (intid & 31)) >>> 0;
    if (bank === undefined || (bank.active & mask) === 0) return false;
    bank.clearBits("active", mask);
    return true;
  }

  /** Pends an SGI at a vCPU; one that may only generate group 0 leaves an SGI of group 1 alone. */
  pendSgi(vcpu: number, intid: number, allowGroup1: boolean): void {
    const bank = this.privateBank(vcpu);
    const mask = 1 << intid;
    if (allowGroup1 || (bank.group & mask) === 0) bank.setBits("pending", mask);
  }
}
