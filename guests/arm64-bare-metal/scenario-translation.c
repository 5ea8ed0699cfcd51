/*
 * scenario=tlb: page-table changes without a TLBI, as Linux makes them. Each line has the
 * exceptions that were taken; a CPU that walks the tables for every access takes the number
 * in brackets, one with a TLB may take fewer.
 */
#include "machine.h"

/* Volatile: they are written through the window too. */
static volatile uint64_t page_a[512] __attribute__((aligned(4096)));
static volatile uint64_t page_b[512] __attribute__((aligned(4096)));
static volatile uint64_t *const window = (volatile uint64_t *)PLAYGROUND_BASE;
/* Counted by an exception in the middle of an access: the compiler must read them behind it. */
static volatile uint64_t access_faults, permission_faults, translation_faults;

enum { FSC_TRANSLATION = 0x04, FSC_ACCESS_FLAG = 0x08, FSC_PERMISSION = 0x0c };

static uint64_t entry_for(const volatile void *page) { return physical_address((const void *)page) | PTE_KERNEL_DATA; }

static void set_entry(uint64_t *table, uint64_t entry) {
  *(volatile uint64_t *)table = entry;
  __asm__ volatile("dsb ishst\n\tisb" ::: "memory");
}

/* Mends what the access lacked, counts it and tries again. */
static bool mend(struct frame *frame, uint64_t esr, uint64_t far) {
  (void)frame;
  if (exception_class(esr) != EC_DATA_ABORT || far >> 12 != PLAYGROUND_BASE >> 12) return false;
  switch (esr & 0x3c) {
    case FSC_ACCESS_FLAG:
      access_faults++;
      set_entry(playground_level3, playground_level3[0] | PTE_ACCESSED);
      return true;
    case FSC_PERMISSION:
      permission_faults++;
      set_entry(playground_level3, playground_level3[0] & ~PTE_READ_ONLY);
      return true;
    case FSC_TRANSLATION:
      translation_faults++;
      set_entry(playground_level3, entry_for(page_a));
      return true;
    default:
      return false;
  }
}

static void report(const char *what, uint64_t value, unsigned expected) {
  const uint64_t faults = access_faults + permission_faults + translation_faults;
  print("tlb: %s: value %lx, %lu faults (%u)\n", what, value, faults, expected);
  access_faults = permission_faults = translation_faults = 0;
}

void scenario_tlb(void) {
  for (unsigned i = 0; i < 512; i++) page_a[i] = 0xaaaa0000 + i, page_b[i] = 0xbbbb0000 + i;
  set_exception_hook(mend);
  report("first use of a page that is not mapped", window[0], 1);

  set_entry(playground_level3, entry_for(page_a) & ~PTE_ACCESSED);
  report("accessed flag cleared", window[1], 1);

  set_entry(playground_level3, entry_for(page_a) | PTE_READ_ONLY);
  window[2] = 0x2222;
  report("made read-only, then written", page_a[2], 1);

  set_entry(playground_level3, entry_for(page_a) | PTE_READ_ONLY);
  uint64_t value = window[3];
  set_entry(playground_level3, entry_for(page_a));
  window[3] = 0x3333;
  report("made writable, then written", page_a[3] + value - 0xaaaa0003, 0);

  set_entry(playground_level3, entry_for(page_b));
  report("mapped elsewhere", window[4], 0);

  set_entry(playground_level3, 0);
  report("unmapped", window[5], 1);

  set_entry(spare_level3, entry_for(page_b));
  set_playground_table(spare_level3);
  __asm__ volatile("dsb ishst\n\tisb" ::: "memory");
  report("another table", window[6], 0);
  set_playground_table(playground_level3);
  __asm__ volatile("dsb ishst\n\tisb" ::: "memory");
  report("the table before", window[6], 0);

  uint64_t sum = CHECKSUM_START;
  for (unsigned i = 0; i < 1000; i++) {
    set_entry(playground_level3, entry_for(i % 2 == 0 ? page_a : page_b));
    if (i % 3 == 0) flush_translations();
    value = window[i % 512];
    sum = checksum(sum, &value, sizeof value);
  }
  report("mapped here and there a thousand times", sum, 0);
  set_exception_hook(NULL);
}
