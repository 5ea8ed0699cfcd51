/** Where things lie in the one linear memory of a VM. Offsets in bytes. */

/** The engine's own fields: exits, faults, fragments. */
export const ENGINE_STATE_START = 0x100;
export const ENGINE_STATE_END = 0x1000;
/** State of the vCPU that runs; the others' is kept aside and swapped in. */
export const VCPU_STATE_START = 0x1000;
export const VCPU_STATE_END = 0x4000;
