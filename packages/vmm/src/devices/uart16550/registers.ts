/** 16550A UART: register map (National Semiconductor PC16550D data sheet, table II). */

/** By offset; several have two meanings, by direction or by LCR.DLAB. */
export const UartRegister = {
  /** RBR read, THR written; DLL with DLAB. */
  data: 0,
  /** IER; DLM with DLAB. */
  interruptEnable: 1,
  /** IIR read, FCR written. */
  interruptIdentification: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const;

export const UART_PORTS = 8;

export const InterruptEnable = { received: 1, transmitterEmpty: 2, lineStatus: 4, modemStatus: 8 } as const;
export const INTERRUPT_ENABLE_BITS = 0x0f;

/** IIR, bits 3 to 0, highest priority first. */
export const InterruptIdentification = {
  lineStatus: 6,
  received: 4,
  characterTimeout: 12,
  transmitterEmpty: 2,
  modemStatus: 0,
  none: 1,
} as const;
/** IIR bits 7 and 6: the FIFOs are on, and work. */
export const FIFOS_ENABLED = 0xc0;

export const FifoControl = { enable: 1, resetReceiver: 2 } as const;
export const FIFO_BYTES = 16;
/** By FCR bits 7 and 6. */
export const RECEIVE_TRIGGER_BYTES: readonly number[] = [1, 4, 8, 14];

export const LineControl = { divisorLatch: 0x80 } as const;

export const ModemControl = { dataTerminalReady: 1, requestToSend: 2, out1: 4, out2: 8, loopback: 16 } as const;
export const MODEM_CONTROL_BITS = 0x1f;

export const LineStatus = { dataReady: 1, overrun: 2, holdingEmpty: 0x20, transmitterEmpty: 0x40 } as const;

export const ModemStatus = {
  deltaClearToSend: 1,
  deltaDataSetReady: 2,
  trailingEdgeRing: 4,
  deltaCarrierDetect: 8,
  clearToSend: 0x10,
  dataSetReady: 0x20,
  ringIndicator: 0x40,
  carrierDetect: 0x80,
} as const;
