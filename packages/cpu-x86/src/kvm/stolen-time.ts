/**
 * Time that a vCPU was ready to run while others ran, as the guest is told it by MSR_KVM_STEAL_TIME:
 * Documentation/virt/kvm/x86/msr.rst. What counts is the wait of a vCPU whose slice ended for its next turn.
 */

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
}
