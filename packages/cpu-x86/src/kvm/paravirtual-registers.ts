/** What KVM's own MSRs hold: Documentation/virt/kvm/x86/msr.rst. */
import type { PayloadFields, PlainValue } from "@hvjournal/core";

interface Registers {
  systemTime: bigint;
  stealTime: bigint;
  eoiEnable: bigint;
  /** MSR_KVM_POLL_CONTROL: 1, the host polls before it lets a vCPU that halts go. */
  pollControl: bigint;
}

export class Paravirtual {
  readonly #vcpus: readonly Registers[];
  /** Of the VM: the last wall clock's address that was written. */
  wallClock = 0n;

  constructor(vcpuCount: number) {
    this.#vcpus = Array.from({ length: vcpuCount }, () => ({
      systemTime: 0n,
      stealTime: 0n,
      eoiEnable: 0n,
      pollControl: 1n,
    }));
  }

  of(vcpu: number): Registers {
    const found = this.#vcpus[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.#vcpus.length}`);
    return found;
  }

  plain(vcpu: number): { readonly [key: string]: PlainValue } {
    const { pollControl, ...others } = this.of(vcpu);
    return { ...others, wallClock: this.wallClock, ...(pollControl === 1n ? {} : { pollControl }) };
  }

  restore(vcpu: number, fields: PayloadFields): void {
    const registers = this.of(vcpu);
    registers.systemTime = fields.bigint("systemTime");
    registers.stealTime = fields.bigint("stealTime");
    registers.eoiEnable = fields.bigint("eoiEnable");
    registers.pollControl = fields.has("pollControl") ? fields.bigint("pollControl") : 1n;
    this.wallClock = fields.bigint("wallClock");
  }
}
