/** virtio console device (Virtual I/O Device 1.2, section 5.3): one port, so two queues. */

export const CONSOLE_QUEUE_SIZE = 64;
export const RECEIVE_QUEUE = 0;
export const TRANSMIT_QUEUE = 1;

/** The terminal's size is a fact of the host, so VIRTIO_CONSOLE_F_SIZE is not offered. */
export const ConsoleFeature = { emergencyWrite: 1n << 2n } as const;

/** Offsets in config space, and its length. */
export const ConsoleConfig = { emergencyWrite: 8, bytes: 12 } as const;

/** One output event holds at most this much. */
export const OUTPUT_BYTES_PER_EVENT_MAX = 4096;
