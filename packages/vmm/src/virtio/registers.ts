/** virtio over MMIO, version 2 (Virtual I/O Device 1.2, section 4.2), and what all devices share (sections 2 and 6). */

/** Table 4.1. */
export const VirtioMmioRegister = {
  magicValue: 0x000,
  version: 0x004,
  deviceId: 0x008,
  vendorId: 0x00c,
  deviceFeatures: 0x010,
  deviceFeaturesSelect: 0x014,
  driverFeatures: 0x020,
  driverFeaturesSelect: 0x024,
  queueSelect: 0x030,
  queueSizeMax: 0x034,
  queueSize: 0x038,
  queueReady: 0x044,
  queueNotify: 0x050,
  interruptStatus: 0x060,
  interruptAcknowledge: 0x064,
  status: 0x070,
  queueDescriptorLow: 0x080,
  queueDescriptorHigh: 0x084,
  queueDriverLow: 0x090,
  queueDriverHigh: 0x094,
  queueDeviceLow: 0x0a0,
  queueDeviceHigh: 0x0a4,
  sharedMemoryLengthLow: 0x0b0,
  sharedMemoryLengthHigh: 0x0b4,
  sharedMemoryBaseLow: 0x0b8,
  sharedMemoryBaseHigh: 0x0bc,
  config: 0x100,
} as const;

/** "virt", little endian. */
export const VIRTIO_MMIO_MAGIC = 0x7472_6976;
export const VIRTIO_MMIO_VERSION = 2;
/** "hvjl", little endian: any value does, and drivers ignore it. */
export const VIRTIO_VENDOR_ID = 0x6c6a_7668;
/** Length and base of a shared memory region that does not exist (section 4.2.2.1). */
export const NO_SHARED_MEMORY_WORD = 0xffff_ffff;

/** Section 2.1. */
export const DeviceStatus = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const;

/** InterruptStatus. */
export const VirtioInterrupt = { usedBuffer: 1, configurationChange: 2 } as const;

/** Section 6: bits that do not belong to one device. */
export const VirtioFeature = {
  indirectDescriptors: 1n << 28n,
  eventIndex: 1n << 29n,
  version1: 1n << 32n,
} as const;

/** Section 5. */
export const VirtioDeviceId = { block: 2, console: 3, entropy: 4 } as const;
