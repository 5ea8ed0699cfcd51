/**
 * What a simulated host offers its VMs: whose CPUs it has, what they can be lent to nested guests, and how old its kernel is. A
 * named, versioned table; a version's row never changes.
 *
 * Sources: arch/x86/kvm/hyperv.c (kvm_get_hv_cpuid), vmx/hyperv.c (nested_enable_evmcs) and x86.c (kvm_vm_ioctl_check_extension)
 * of the kernels named.
 */
import type { HostReference } from "@hvjournal/core";
import {
  CAP_DISABLE_QUIRKS2,
  CAP_ENFORCE_PV_FEATURE_CPUID,
  CAP_EXIT_HYPERCALL,
  CAP_HYPERV_ENFORCE_CPUID,
  CAP_USER_SPACE_MSR,
} from "./capabilities.js";
import type { HostVendor } from "./exit-model.js";

export interface HostModel extends HostReference {
  readonly summary: string;
  readonly vendor: HostVendor;
  /** Guests may be given VMX: KVM_CAP_HYPERV_ENLIGHTENED_VMCS can be enabled. */
  readonly hasNestedVmx: boolean;
  /** Two vCPUs may share a core: bit 18 of EAX of Hyper-V's leaf 0x40000004 is clear. */
  readonly isSmtPossible: boolean;
  /** Capabilities that its kernel does not have. */
  readonly lackedCapabilities: readonly string[];
  /** Bits of CPUID that its kernel serves no guest, by name of the item. */
  readonly lackedCpuid: readonly string[];
}

const NEWEST = { version: 1, isSmtPossible: true, lackedCapabilities: [], lackedCpuid: [] } as const;

/** What came with later kernels. */
const SINCE_5_10 = {
  lackedCapabilities: [
    CAP_USER_SPACE_MSR,
    CAP_ENFORCE_PV_FEATURE_CPUID,
    CAP_HYPERV_ENFORCE_CPUID,
    CAP_EXIT_HYPERCALL,
    CAP_DISABLE_QUIRKS2,
  ],
  lackedCpuid: [
    "CPUID 0x40000003.EAX[15]",
    "CPUID 0x40000003.EBX[20]",
    "CPUID 0x40000003.EDX[4]",
    "CPUID 0x40000003.EDX[14]",
    "CPUID 0x40000003.EDX[15]",
  ],
} as const;

/** The default first. */
export const HOST_MODELS: readonly HostModel[] = [
  { ...NEWEST, name: "intel", summary: "Intel CPUs, which nested guests may have VMX of", ...ofIntel(true) },
  { ...NEWEST, name: "amd", summary: "AMD CPUs", ...ofAmd() },
  { ...NEWEST, name: "intel-no-nested", summary: "Intel CPUs; no guest has VMX (nested=0)", ...ofIntel(false) },
  {
    ...{ ...NEWEST, name: "intel-no-smt", summary: "Intel CPUs with one thread a core", ...ofIntel(true) },
    isSmtPossible: false,
  },
  { ...NEWEST, ...SINCE_5_10, name: "intel-linux-5.10", summary: "Intel CPUs, and an old kernel", ...ofIntel(true) },
  { ...NEWEST, ...SINCE_5_10, name: "amd-linux-5.10", summary: "AMD CPUs, and an old kernel", ...ofAmd() },
];

function ofIntel(hasNestedVmx: boolean): Pick<HostModel, "vendor" | "hasNestedVmx"> {
  return { vendor: "intel", hasNestedVmx };
}

function ofAmd(): Pick<HostModel, "vendor" | "hasNestedVmx"> {
  return { vendor: "amd", hasNestedVmx: false };
}

/** The newest host of a vendor; the one under a VM that names none. */
export function hostOfVendor(vendor: HostVendor): HostModel {
  const found = HOST_MODELS.find((host) => host.vendor === vendor);
  if (found === undefined) throw new RangeError(`there is no host of ${vendor}`);
  return found;
}

/** Throws RangeError for a row that this build does not have. */
export function hostModelOf({ name, version }: HostReference): HostModel {
  const found = HOST_MODELS.find((host) => host.name === name && host.version === version);
  if (found === undefined) throw new RangeError(`there is no host ${name} version ${version}`);
  return found;
}

/** The host under a VM: one that names none is on Intel's newest. */
export function hostUnder({ host }: { readonly host?: HostReference }): HostModel {
  return host === undefined ? hostOfVendor("intel") : hostModelOf(host);
}

/** The newest row of a name. Throws RangeError for a name that this build does not have. */
export function hostNamed(name: string): HostModel {
  const found = HOST_MODELS.filter((host) => host.name === name).at(-1);
  if (found === undefined)
    throw new RangeError(`there is no host ${name}: ${HOST_MODELS.map((host) => host.name).join(", ")}`);
  return found;
}
