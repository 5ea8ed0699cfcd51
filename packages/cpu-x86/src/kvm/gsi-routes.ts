/** What GSIs beyond the IOAPIC's pins lead to: `struct kvm_irq_routing_entry` (Documentation/virt/kvm/api.rst, 4.52). */

/** GSIs below are pins of PIC and IOAPIC, wired as on a PC. */
export const FIRST_ROUTED_GSI = 24;
/** KVM_MAX_IRQ_ROUTES. */
export const GSI_END = 4096;

export interface MsiRoute {
  readonly gsi: number;
  readonly type: "msi";
  readonly address: bigint;
  readonly data: number;
}

/** KVM_IRQ_ROUTING_HV_SINT. */
export interface SintRoute {
  readonly gsi: number;
  readonly type: "hv-sint";
  readonly vcpu: number;
  readonly sint: number;
}

export type GsiRoute = MsiRoute | SintRoute;

/** An eventfd that raises a GSI. */
export interface Irqfd {
  readonly fd: number;
  readonly gsi: number;
}
