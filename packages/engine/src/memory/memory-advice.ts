/** What the process that VMs run in may do for their memory. */

/**
 * Told once a VM, before anything is written, of bytes of its memory that a guest will use densely: the host may back them
 * by large pages. A guest that begins touches tens of thousands of small ones, each by a fault.
 */
export type MemoryAdvice = (memory: Uint8Array) => void;

let advise: MemoryAdvice = () => undefined;

/** For all VMs of the process from now on. Never shows. */
export function useMemoryAdvice(advice: MemoryAdvice): void {
  advise = advice;
}

export function adviseDenselyUsed(memory: Uint8Array): void {
  advise(memory);
}
