/** Names of hypercalls: Hyper-V's by the Top-Level Functional Specification, KVM's by include/uapi/linux/kvm_para.h. */

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

/** "HvExtCallQueryCapabilities (0x8001)"; of a code without a known name the number alone. */
export function hypervCallName(code: number): string {
  return named(HYPERV_CALL_NAMES, code, `0x${code.toString(16).padStart(4, "0")}`);
}

/** "KVM_HC_MAP_GPA_RANGE (0xc)" */
export function kvmCallName(nr: number): string {
  return named(KVM_CALL_NAMES, nr, `0x${nr.toString(16)}`);
}

function named(names: ReadonlyMap<number, string>, number: number, text: string): string {
  const name = names.get(number);
  return name === undefined ? text : `${name} (${text})`;
}
