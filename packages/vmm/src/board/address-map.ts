/** The `virt` board's guest-physical addresses and wired interrupts: those of QEMU's board of this name, so that guests for it run here. */

import { VIRT_BOARD } from "@hvjournal/cpu-arm64";

export const VIRT_ADDRESS_MAP = {
  /** The kernel half's; here for the device tree and for names. */
  gicDistributor: { base: VIRT_BOARD.gic.distributor, bytes: 0x1_0000 },
  /** The kernel half's: two 64 KiB frames for each vCPU. */
  gicRedistributors: { base: VIRT_BOARD.gic.redistributors, bytes: 0x00f6_0000, bytesPerVcpu: 0x2_0000 },
  pl011: { base: 0x0900_0000, bytes: 0x1000, spi: 1 },
  pl031: { base: 0x0901_0000, bytes: 0x1000, spi: 2 },
  /** Slot n has SPI `firstSpi` + n. */
  virtioMmio: { base: 0x0a00_0000, bytesPerSlot: 0x200, slots: 32, firstSpi: 16 },
  /** Up to the end of what a 32-bit address reaches. */
  ram: { base: 0x4000_0000, bytesMax: 0xc000_0000 },
} as const;

/** INTID of private peripheral interrupts of the generic timer, minus 16 (BSA, table of PPIs). */
export const TIMER_PPI = { securePhysical: 13, nonSecurePhysical: 14, virtual: 11, hypervisor: 10 } as const;

/** Virtio slots of the devices that are always there; drive n has slot `firstDrive` + n. */
export const VIRTIO_SLOT = { console: 0, rng: 1, firstDrive: 2 } as const;

/** Clock of the PrimeCells. */
export const PERIPHERAL_CLOCK_HERTZ = 24_000_000;

/** Ports of `VmmPort.output` and of inputs. */
export const BOARD_PORT = { console: 0, virtioConsole: 1 } as const;
