/*
 * Guests with a known fault, for bisect and diff. `fault=none` runs the same without it.
 * Each prints where to look, works in steps with an exit in each, and says what it found.
 */
#include "machine.h"

#define STEPS 16
#define WATCHED_VALUE 0x51a7ul

static bool fault_is_wanted(void) { return !equal_strings(text_option("fault", "yes"), "none"); }

/* About 200 000 instructions. */
static uint64_t work(uint64_t value) { return churn(value, 25000); }

/* A record as a driver would have it: `name` is filled without a check of its length. */
struct record {
  char name[8];
  volatile uint64_t watched;
};
struct record watched_record = {"", WATCHED_VALUE};

/* The word behind `name` is overwritten in step `at` and put right in step `until`. Options: at, until, fault. */
void scenario_fault_memory(void) {
  const uint64_t at = number_option("at", 5), until = number_option("until", 12);
  const bool wanted = fault_is_wanted();
  uint64_t value = 1;
  print("watched word at %lx, physical %lx, is %lx\n", (uint64_t)&watched_record.watched,
        physical_address((const void *)&watched_record.watched), WATCHED_VALUE);
  for (uint64_t step = 1; step <= STEPS; step++) {
    value = work(value);
    const uint64_t length = wanted && step == at ? sizeof watched_record.name + 8 : sizeof watched_record.name;
    copy_bytes(watched_record.name, "overwritten name", length);
    value = work(value);
    if (wanted && step == until) watched_record.watched = WATCHED_VALUE;
    print("step %lu sum %lx\n", step, value);
  }
  print("watched word is %s\n", watched_record.watched == WATCHED_VALUE ? "intact" : "overwritten");
}

static uint8_t read_buffer[4096] __attribute__((aligned(4096)));
uint64_t canary_page[512] __attribute__((aligned(4096)));

static bool canary_is_intact(void) {
  for (unsigned i = 0; i < 512; i++)
    if (((volatile uint64_t *)canary_page)[i] != 0xca4a7100 + i) return false;
  return true;
}

/* The disk's answer to read `at` lands on the canary page. Options: at, fault. */
void scenario_fault_dma(void) {
  const uint64_t at = number_option("at", 5);
  const bool wanted = fault_is_wanted();
  if (!init_disk() || disk_sectors == 0) {
    print("error: scenario=fault-dma needs a disk\n");
    return;
  }
  for (unsigned i = 0; i < 512; i++) canary_page[i] = 0xca4a7100 + i;
  print("canary page at %lx, physical %lx\n", (uint64_t)canary_page, physical_address(canary_page));
  uint64_t value = 1;
  for (uint64_t step = 1; step <= STEPS; step++) {
    const bool astray = wanted && step == at;
    const uint64_t target = astray ? physical_address(canary_page) + SECTOR_BYTES : physical_address(read_buffer);
    read_disk((step - 1) % disk_sectors, target, SECTOR_BYTES);
    value = work(value);
    print("step %lu checksum %lx\n", step, checksum(CHECKSUM_START, read_buffer, SECTOR_BYTES));
  }
  print("canary is %s\n", canary_is_intact() ? "intact" : "overwritten");
}

/* A register that calls keep is wrong at one hypercall, number `at`, and right again behind it. Options: at, fault. */
void scenario_fault_register(void) {
  const uint64_t at = number_option("at", 9);
  const bool wanted = fault_is_wanted();
  uint64_t value = 1;
  for (uint64_t step = 1; step <= STEPS; step++) {
    value = work(value);
    const uint64_t kept = wanted && step == at ? 0x1901 : 0x1900;
    print("step %lu " KEEPING_CALL " %lx\n", step, call_keeping(kept));
  }
}
