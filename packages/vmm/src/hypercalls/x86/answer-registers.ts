/** Registers that an answer sets. */

/** The kernel half's register that stands for `kvm_run.msr.error`. */
export const MSR_ERROR = "msr_error";

/** What a command of the VMware backdoor may give back. */
export const VMPORT_OUTPUTS = ["eax", "ebx", "ecx", "edx", "esi", "edi"] as const;
