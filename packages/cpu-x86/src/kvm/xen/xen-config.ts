/**
 * KVM_XEN_HVM_CONFIG: whose the guest's calls are, and by which MSR it gets its page of calls
 * (Documentation/virt/kvm/api.rst, 4.38; arch/x86/kvm/xen.c).
 */

/** KVM_XEN_HVM_CONFIG_*. `hypercallMsr` is an answer of KVM_CHECK_EXTENSION, and none that a VMM may set. */
export const XenFlag = { hypercallMsr: 1, interceptCalls: 2 } as const;

/** KVM_XEN_MSR_MIN_INDEX and _MAX_INDEX. */
export const XEN_MSRS = { first: 0x4000_0000, last: 0x4fff_ffff } as const;

export interface XenHvmConfig {
  readonly flags: number;
  /** By whose write the guest gets its page; 0: by none, and then no call is Xen's. */
  readonly msr: number;
  /** Pages that the VMM has made, for a guest outside long mode, and in it; absent: none. */
  readonly blob32?: Uint8Array;
  readonly blob64?: Uint8Array;
}

/** Calls leave to the VMM. As where no other VM of the host has such an MSR: KVM looks at them only where one has. */
export function interceptsXenCalls(config: XenHvmConfig | undefined): boolean {
  return config !== undefined && config.msr !== 0 && (config.flags & XenFlag.interceptCalls) !== 0;
}
