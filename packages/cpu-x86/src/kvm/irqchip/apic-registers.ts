/** Registers of the local APIC, by offset in its page; x2APIC's MSR is 0x800 plus the offset's sixteenth. Intel SDM volume 3, 11.4.1, 11.12.1. */
export const ApicRegister = {
  id: 0x20,
  version: 0x30,
  taskPriority: 0x80,
  arbitrationPriority: 0x90,
  processorPriority: 0xa0,
  endOfInterrupt: 0xb0,
  logicalDestination: 0xd0,
  destinationFormat: 0xe0,
  spuriousVector: 0xf0,
  inService: 0x100,
  triggerMode: 0x180,
  interruptRequest: 0x200,
  errorStatus: 0x280,
  commandLow: 0x300,
  commandHigh: 0x310,
  lvtTimer: 0x320,
  lvtThermal: 0x330,
  lvtPerformance: 0x340,
  lvtLint0: 0x350,
  lvtLint1: 0x360,
  lvtError: 0x370,
  initialCount: 0x380,
  currentCount: 0x390,
  divideConfiguration: 0x3e0,
  selfIpi: 0x3f0,
} as const;

/** Local vector table, in the order of the registers. */
export const LVT_COUNT = 6;
export const Lvt = { timer: 0, thermal: 1, performance: 2, lint0: 3, lint1: 4, error: 5 } as const;

export const LvtBit = { masked: 1 << 16, levelTriggered: 1 << 15, pending: 1 << 12 } as const;
/** Writable bits of each: vector and mask; delivery mode; polarity, remote IRR (not written) and trigger; timer mode. */
const VECTOR_AND_MASK = 0x1_00ff;
export const LVT_WRITABLE: readonly number[] = [
  VECTOR_AND_MASK | (3 << 17),
  VECTOR_AND_MASK | 0x700,
  VECTOR_AND_MASK | 0x700,
  VECTOR_AND_MASK | 0xa700,
  VECTOR_AND_MASK | 0xa700,
  VECTOR_AND_MASK,
];

/** Delivery modes of ICR, LVT and the IOAPIC's entries. */
export const Delivery = { fixed: 0, lowestPriority: 1, smi: 2, nmi: 4, init: 5, startUp: 6, external: 7 } as const;

/** Bits of the spurious-interrupt vector register. */
export const Spurious = { enabled: 1 << 8, suppressesBroadcast: 1 << 12 } as const;

/** Error status: 11.5.3. */
export const ApicError = { sendIllegalVector: 1 << 5, receivedIllegalVector: 1 << 6, illegalRegister: 1 << 7 } as const;

/** IA32_APIC_BASE: 11.4.4. */
export const ApicBase = { bootProcessor: 1 << 8, x2apic: 1 << 10, enabled: 1 << 11 } as const;
export const APIC_PAGE = 0xfee0_0000;
export const APIC_PAGE_BYTES = 0x1000;
/** Version 0x14 with six LVT entries, as KVM's. */
export const APIC_VERSION: number = 0x14 | ((LVT_COUNT - 1) << 16);

export const X2APIC_MSR = 0x800;
export const X2APIC_MSR_COUNT = 0x100;
