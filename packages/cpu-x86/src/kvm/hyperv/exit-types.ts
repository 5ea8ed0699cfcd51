/** `kvm_run.hyperv.type`; those above 3 are not upstream. */
export const HypervExit = { synic: 1, hypercall: 2, syndbg: 3, hypercallXmm: 4 } as const;
