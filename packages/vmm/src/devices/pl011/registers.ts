/** PL011 UART: register map and bits (Arm DDI 0183, chapter 3). */

export const Pl011Register = {
  data: 0x000,
  /** RSR when read, ECR when written. */
  receiveStatus: 0x004,
  flags: 0x018,
  irdaCounter: 0x020,
  integerBaudRate: 0x024,
  fractionalBaudRate: 0x028,
  lineControl: 0x02c,
  control: 0x030,
  fifoLevelSelect: 0x034,
  interruptMask: 0x038,
  rawInterruptStatus: 0x03c,
  maskedInterruptStatus: 0x040,
  interruptClear: 0x044,
  dmaControl: 0x048,
} as const;

/** UARTDR and UARTRSR. */
export const DataError = { overrunInData: 1 << 11, overrunInStatus: 1 << 3 } as const;

/** UARTFR. */
export const Pl011Flag = {
  clearToSend: 1 << 0,
  dataSetReady: 1 << 1,
  dataCarrierDetect: 1 << 2,
  receiveEmpty: 1 << 4,
  receiveFull: 1 << 6,
  transmitEmpty: 1 << 7,
  ringIndicator: 1 << 8,
} as const;

/** UARTLCR_H. */
export const LineControl = { fifoEnable: 1 << 4 } as const;

/** UARTCR. */
export const Pl011Control = {
  uartEnable: 1 << 0,
  loopback: 1 << 7,
  transmitEnable: 1 << 8,
  receiveEnable: 1 << 9,
  dataTransmitReady: 1 << 10,
  requestToSend: 1 << 11,
  out1: 1 << 12,
  out2: 1 << 13,
} as const;

/** UARTIMSC, UARTRIS, UARTMIS, UARTICR. */
export const Pl011Interrupt = {
  receive: 1 << 4,
  transmit: 1 << 5,
  receiveTimeout: 1 << 6,
  overrun: 1 << 10,
} as const;

/** Bits that each register keeps. */
export const WritableBits = {
  irdaCounter: 0xff,
  integerBaudRate: 0xffff,
  fractionalBaudRate: 0x3f,
  lineControl: 0xff,
  control: 0xff87,
  fifoLevelSelect: 0x3f,
  interrupts: 0x7ff,
  dmaControl: 0x7,
} as const;

export const Pl011Reset = {
  control: Pl011Control.receiveEnable | Pl011Control.transmitEnable,
  /** Both triggers at half full. */
  fifoLevelSelect: 0x12,
} as const;

/** Part 0x011, designer 0x41 (Arm), revision 1: the one with 16-byte FIFOs. */
export const PL011_PERIPHERAL_ID = [0x11, 0x10, 0x14, 0x00] as const;

export const FIFO_BYTES = 16;

/** Bytes at which the receive interrupt rises, by UARTIFLS.RXIFLSEL: 1/8, 1/4, 1/2, 3/4, 7/8; reserved values act as 1/2. */
export const RECEIVE_TRIGGER_BYTES = [2, 4, 8, 12, 14, 8, 8, 8] as const;
