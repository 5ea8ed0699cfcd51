/* GICv3 (Arm IHI 0069) with one security state: everything is group 1, affinity 0. */
#include "machine.h"

enum { GICD_CTLR = 0x0000, GICD_IGROUPR = 0x0080, GICD_ISENABLER = 0x0100, GICD_IPRIORITYR = 0x0400,
       GICD_IROUTER = 0x6000 };
enum { GICR_WAKER = 0x0014, GICR_SGI_BASE = 0x10000, GICR_IGROUPR0 = GICR_SGI_BASE + 0x0080,
       GICR_ISENABLER0 = GICR_SGI_BASE + 0x0100, GICR_IPRIORITYR = GICR_SGI_BASE + 0x0400 };
enum { GICD_CTLR_ENABLE_GROUP1 = 1 << 1, GICD_CTLR_ARE = 1 << 4, GICD_CTLR_RWP = 1u << 31 };
enum { GICR_WAKER_PROCESSOR_SLEEP = 1 << 1, GICR_WAKER_CHILDREN_ASLEEP = 1 << 2 };
enum { PRIORITY = 0xa0, FIRST_SPI = 32, FIRST_SPECIAL_INTID = 1020 };

static void wait_for_distributor(void) {
  while (read32(GICD_BASE + GICD_CTLR) & GICD_CTLR_RWP) continue;
}

void init_cpu_interface(void) {
  /* ICC_SRE_EL1.SRE, ICC_PMR_EL1, ICC_BPR1_EL1, ICC_CTLR_EL1, ICC_IGRPEN1_EL1 */
  write_sysreg(s3_0_c12_c12_5, read_sysreg(s3_0_c12_c12_5) | 1);
  isb();
  write_sysreg(s3_0_c4_c6_0, 0xf0);
  write_sysreg(s3_0_c12_c12_3, 0);
  write_sysreg(s3_0_c12_c12_4, 0);
  write_sysreg(s3_0_c12_c12_7, 1);
  isb();
}

void init_interrupts(void) {
  write32(GICD_BASE + GICD_CTLR, 0);
  wait_for_distributor();
  write32(GICD_BASE + GICD_CTLR, GICD_CTLR_ARE);
  wait_for_distributor();
  write32(GICD_BASE + GICD_CTLR, GICD_CTLR_ARE | GICD_CTLR_ENABLE_GROUP1);
  wait_for_distributor();

  write32(GICR_BASE + GICR_WAKER, read32(GICR_BASE + GICR_WAKER) & ~GICR_WAKER_PROCESSOR_SLEEP);
  while (read32(GICR_BASE + GICR_WAKER) & GICR_WAKER_CHILDREN_ASLEEP) continue;
  write32(GICR_BASE + GICR_IGROUPR0, 0xffffffff);
  init_cpu_interface();
}

void enable_interrupt(unsigned intid) {
  const uint32_t bit = 1u << (intid % 32);
  if (intid < FIRST_SPI) {
    write8(GICR_BASE + GICR_IPRIORITYR + intid, PRIORITY);
    write32(GICR_BASE + GICR_ISENABLER0, bit);
    return;
  }
  const uint64_t group = GICD_BASE + GICD_IGROUPR + intid / 32 * 4, router = GICD_BASE + GICD_IROUTER + intid * 8ul;
  write32(group, read32(group) | bit);
  write8(GICD_BASE + GICD_IPRIORITYR + intid, PRIORITY);
  write32(router, 0);
  write32(router + 4, 0);
  write32(GICD_BASE + GICD_ISENABLER + intid / 32 * 4, bit);
}

void handle_interrupt(void) {
  for (;;) {
    const uint64_t intid = read_sysreg(s3_0_c12_c12_0) & 0xffffff; /* ICC_IAR1_EL1 */
    dsb();
    if (intid >= FIRST_SPECIAL_INTID) return;
    if (intid == INTID_VIRTUAL_TIMER) handle_timer();
    else if (intid == INTID_PL011) handle_console();
    else if (intid >= INTID_VIRTIO_MMIO && intid < INTID_VIRTIO_MMIO + VIRTIO_MMIO_SLOTS)
      handle_virtio((unsigned)intid - INTID_VIRTIO_MMIO);
    else {
      print("error: unexpected interrupt %lu\n", intid);
      power_off();
    }
    write_sysreg(s3_0_c12_c12_1, intid); /* ICC_EOIR1_EL1 */
    isb();
  }
}
