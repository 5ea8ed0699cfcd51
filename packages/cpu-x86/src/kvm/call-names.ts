/**
 * Names of hypercalls: Hyper-V's by the Top-Level Functional Specification, KVM's by include/uapi/linux/kvm_para.h, Xen's by
 * include/xen/interface/xen.h.
 */

export const HYPERV_CALL_NAMES: ReadonlyMap<number, string> = new Map([
  [0x0001, "HvCallSwitchVirtualAddressSpace"],
  [0x0002, "HvCallFlushVirtualAddressSpace"],
  [0x0003, "HvCallFlushVirtualAddressList"],
  [0x0004, "HvCallGetLogicalProcessorRunTime"],
  [0x0008, "HvCallNotifyLongSpinWait"],
  [0x000b, "HvCallSendSyntheticClusterIpi"],
  [0x0011, "HvCallEnableVpVtl"],
  [0x0012, "HvCallVtlCall"],
  [0x0013, "HvCallFlushVirtualAddressSpaceEx"],
  [0x0014, "HvCallFlushVirtualAddressListEx"],
  [0x0015, "HvCallSendSyntheticClusterIpiEx"],
  [0x0050, "HvCallGetVpRegisters"],
  [0x0051, "HvCallSetVpRegisters"],
  [0x0052, "HvCallTranslateVirtualAddress"],
  [0x005c, "HvCallPostMessage"],
  [0x005d, "HvCallSignalEvent"],
  [0x0069, "HvCallPostDebugData"],
  [0x006a, "HvCallRetrieveDebugData"],
  [0x006b, "HvCallResetDebugSession"],
  [0x00af, "HvCallFlushGuestPhysicalAddressSpace"],
  [0x00b0, "HvCallFlushGuestPhysicalAddressList"],
  [0x8001, "HvExtCallQueryCapabilities"],
  [0x8002, "HvExtCallGetBootZeroedMemory"],
  [0x8003, "HvExtCallMemoryHeatHint"],
  [0x8004, "HvExtCallEpfSetup"],
  [0x8005, "HvExtCallSchedulerAssistSetup"],
  [0x8006, "HvExtCallMemoryHeatHintAsync"],
]);

export const KVM_CALL_NAMES: ReadonlyMap<number, string> = new Map([
  [1, "KVM_HC_VAPIC_POLL_IRQ"],
  [5, "KVM_HC_KICK_CPU"],
  [9, "KVM_HC_CLOCK_PAIRING"],
  [10, "KVM_HC_SEND_IPI"],
  [11, "KVM_HC_SCHED_YIELD"],
  [12, "KVM_HC_MAP_GPA_RANGE"],
  // Not upstream: policy notify.via.
  [0x4e01, "HVJ_HC_NOTIFY"],
]);

/** By their numbers, which begin at 0; "": none. */
const XEN_CALLS: readonly string[] = [
  ...["set_trap_table", "mmu_update", "set_gdt", "stack_switch", "set_callbacks", "fpu_taskswitch", "sched_op_compat"],
  ...["platform_op", "set_debugreg", "get_debugreg", "update_descriptor", "", "memory_op", "multicall"],
  ...["update_va_mapping", "set_timer_op", "event_channel_op_compat", "xen_version", "console_io", "physdev_op_compat"],
  ...["grant_table_op", "vm_assist", "update_va_mapping_otherdomain", "iret", "vcpu_op", "set_segment_base"],
  ...["mmuext_op", "xsm_op", "nmi_op", "sched_op", "callback_op", "xenoprof_op", "event_channel_op", "physdev_op"],
  ...["hvm_op", "sysctl", "domctl", "kexec_op", "tmem_op", "argo_op", "xenpmu_op", "dm_op", "hypfs_op"],
];

/** "HYPERVISOR_xen_version" */
export const XEN_CALL_NAMES: ReadonlyMap<number, string> = new Map(
  XEN_CALLS.flatMap((name, number) => (name === "" ? [] : [[number, `HYPERVISOR_${name}`]])),
);

/** "HvExtCallQueryCapabilities (0x8001)"; of a code without a known name the number alone. */
export function hypervCallName(code: number): string {
  return named(HYPERV_CALL_NAMES, code, `0x${code.toString(16).padStart(4, "0")}`);
}

/** "KVM_HC_MAP_GPA_RANGE (0xc)" */
export function kvmCallName(nr: number): string {
  return named(KVM_CALL_NAMES, nr, `0x${nr.toString(16)}`);
}

/** "HYPERVISOR_xen_version (0x11)" */
export function xenCallName(nr: number): string {
  return named(XEN_CALL_NAMES, nr, `0x${nr.toString(16)}`);
}

function named(names: ReadonlyMap<number, string>, number: number, text: string): string {
  const name = names.get(number);
  return name === undefined ? text : `${name} (${text})`;
}
