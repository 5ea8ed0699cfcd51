/** A vCPU as a VMM sees it through KVM on x86: the ioctls of its file descriptor. */
import {
  accepted,
  KvmError,
  RoomError,
  type VmmPort,
  type WholeNumber,
  wholeNumber,
  wideNumber,
} from "@hvjournal/core";
import { CAP_HYPERV_ENLIGHTENED_VMCS } from "../kvm/capabilities.js";
import type { Amd64ControlState } from "../kvm/control-slice.js";
import { isEnabled } from "../kvm/control/control-state.js";
import type { CpuidEntry } from "../kvm/cpuid-entry.js";
import { cpuidEntries } from "../kvm/cpuid.js";
import { hostUnder } from "../kvm/host-model.js";
import { EVMCS_VERSIONS } from "../kvm/hyperv/supported-leaves.js";
import { MP_STATE, msrRegister } from "../kvm/named-registers.js";
import { capabilityNamed, type EnableCap, enableCapability } from "./enable-cap.js";
import { type KvmRegs, type KvmSregs, readRegs, readSregs, writeRegs, writeSregs } from "./regs.js";
import { readVcpuEvents, type VcpuEvents, writeVcpuEvents } from "./vcpu-events.js";
import { answerSupportedHypervCpuid, checkHypervCpuidScope, type SupportedHypervCpuid } from "./supported-cpuid.js";

/** `struct kvm_msr_entry`. */
export interface MsrEntry {
  readonly index: number;
  readonly data: bigint;
}

export class KvmVcpu {
  readonly index: number;
  readonly #port: VmmPort;

  constructor(port: VmmPort, index: number) {
    this.#port = port;
    this.index = index;
  }

  /** What the control plane's events have made of the VM. */
  get controlState(): Amd64ControlState {
    return this.#port.configuration as Amd64ControlState;
  }

  /** One register of KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_FPU by its name. Throws RangeError for none. */
  getReg(name: string): bigint {
    return this.#port.readRegister(this.index, name);
  }

  setReg(name: string, value: WholeNumber): void {
    this.#port.setRegister(this.index, name, wideNumber("setReg: value", value));
  }

  /**
   * KVM_ENABLE_CAP on the vCPU. Gives what KVM writes to where the first argument of KVM_CAP_HYPERV_ENLIGHTENED_VMCS points to,
   * its versions: high byte to low byte. Throws KvmError: EINVAL, ENOTTY.
   */
  enableCap(capability: EnableCap): number | undefined {
    enableCapability(this.#port, capability, this.index);
    return capabilityNamed(capability.cap) === CAP_HYPERV_ENLIGHTENED_VMCS ? EVMCS_VERSIONS : undefined;
  }

  /** KVM_SET_CPUID2: all that the guest is told. Throws KvmError: EINVAL, E2BIG. */
  setCpuid2(entries: readonly CpuidEntry[]): void {
    const plain = entries.map((entry) => ({ ...entry }));
    accepted(this.#port.control({ name: "cpuid2", vcpu: this.index, entries: plain }));
  }

  /** KVM_GET_CPUID2 into room for `n` entries. Throws RoomError: E2BIG. */
  getCpuid2(n = Infinity): readonly CpuidEntry[] {
    const entries = cpuidEntries({ control: this.controlState, vcpuCount: this.#port.context.vcpuCount }, this.index);
    if (n < entries.length) throw new RoomError("KVM_GET_CPUID2", { n: entries.length, given: n, what: "entries" });
    return entries;
  }

  /**
   * KVM_GET_SUPPORTED_HV_CPUID, the vCPU's form: what it could be told now, which changes with what is enabled on it. Throws
   * KvmError: E2BIG; ENOTTY where the policy hv.cpuid.scope has the system's form alone.
   */
  getSupportedHvCpuid(n = Infinity): SupportedHypervCpuid {
    checkHypervCpuidScope(this.controlState, "vcpu");
    const hasEvmcs = isEnabled(this.controlState, CAP_HYPERV_ENLIGHTENED_VMCS, this.index);
    const { isSmtPossible, lackedCpuid } = hostUnder(this.controlState);
    const support = { hasEvmcs, isSmtPossible, lackedCpuid, hasApic: true };
    const dependsOn = [
      { on: `${CAP_HYPERV_ENLIGHTENED_VMCS} of vcpu${this.index}`, is: hasEvmcs },
      { on: "local APIC in the kernel", is: true },
    ];
    return answerSupportedHypervCpuid(n, "vcpu", { support, dependsOn });
  }

  /** KVM_GET_REGS. */
  getRegs(): KvmRegs {
    return readRegs(this.#port, this.index);
  }

  /** KVM_SET_REGS of those that are given; a pending exception is gone. Throws KvmError: EINVAL. */
  setRegs(regs: KvmRegs): void {
    writeRegs(this.#port, this.index, regs);
  }

  /** KVM_GET_SREGS. */
  getSregs(): KvmSregs {
    return readSregs(this.#port, this.index);
  }

  /** KVM_SET_SREGS. Throws KvmError: EINVAL. */
  setSregs(sregs: KvmSregs): void {
    writeSregs(this.#port, this.index, sregs);
  }

  /** KVM_GET_VCPU_EVENTS. */
  getVcpuEvents(): VcpuEvents {
    return readVcpuEvents(this.#port, this.index);
  }

  /** KVM_SET_VCPU_EVENTS. Throws KvmError: EINVAL. */
  setVcpuEvents(events: VcpuEvents): void {
    writeVcpuEvents(this.#port, this.index, events);
  }

  /** One MSR of KVM_GET_MSRS; undefined: there is none of this number, and KVM_GET_MSRS stops there. */
  getMsr(index: WholeNumber): bigint | undefined {
    try {
      return this.#port.readRegister(this.index, msrRegister(wholeNumber("getMsr: index", index)));
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  /** KVM_GET_MSRS: entries up to the first that there is not. How many there are is what the ioctl gives back. */
  getMsrs(indices: readonly number[]): readonly MsrEntry[] {
    const entries: MsrEntry[] = [];
    for (const index of indices) {
      const data = this.getMsr(index);
      if (data === undefined) break;
      entries.push({ index, data });
    }
    return entries;
  }

  /** KVM_SET_MSRS: gives how many were set, which ends before the first that is refused. */
  setMsrs(entries: readonly MsrEntry[]): number {
    let count = 0;
    for (const { index, data } of entries) {
      if (!this.#setMsr(index, data)) break;
      count += 1;
    }
    return count;
  }

  #setMsr(index: number, data: bigint): boolean {
    try {
      this.#port.setRegister(this.index, msrRegister(index), wideNumber("setMsrs: data", data));
      return true;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  }

  /** KVM_GET_MP_STATE. */
  getMpState(): number {
    return Number(this.#port.readRegister(this.index, MP_STATE));
  }

  /** KVM_SET_MP_STATE. Throws KvmError: EINVAL. */
  setMpState(state: number): void {
    try {
      this.#port.setRegister(this.index, MP_STATE, BigInt(state));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new KvmError({ errno: "EINVAL", call: "KVM_SET_MP_STATE", reason: error.message });
    }
  }
}
