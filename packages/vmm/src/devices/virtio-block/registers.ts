/** virtio block device (Virtual I/O Device 1.2, section 5.2). */

export const SECTOR_BYTES = 512;
export const BLOCK_QUEUE_SIZE = 256;

export const BlockFeature = {
  segmentsMax: 1n << 2n,
  readOnly: 1n << 5n,
  blockSize: 1n << 6n,
  flush: 1n << 9n,
} as const;

/** Offsets in config space, and its length. */
export const BlockConfig = { capacity: 0, segmentsMax: 12, blockSize: 20, bytes: 60 } as const;

/** `struct virtio_blk_req`: type, reserved, sector. */
export const REQUEST_HEADER_BYTES = 16;

export const BlockRequest = { read: 0, write: 1, flush: 4, getId: 8 } as const;

export const BlockStatus = { ok: 0, ioError: 1, unsupported: 2 } as const;
export const STATUS_BYTES = 1;

/** VIRTIO_BLK_ID_BYTES: ASCII, padded with zeros. */
export const DEVICE_ID_BYTES = 20;
