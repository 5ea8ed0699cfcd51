/** /dev/kvm on x86: what does not hang on a VM. */
import { RoomError } from "@hvjournal/core";
import type { CpuidEntry } from "../kvm/cpuid-entry.js";
import type { Amd64ControlState } from "../kvm/control-slice.js";
import type { HostModel } from "../kvm/host-model.js";
import { MSR_INDEX_LIST } from "../kvm/msr-index-list.js";
import { checkCapability } from "./enable-cap.js";
import {
  answerSupportedCpuid,
  answerSupportedHypervCpuid,
  checkHypervCpuidScope,
  type SupportedHypervCpuid,
} from "./supported-cpuid.js";

const API_VERSION = 12;

export class KvmSystem {
  /** The simulated host. */
  readonly host: HostModel;
  readonly #state: Amd64ControlState;

  /** `state`: what holds of the kernel by a VM's policies. */
  constructor(host: HostModel, state: Amd64ControlState = { capabilities: [] }) {
    this.host = host;
    this.#state = state;
  }

  /** KVM_GET_API_VERSION. */
  getApiVersion(): number {
    return API_VERSION;
  }

  /** KVM_CHECK_EXTENSION: 0 for what there is not, never an error. */
  checkExtension(cap: number | string): number {
    return checkCapability(cap, this.#state);
  }

  /** KVM_GET_SUPPORTED_CPUID into room for `n` entries. Throws RoomError: E2BIG. */
  getSupportedCpuid(n = Infinity): readonly CpuidEntry[] {
    return answerSupportedCpuid(n);
  }

  /** KVM_GET_MSR_INDEX_LIST into room for `n` numbers. Throws RoomError: E2BIG. */
  getMsrIndexList(n = Infinity): readonly number[] {
    if (n < MSR_INDEX_LIST.length)
      throw new RoomError("KVM_GET_MSR_INDEX_LIST", { n: MSR_INDEX_LIST.length, given: n, what: "numbers" });
    return MSR_INDEX_LIST;
  }

  /**
   * KVM_GET_SUPPORTED_HV_CPUID, the system's form: all that KVM supports, whatever VMs do. Throws KvmError: E2BIG; ENOTTY where the
   * policy hv.cpuid.scope has the vCPUs' form alone.
   */
  getSupportedHvCpuid(n = Infinity): SupportedHypervCpuid {
    checkHypervCpuidScope(this.#state, "system");
    const { hasNestedVmx, isSmtPossible, lackedCpuid } = this.host;
    const support = { hasEvmcs: hasNestedVmx, isSmtPossible, lackedCpuid, hasApic: true };
    return answerSupportedHypervCpuid(n, "system", { support, dependsOn: [] });
  }
}
