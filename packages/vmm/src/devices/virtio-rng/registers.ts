/** virtio entropy device (Virtual I/O Device 1.2, section 5.4): one queue, no features, no configuration. */

export const ENTROPY_QUEUE_SIZE = 64;
/** More than any driver asks for at once; a longer buffer is filled in part. */
export const ENTROPY_BYTES_PER_REQUEST_MAX = 4096;
