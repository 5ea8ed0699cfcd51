/* Addresses and interrupt numbers of the `virt` board, the same as QEMU's. */
#ifndef BOARD_H
#define BOARD_H

#define RAM_BASE 0x40000000

#define GICD_BASE 0x08000000
#define GICR_BASE 0x080a0000
#define PL011_BASE 0x09000000
#define VIRTIO_MMIO_BASE 0x0a000000
#define VIRTIO_MMIO_STRIDE 0x200
#define VIRTIO_MMIO_SLOTS 32

/* Interrupt IDs: PPIs from 16, SPIs from 32. */
#define INTID_VIRTUAL_TIMER 27
#define INTID_PL011 33
#define INTID_VIRTIO_MMIO 48

/* Where the ELF file is loaded; QEMU puts an Image there too. Below it is room for the device tree. */
#define LOAD_ADDRESS 0x40200000

/* The image runs here, through TTBR1, wherever it was loaded. */
#define KERNEL_BASE 0xffffff8000000000
/* 2 MiB of translations that scenarios change as they like. */
#define PLAYGROUND_BASE 0xffffff8000200000
/* Where EL0 runs, through TTBR0. */
#define USER_BASE 0x1000000000

#endif
