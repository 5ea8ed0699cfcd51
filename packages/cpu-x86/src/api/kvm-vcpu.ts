/** A vCPU as a VMM sees it through KVM on x86: the ioctls of its file descriptor. */
import { KvmError, type VmmPort, type WholeNumber, wholeNumber, wideNumber } from "@hvjournal/core";
import type { Amd64ControlState } from "../kvm/control-slice.js";
import { MP_STATE, msrRegister } from "../kvm/named-registers.js";
import { type EnableCap, enableCapability } from "./enable-cap.js";

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

  /** KVM_ENABLE_CAP on the vCPU. Throws KvmError: EINVAL. */
  enableCap(capability: EnableCap): void {
    enableCapability(this.#port, capability, this.index);
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
