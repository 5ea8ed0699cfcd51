/** What people call exits, beside the rows of an exit model. */
import { KvmExit } from "./exit-frame.js";

/** KVM_EXIT_* without the prefix, as positions and tables write them. */
export const KVM_EXIT_NAMES: ReadonlyMap<number, string> = new Map([
  [KvmExit.unknown, "UNKNOWN"],
  [KvmExit.io, "IO"],
  [KvmExit.hypercall, "HYPERCALL"],
  [KvmExit.debug, "DEBUG"],
  [KvmExit.hlt, "HLT"],
  [KvmExit.mmio, "MMIO"],
  [KvmExit.shutdown, "SHUTDOWN"],
  [KvmExit.failEntry, "FAIL_ENTRY"],
  [KvmExit.internalError, "INTERNAL_ERROR"],
  [KvmExit.systemEvent, "SYSTEM_EVENT"],
  [KvmExit.hyperv, "HYPERV"],
  [KvmExit.armNisv, "ARM_NISV"],
  [KvmExit.x86Rdmsr, "X86_RDMSR"],
  [KvmExit.x86Wrmsr, "X86_WRMSR"],
  [KvmExit.xen, "XEN"],
]);

/** Reasons, as `perf kvm stat` names them, by which a guest calls its hypervisor: `arg0` is the function. */
export const HYPERCALL_REASONS: ReadonlySet<string> = new Set([
  "HVC64",
  "HVC32",
  "SMC64",
  "SMC32",
  "VMCALL",
  "VMMCALL",
]);
