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

#define VECTOR_TIMER 0x30
#define VECTOR_CONSOLE 0x31
#define VECTOR_SPURIOUS 0xff

#endif
