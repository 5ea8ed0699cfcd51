/** virtio over PCI (Virtual I/O Device 1.2, section 4.1): identifiers, capabilities, registers. */

/** Section 4.1.2. */
export const VIRTIO_PCI_VENDOR = 0x1af4;
/** Plus the device's id; those below are transitional devices'. */
export const VIRTIO_PCI_DEVICE_BASE = 0x1040;
export const VIRTIO_PCI_REVISION = 1;
/** A subsystem id that no transitional driver takes for its own. */
export const VIRTIO_PCI_SUBSYSTEM = 0x1100;

/** `cfg_type` (section 4.1.4). */
export const VirtioPciCapability = { common: 1, notify: 2, isr: 3, device: 4, configurationAccess: 5 } as const;

/** The structures' places in their BAR, one a page so that a driver may map each by itself. */
export const VIRTIO_BAR = 4;
export const VIRTIO_BAR_BYTES = 0x4000;
export const VirtioPlace = {
  common: { offset: 0x0000, bytes: 0x1000 },
  isr: { offset: 0x1000, bytes: 0x1000 },
  device: { offset: 0x2000, bytes: 0x1000 },
  notify: { offset: 0x3000, bytes: 0x1000 },
} as const;
/** Each queue has a register of its own to notify it by. */
export const NOTIFY_MULTIPLIER = 4;

/** Section 4.1.4.3. */
export const CommonRegister = {
  deviceFeatureSelect: 0,
  deviceFeature: 4,
  driverFeatureSelect: 8,
  driverFeature: 12,
  configVector: 16,
  queueCount: 18,
  deviceStatus: 20,
  configGeneration: 21,
  queueSelect: 22,
  queueSize: 24,
  queueVector: 26,
  queueEnable: 28,
  queueNotifyOffset: 30,
  queueDescriptorLow: 32,
  queueDescriptorHigh: 36,
  queueDriverLow: 40,
  queueDriverHigh: 44,
  queueDeviceLow: 48,
  queueDeviceHigh: 52,
} as const;

/** VIRTIO_MSI_NO_VECTOR. */
export const NO_VECTOR = 0xffff;
