/** PCI's configuration space and its capabilities (PCI Local Bus Specification 3.0, chapter 6). */

export const CONFIGURATION_BYTES = 256;

/** Type 0 header (6.1). */
export const PciRegister = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  /** Programming interface, subclass, class. */
  classCode: 0x09,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

export const PciCommand = { memorySpace: 1 << 1, busMaster: 1 << 2, interruptDisable: 1 << 10 } as const;
export const PciStatus = { interrupt: 1 << 3, capabilityList: 1 << 4 } as const;
export const PciCapability = { vendorSpecific: 0x09, msix: 0x11 } as const;

/** Classes with their subclass and programming interface, as in `classCode`. */
export const PciClass = {
  hostBridge: 0x06_0000,
  other: 0x00_ff00,
  storage: 0x01_0000,
  communication: 0x07_8000,
} as const;

/** MSI-X capability (6.8.2). */
export const MsixRegister = { control: 2, table: 4, pending: 8, bytes: 12 } as const;
export const MsixControl = { functionMask: 1 << 14, enable: 1 << 15 } as const;
/** An entry of the table: address, data, vector control. */
export const MsixEntry = { addressLow: 0, addressHigh: 4, data: 8, control: 12, bytes: 16 } as const;
export const MSIX_ENTRY_MASKED = 1;
