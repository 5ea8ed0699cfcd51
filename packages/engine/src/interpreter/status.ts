/** What a handler outside the main function gives back. */
export const HandlerStatus = {
  /** Retired; the next record follows. */
  next: 0,
  /** Retired; pc is in state. */
  jumped: 1,
  /** Retired; pc is in state, and context and interrupts are looked at again. */
  recheck: 2,
  /** An exception was taken in its place; pc is in state. */
  raised: 3,
  /** Leaves; nothing has retired, pc is in state. */
  exitBefore: 4,
  /** Retired, then leaves; pc is in state. */
  exitAfter: 5,
} as const;

/** Exit codes of the engine; an architecture's own start at `FIRST_ARCHITECTURE_EXIT`. */
export const EngineExit = {
  budget: 0,
  mmioRead: 1,
  mmioWrite: 2,
  watch: 3,
  /** The delivery of an interrupt or exception reads where there is no RAM; the vCPU can't go on (KVM_INTERNAL_ERROR_DELIVERY_EV). */
  deliveryFailed: 4,
  /** pc is the break pc of this run; nothing of what comes there has happened. */
  breakpoint: 5,
} as const;
export const FIRST_ARCHITECTURE_EXIT = 16;
