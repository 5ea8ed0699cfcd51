/** /dev/kvm on x86: what does not hang on a VM. */
import type { CpuidEntry } from "../kvm/cpuid-entry.js";
import type { HostVendor } from "../kvm/exit-model.js";
import { checkCapability } from "./enable-cap.js";
import { answerSupportedCpuid, answerSupportedHypervCpuid, type SupportedHypervCpuid } from "./supported-cpuid.js";

const API_VERSION = 12;

/** What of a host the answers hang on. */
export interface KvmHost {
  readonly vendor: HostVendor;
  /** Guests may be given VMX. */
  readonly hasNestedVmx: boolean;
  /** Two virtual processors may share a core. */
  readonly isSmtPossible: boolean;
}

export const INTEL_HOST: KvmHost = { vendor: "intel", hasNestedVmx: true, isSmtPossible: true };
export const AMD_HOST: KvmHost = { vendor: "amd", hasNestedVmx: false, isSmtPossible: true };

export class KvmSystem {
  readonly host: KvmHost;

  constructor(host: KvmHost) {
    this.host = host;
  }

  /** KVM_GET_API_VERSION. */
  getApiVersion(): number {
    return API_VERSION;
  }

  /** KVM_CHECK_EXTENSION: 0 for what there is not, never an error. */
  checkExtension(cap: number | string): number {
    return checkCapability(cap);
  }

  /** KVM_GET_SUPPORTED_CPUID into room for `n` entries. Throws RoomError: E2BIG. */
  getSupportedCpuid(n = Infinity): readonly CpuidEntry[] {
    return answerSupportedCpuid(n);
  }

  /** KVM_GET_SUPPORTED_HV_CPUID, the system's form: all that KVM supports, whatever VMs do. Throws KvmError: E2BIG. */
  getSupportedHvCpuid(n = Infinity): SupportedHypervCpuid {
    const { hasNestedVmx, isSmtPossible } = this.host;
    const support = { hasEvmcs: hasNestedVmx, isSmtPossible, hasApic: true };
    return answerSupportedHypervCpuid(n, "system", { support, dependsOn: [] });
  }
}
