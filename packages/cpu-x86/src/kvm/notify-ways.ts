/** The ways in which a guest may tell its VMM that there is something to do: policy `notify.via`. */
export const NOTIFY_WAYS = ["pio", "mmio", "ioeventfd", "hypercall"] as const;
export type NotifyWay = (typeof NOTIFY_WAYS)[number];
