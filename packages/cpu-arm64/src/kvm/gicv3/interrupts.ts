/** All interrupts of a VM with their CPU interfaces: what is pending where, acknowledged, active. */
import { vcpuOfAffinity } from "../affinity.js";
import { CpuInterface, type InterruptGroup } from "./cpu-interface.js";
import { InterruptBank } from "./interrupt-bank.js";
import { PRIVATE_INTERRUPT_COUNT, SGI_COUNT, SPECIAL_INTID_START, SPI_COUNT, SPURIOUS_INTID } from "./registers.js";

const SGI_MASK: number = (1 << SGI_COUNT) - 1;

export interface PendingInterrupt {
  readonly intid: number;
  readonly priority: number;
  readonly group: InterruptGroup;
}

export class Interrupts {
  readonly vcpuCount: number;
  /** GICD_CTLR.EnableGrp1; in KVM it stands for both groups. */
  distributorEnabled = false;
  readonly privateBanks: readonly InterruptBank[];
  readonly sharedBanks: readonly InterruptBank[];
  readonly interfaces: readonly CpuInterface[];
  /** GICD_IROUTER: affinity {Aff2, Aff1, Aff0} of each SPI. */
  readonly routes: Uint32Array = new Uint32Array(SPI_COUNT);

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

  setPrivateLine(vcpu: number, intid: number, level: 0 | 1): void {
    this.privateBank(vcpu).setLine(intid, level);
  }

  /** Most urgent pending interrupt of an enabled group; of equal priority the lowest INTID. */
  highestPending(vcpu: number): PendingInterrupt | undefined {
    if (!this.distributorEnabled) return undefined;
    let best = this.#mostUrgent(vcpu, this.privateBank(vcpu), 0, undefined);
    for (const [index, bank] of this.sharedBanks.entries()) best = this.#mostUrgent(vcpu, bank, index + 1, best);
    return best;
  }

  #mostUrgent(
    vcpu: number,
    bank: InterruptBank,
    index: number,
    best: PendingInterrupt | undefined,
  ): PendingInterrupt | undefined {
    const cpuInterface = this.interfaceOf(vcpu);
    let found = best;
    for (let left = bank.deliverable; left !== 0; left = (left & (left - 1)) >>> 0) {
      const bit = 31 - Math.clz32(left & -left);
      const group: InterruptGroup = ((bank.group >>> bit) & 1) === 1 ? 1 : 0;
      if (!cpuInterface.isEnabled(group)) continue;
      if (index > 0 && this.#target(index * 32 + bit) !== vcpu) continue;
      const priority = bank.priority[bit] ?? 0;
      if (found === undefined || priority < found.priority) found = { intid: index * 32 + bit, priority, group };
    }
    return found;
  }

  #target(intid: number): number | undefined {
    return vcpuOfAffinity(this.routes[intid - PRIVATE_INTERRUPT_COUNT] ?? 0, this.vcpuCount);
  }

  /** The group of the interrupt that is signalled to a vCPU, if one is: 0 as FIQ, 1 as IRQ. */
  signalled(vcpu: number): InterruptGroup | undefined {
    const pending = this.highestPending(vcpu);
    return pending !== undefined && this.interfaceOf(vcpu).admits(pending.group, pending.priority)
      ? pending.group
      : undefined;
  }

  /** ICC_IAR0_EL1, ICC_IAR1_EL1. */
  acknowledge(vcpu: number, group: InterruptGroup): number {
    const pending = this.highestPending(vcpu);
    const cpuInterface = this.interfaceOf(vcpu);
    if (pending === undefined || pending.group !== group || !cpuInterface.admits(group, pending.priority))
      return SPURIOUS_INTID;
    this.bank(vcpu, pending.intid >> 5)?.acknowledge(pending.intid & 31);
    cpuInterface.activate(group, pending.priority);
    return pending.intid;
  }

  /** ICC_HPPIR0_EL1, ICC_HPPIR1_EL1. */
  highestPendingIntid(vcpu: number, group: InterruptGroup): number {
    const pending = this.highestPending(vcpu);
    return pending !== undefined && pending.group === group ? pending.intid : SPURIOUS_INTID;
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
