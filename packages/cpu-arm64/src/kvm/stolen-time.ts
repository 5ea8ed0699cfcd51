/**
 * Time that a vCPU was ready to run while others ran, as the guest is told it: "Paravirtualized Time for Arm-based
 * Systems" (DEN0057), section 3.3. What counts is the wait of a vCPU whose slice ended for its next turn.
 */
import type { GuestMemory } from "@hvjournal/core";

/** struct pvclock_vcpu_stolen_time: revision, attributes (32 bits each), stolen nanoseconds; 64 bytes in all. */
const STRUCTURE_BYTES = 64;
const STOLEN_OFFSET = 8;

export interface StolenState {
  /** Nanoseconds in all. */
  stolenNs: number;
  /** Guest time since which it has waited for its turn; -1: it does not. */
  waitsSinceNs: number;
}

export class StolenTime {
  readonly vcpus: readonly StolenState[];

  constructor(vcpuCount: number) {
    this.vcpus = Array.from({ length: vcpuCount }, () => ({ stolenNs: 0, waitsSinceNs: -1 }));
  }

  of(vcpu: number): StolenState {
    const found = this.vcpus[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpus.length}`);
    return found;
  }

  /** Its slice has ended, and it would go on. */
  preempted(vcpu: number, nowNs: number): void {
    this.of(vcpu).waitsSinceNs = nowNs;
  }

  /** It has its turn again. */
  entered(vcpu: number, nowNs: number): void {
    const state = this.of(vcpu);
    if (state.waitsSinceNs >= 0) state.stolenNs += nowNs - state.waitsSinceNs;
    state.waitsSinceNs = -1;
  }

  /** PV_TIME_ST: counting begins when the guest asks, each time anew (kvm_init_stolen_time). */
  begin(memory: GuestMemory, vcpu: number, ipa: bigint): void {
    this.of(vcpu).stolenNs = 0;
    memory.write(Number(ipa), new Uint8Array(STRUCTURE_BYTES));
  }

  writeStolen(memory: GuestMemory, vcpu: number, ipa: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(this.of(vcpu).stolenNs), true);
    memory.write(Number(ipa) + STOLEN_OFFSET, bytes);
  }
}
