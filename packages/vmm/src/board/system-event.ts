/** KVM_EXIT_SYSTEM_EVENT: what a guest asks of its machine, and how the run ends by it (include/uapi/linux/kvm.h). */
import type { GuestStop } from "@hvjournal/core";

export const SystemEventType = { shutdown: 1, reset: 2, crash: 3, wakeup: 4, suspend: 5 } as const;

/** KVM_SYSTEM_EVENT_SHUTDOWN_FLAG_PSCI_OFF2 and KVM_SYSTEM_EVENT_RESET_FLAG_PSCI_RESET2. */
const PSCI_SECOND_FORM = 1;

/** Undefined for a type that does not end a run by itself. */
export function stopFor(type: number, flags: number): GuestStop | undefined {
  const second = (flags & PSCI_SECOND_FORM) !== 0;
  switch (type) {
    case SystemEventType.shutdown:
      return { what: "powered off", by: second ? "PSCI SYSTEM_OFF2" : "PSCI SYSTEM_OFF" };
    case SystemEventType.reset:
      return { what: "reset", by: second ? "PSCI SYSTEM_RESET2" : "PSCI SYSTEM_RESET" };
    case SystemEventType.crash:
      return { what: "crashed", by: "KVM_SYSTEM_EVENT_CRASH" };
    case SystemEventType.suspend:
      return { what: "suspended", by: "PSCI SYSTEM_SUSPEND" };
    default:
      return undefined;
  }
}
