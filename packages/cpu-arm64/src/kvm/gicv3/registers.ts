/** Register offsets and field values of the GICv3 frames (IHI 0069: 12.8 distributor, 12.10 redistributor), as far as KVM's vgic has them. */

/** SGIs 0 to 15 and PPIs 16 to 31 are private to a vCPU; SPIs follow. */
export const SGI_COUNT = 16;
export const PRIVATE_INTERRUPT_COUNT = 32;
/** Interrupts that KVM gives a VM whose VMM does not ask for a number (VGIC_NR_IRQS_LEGACY). */
export const INTERRUPT_COUNT = 256;
export const SPI_COUNT: number = INTERRUPT_COUNT - PRIVATE_INTERRUPT_COUNT;

/** INTIDs from here on are special; 1023 says that there is nothing to acknowledge. */
export const SPECIAL_INTID_START = 1020;
export const SPURIOUS_INTID = 1023;

/** The list registers of a Cortex-A57 class CPU keep 5 bits of priority, all of which preempt. */
export const PRIORITY_BITS = 5;
export const PRIORITY_MASK = 0xf8;
/** What ICC_RPR_EL1 shows while no interrupt is active, and the lowest priority mask. */
export const IDLE_PRIORITY = 0xff;

export const DISTRIBUTOR_BYTES = 0x10000;
/** A redistributor is two frames of 64 KiB: RD_base and SGI_base. */
export const REDISTRIBUTOR_FRAME_BYTES = 0x10000;
export const REDISTRIBUTOR_BYTES: number = 2 * REDISTRIBUTOR_FRAME_BYTES;

export const Gicd = {
  ctlr: 0x0000,
  typer: 0x0004,
  iidr: 0x0008,
  igroupr: 0x0080,
  isenabler: 0x0100,
  icenabler: 0x0180,
  ispendr: 0x0200,
  icpendr: 0x0280,
  isactiver: 0x0300,
  icactiver: 0x0380,
  ipriorityr: 0x0400,
  itargetsr: 0x0800,
  icfgr: 0x0c00,
  igrpmodr: 0x0d00,
  irouter: 0x6000,
  pidr2: 0xffe8,
} as const;

/** RD_base. */
export const Gicr = { ctlr: 0x0000, iidr: 0x0004, typer: 0x0008, waker: 0x0014, pidr2: 0xffe8 } as const;

/** GICD_CTLR with one security state: group 1 enable is the guest's, the others read as fixed. */
export const GicdCtlr = { enableGroup1: 1 << 1, affinityRouting: 1 << 4, disableSecurity: 1 << 6 } as const;

/** Product 0x4b ("K"), revision 3, implementer Arm: what KVM's vgic calls itself. */
export const GICD_IIDR = 0x4b00343b;
export const GICR_IIDR = 0x4b00043b;
/** ArchRev 3: a GICv3. */
export const GIC_PIDR2 = 0x3b;
/** GICD_TYPER: ITLinesNumber, and IDbits for 10-bit INTIDs. No LPIs, no extended SPIs, no message-based SPIs. */
export const GICD_TYPER: number = (INTERRUPT_COUNT / 32 - 1) | ((10 - 1) << 19);
/** GICR_TYPER.Last: the redistributor of the highest frame. */
export const GICR_TYPER_LAST: number = 1 << 4;
