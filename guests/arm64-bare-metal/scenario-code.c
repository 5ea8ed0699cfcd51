/*
 * scenario=code: code that changes. The number in brackets is what fetching each
 * instruction from memory gives. scenario=garbage and scenario=vectors: code that is none.
 */
#include "machine.h"

#define MOVZ_W0(value) (0x52800000u | (uint32_t)(value) << 5)
#define RET 0xd65f03c0u

extern uint32_t generated_code[], code_from_disk[];
uint32_t patch_same_block(uint32_t instruction);
uint32_t patch_next_instruction(uint32_t instruction);
uint32_t patch_loop(uint32_t instruction, uint32_t rounds);

static uint32_t call_generated(void) { return ((uint32_t(*)(void))generated_code)(); }

/* Writes a function that gives `value`, through another address than it runs at. */
static void generate(uint32_t value, bool synchronise) {
  volatile uint32_t *alias = (volatile uint32_t *)physical_address(generated_code);
  alias[0] = MOVZ_W0(value);
  alias[1] = RET;
  if (synchronise) synchronise_code(generated_code, 8);
}

static uint64_t sum_of_versions(bool synchronise) {
  uint64_t sum = 0;
  for (uint32_t version = 0; version < 20; version++) {
    generate(version, synchronise);
    for (unsigned i = 0; i < 2000; i++) sum += call_generated();
  }
  return sum;
}

/* Each version goes to the disk as data and comes back as code. */
static void generate_by_disk(void) {
  static uint32_t sector[SECTOR_BYTES / 4] __attribute__((aligned(SECTOR_BYTES)));
  static uint8_t original[SECTOR_BYTES] __attribute__((aligned(SECTOR_BYTES)));
  if (!init_disk() || disk_read_only || disk_sectors == 0) {
    print("code: by dma: no writable disk\n");
    return;
  }
  read_disk(0, physical_address(original), SECTOR_BYTES);
  uint64_t sum = 0;
  for (uint32_t version = 100; version < 104; version++) {
    sector[0] = MOVZ_W0(version);
    sector[1] = RET;
    write_disk(0, physical_address(sector), SECTOR_BYTES);
    read_disk(0, physical_address(code_from_disk), SECTOR_BYTES);
    synchronise_code(code_from_disk, SECTOR_BYTES);
    for (unsigned i = 0; i < 2000; i++) sum += ((uint32_t(*)(void))code_from_disk)();
  }
  write_disk(0, physical_address(original), SECTOR_BYTES);
  print("code: by dma: %lu (812000)\n", sum);
}

void scenario_code(void) {
  print("code: through an alias: %lu (380000)\n", sum_of_versions(true));
  print("code: through an alias, not synchronised: %lu (380000)\n", sum_of_versions(false));
  uint64_t sum = 0;
  for (uint32_t i = 0; i < 1000; i++) sum += patch_same_block(MOVZ_W0(i));
  print("code: in the same block: %lu (499500)\n", sum);
  sum = 0;
  for (uint32_t i = 0; i < 1000; i++) sum += patch_next_instruction(MOVZ_W0(i));
  print("code: the next instruction: %lu (499500)\n", sum);
  sum = patch_loop(MOVZ_W0(2), 5000);
  sum += patch_loop(MOVZ_W0(3), 5000);
  print("code: a hot loop: %lu (15004)\n", sum);
  generate_by_disk();
}

/* Options: seed. Jumps into a page of random words; what they do is the guest's fate. */
void scenario_garbage(void) {
  uint64_t value = number_option("seed", 1);
  volatile uint32_t *alias = (volatile uint32_t *)physical_address(generated_code);
  for (unsigned i = 0; i < 64; i++) {
    value = churn(value, 2);
    alias[i] = (uint32_t)(value >> 16);
  }
  synchronise_code(generated_code, 256);
  print("garbage: jumping to %lx\n", (uint64_t)generated_code);
  call_generated();
  print("garbage: returned\n");
}

/* The vectors are not mapped: each fault is taken into the next. */
void scenario_vectors(void) {
  print("vectors: faulting for ever\n");
  mask_interrupts();
  write_sysreg(vbar_el1, PLAYGROUND_BASE + 0x100000);
  isb();
  __asm__ volatile("svc #0");
  __builtin_unreachable();
}
