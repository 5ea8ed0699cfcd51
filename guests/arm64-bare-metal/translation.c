/*
 * Page tables: 4 KiB granule, 39-bit halves. TTBR0 is the physical address space, with EL0's
 * pages above it; TTBR1 is the image, page by page with its rights, and the playground.
 */
#include "machine.h"

#define TABLE __attribute__((aligned(4096)))

extern char _head[], _text_end[], _user_text[], _rodata_end[], _data_end[], _code_area_end[], _end[];

TABLE uint64_t identity_level1[512];
static TABLE uint64_t identity_level2[512];
static TABLE uint64_t user_level2[512];
static TABLE uint64_t user_level3[512];
TABLE uint64_t kernel_level1[512];
static TABLE uint64_t kernel_level2[512];
static TABLE uint64_t kernel_level3[512];
TABLE uint64_t playground_level3[512];
TABLE uint64_t spare_level3[512];

uint64_t image_physical;

#define LEVEL1_BYTES (1ul << 30)
#define LEVEL2_BYTES (1ul << 21)
#define PAGE_BYTES 4096ul

/* `image` is where it was loaded: this runs there, with the MMU off, so addresses of symbols are physical. */
void build_translation_tables(uint64_t image) {
  const uint64_t normal = PTE_BLOCK | PTE_NORMAL | PTE_INNER_SHAREABLE | PTE_ACCESSED | PTE_UXN;
  identity_level1[0] = PTE_BLOCK | PTE_DEVICE | PTE_ACCESSED | PTE_PXN | PTE_UXN;
  identity_level1[1] = (uint64_t)identity_level2 | PTE_TABLE;
  for (uint64_t i = 2; i < 4; i++) identity_level1[i] = i * LEVEL1_BYTES | normal;
  for (uint64_t i = 0; i < 512; i++) identity_level2[i] = (RAM_BASE + i * LEVEL2_BYTES) | normal;
  identity_level1[(USER_BASE >> 30) & 511] = (uint64_t)user_level2 | PTE_TABLE;
  user_level2[0] = (uint64_t)user_level3 | PTE_TABLE;

  kernel_level1[(KERNEL_BASE >> 30) & 511] = (uint64_t)kernel_level2 | PTE_TABLE;
  kernel_level2[(KERNEL_BASE >> 21) & 511] = (uint64_t)kernel_level3 | PTE_TABLE;
  kernel_level2[(PLAYGROUND_BASE >> 21) & 511] = (uint64_t)playground_level3 | PTE_TABLE;
  for (uint64_t page = (uint64_t)_head; page < (uint64_t)_end; page += PAGE_BYTES) {
    uint64_t rights = PTE_UXN;
    if (page < (uint64_t)_user_text) rights |= PTE_READ_ONLY;
    else if (page < (uint64_t)_rodata_end) rights |= PTE_READ_ONLY | PTE_PXN;
    else if (page < (uint64_t)_data_end || page >= (uint64_t)_code_area_end) rights |= PTE_PXN;
    kernel_level3[(page - image) / PAGE_BYTES] =
        page | PTE_PAGE | PTE_NORMAL | PTE_INNER_SHAREABLE | PTE_ACCESSED | rights;
  }
}

uint64_t physical_address(const void *address) { return (uint64_t)address - (uint64_t)_head + image_physical; }

void set_playground_table(uint64_t *level3) {
  volatile uint64_t *entry = &kernel_level2[(PLAYGROUND_BASE >> 21) & 511];
  *entry = physical_address(level3) | PTE_TABLE;
}

void map_user_page(unsigned index, uint64_t physical, uint64_t attributes) {
  user_level3[index] =
      physical | PTE_PAGE | PTE_NORMAL | PTE_INNER_SHAREABLE | PTE_ACCESSED | PTE_NOT_GLOBAL | PTE_PXN | attributes;
  flush_translations();
}

void flush_translations(void) {
  __asm__ volatile("dsb ishst\n\ttlbi vmalle1is\n\tdsb ish\n\tisb" ::: "memory");
}

void synchronise_code(void *address, uint64_t bytes) {
  const uint64_t line = 4ul << ((read_sysreg(ctr_el0) >> 16) & 15);
  const uint64_t start = (uint64_t)address & ~(line - 1), end = (uint64_t)address + bytes;
  for (uint64_t at = start; at < end; at += line) __asm__ volatile("dc cvau, %0" ::"r"(at) : "memory");
  __asm__ volatile("dsb ish" ::: "memory");
  for (uint64_t at = start; at < end; at += line) __asm__ volatile("ic ivau, %0" ::"r"(at) : "memory");
  __asm__ volatile("dsb ish\n\tisb" ::: "memory");
}
