/* Ports, addresses and interrupts of the pc board. */
#ifndef BOARD_H
#define BOARD_H

#define COM1 0x3f8
#define COM1_GSI 4
#define CMOS 0x70
#define PM1_CONTROL 0x604
#define RESET_CONTROL 0xcf9
#define LOCAL_APIC 0xfee00000ul
#define IO_APIC 0xfec00000ul
#define VIRTIO_MMIO_BASE 0xfeb00000ul
#define VIRTIO_MMIO_STRIDE 0x200
/* Those whose global system interrupts follow each other, from that of the first. */
#define VIRTIO_MMIO_SLOTS 8
#define INTID_VIRTIO_MMIO 16

#define VECTOR_TIMER 0x30
#define VECTOR_CONSOLE 0x31
/* That of the first of the IOAPIC's inputs for virtio. */
#define VECTOR_VIRTIO 0x40
#define VECTOR_SPURIOUS 0xff

#endif
