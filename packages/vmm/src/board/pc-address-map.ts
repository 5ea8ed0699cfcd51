/** The `pc` board's guest-physical addresses, ports and interrupt lines: QEMU's where it has the same device. */

export const PC_ADDRESS_MAP = {
  /** Up to where the devices of a 32-bit address space begin. */
  ram: { base: 0, bytesMax: 0xc000_0000 },
  /** Up to 1 MiB: what firmware leaves in its ROM's shadow, for us the ACPI tables. */
  firmwareArea: { base: 0xe_0000, bytes: 0x2_0000 },
  /** End of conventional memory; 1 KiB below 640 KiB, as with an extended BIOS data area. */
  conventionalMemoryBytes: 0x9_fc00,
  /** Slot n has the n-th of `VIRTIO_GSIS`. */
  virtioMmio: { base: 0xfeb0_0000, bytesPerSlot: 0x200 },
  /** Where PCI's BARs may lie, and do before a guest moves them: so many bytes a device, in the order of their numbers. */
  pciMemory: { base: 0xe000_0000, bytes: 0x1000_0000, bytesPerDevice: 0x8000, virtioOffset: 0x4000 },
  /** The kernel half's; here for ACPI and for names. */
  ioApic: { base: 0xfec0_0000, bytes: 0x1000 },
  localApic: { base: 0xfee0_0000, bytes: 0x1000 },
} as const;

/** First port of each device; PIC, PIT and port 0x61 are the kernel half's. */
export const PC_PORT = {
  keyboardController: 0x60,
  cmos: 0x70,
  postCode: 0x80,
  debugExit: 0xf4,
  com1: 0x3f8,
  pm1Event: 0x600,
  pm1Control: 0x604,
  resetControl: 0xcf9,
} as const;

/** Global system interrupts; those below 16 are ISA's. */
export const PC_GSI = { com1: 4, cmos: 8, sci: 9 } as const;

/** Those that no ISA device of this board has, the IOAPIC's own first. */
export const VIRTIO_GSIS: readonly number[] = [16, 17, 18, 19, 20, 21, 22, 23, 10, 11, 14, 15, 5, 6, 7, 12];

export const PC_VCPU_COUNT_MAX = 8;
