/* scenario=main: a little of everything. scenario=hypercalls: the calls alone. */
#include "machine.h"

extern char user_program[], user_program_end[];

uint64_t churn(uint64_t value, uint64_t rounds) {
  while (rounds-- > 0) {
    value ^= value << 13;
    value ^= value >> 7;
    value ^= value << 17;
    value += 0x9e3779b97f4a7c15;
  }
  return value;
}

/* Around the range 0xc6000000 to 0xc60000ff: below, both edges, inside, above. */
static const uint32_t vendor_functions[] = {0xc5ffffff, 0xc6000000, 0xc6000001, 0xc6000040, 0xc60000ff, 0xc6000100};

static void call_vendor(const char *name, void (*conduit)(const uint64_t *, uint64_t *), uint32_t function) {
  const uint64_t arguments[8] = {function, 0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777};
  uint64_t results[4];
  const uint64_t skipped = skipped_exceptions;
  conduit(arguments, results);
  if (skipped_exceptions != skipped) print("%s %x: undefined\n", name, function);
  else print("%s %x: %lx %lx %lx %lx\n", name, function, results[0], results[1], results[2], results[3]);
}

static void call_vendor_range(void) {
  exception_hook *before = set_exception_hook(skip_instruction);
  for (unsigned i = 0; i < sizeof vendor_functions / sizeof vendor_functions[0]; i++) {
    call_vendor("hvc", smccc_hvc, vendor_functions[i]);
    call_vendor("smc", smccc_smc, vendor_functions[i]);
  }
  set_exception_hook(before);
}

/* Options: rounds. */
void scenario_hypercalls(void) {
  print_calls();
  const uint64_t rounds = number_option("rounds", 1);
  for (uint64_t i = 0; i < rounds; i++) call_vendor_range();
}

static void run_user(void) {
  static uint8_t stack[4096] __attribute__((aligned(4096)));
  map_user_page(0, physical_address(user_program), PTE_USER | PTE_READ_ONLY);
  map_user_page(1, physical_address(stack), PTE_USER | PTE_UXN);
  exception_hook *before = set_exception_hook(skip_instruction);
  const uint64_t skipped = skipped_exceptions;
  const uint64_t sum = enter_user(USER_BASE, USER_BASE + 2 * 4096, 20);
  unmask_interrupts();
  set_exception_hook(before);
  print("EL0: sum %lx, %lu exceptions\n", sum, skipped_exceptions - skipped);
}

static uint8_t disk_buffer[8 * SECTOR_BYTES] __attribute__((aligned(4096)));
static uint8_t disk_original[SECTOR_BYTES] __attribute__((aligned(4096)));

static void use_disk(void) {
  if (!init_disk()) {
    print("disk: none\n");
    return;
  }
  const uint64_t sectors = disk_sectors < 8 ? disk_sectors : 8;
  const uint32_t bytes = (uint32_t)sectors * SECTOR_BYTES;
  read_disk(0, physical_address(disk_buffer), bytes);
  print("disk: first %lu sectors: checksum %lx\n", sectors, checksum(CHECKSUM_START, disk_buffer, bytes));
  if (disk_read_only || disk_sectors == 0) return;

  const uint64_t last = disk_sectors - 1;
  read_disk(last, physical_address(disk_original), SECTOR_BYTES);
  uint64_t value = 1;
  for (unsigned i = 0; i < SECTOR_BYTES; i++) {
    value = churn(value, 1);
    disk_buffer[i] = (uint8_t)value;
  }
  const uint64_t written = checksum(CHECKSUM_START, disk_buffer, SECTOR_BYTES);
  write_disk(last, physical_address(disk_buffer), SECTOR_BYTES);
  fill_bytes(disk_buffer, 0, SECTOR_BYTES);
  read_disk(last, physical_address(disk_buffer), SECTOR_BYTES);
  const uint64_t read = checksum(CHECKSUM_START, disk_buffer, SECTOR_BYTES);
  print("disk: sector %lu: wrote %lx, read back %lx\n", last, written, read);
  write_disk(last, physical_address(disk_original), SECTOR_BYTES);
}

static void use_entropy(void) {
  static uint8_t bytes[16] __attribute__((aligned(16)));
  if (!read_entropy(bytes)) {
    print("entropy: none\n");
    return;
  }
  print("entropy: %lx %lx\n", *(uint64_t *)bytes, *(uint64_t *)(bytes + 8));
}

static void echo_lines(void) {
  char line[128];
  print("console: type a line; quit ends\n");
  do {
    wait_until(line_is_ready, 0);
    take_line(line, sizeof line);
    print("echo: %s\n", line);
  } while (!equal_strings(line, "quit"));
}

/* Options: ticks, period (microseconds), input=none. */
void scenario_main(void) {
  print_psci_version();
  const uint64_t ticks = number_option("ticks", 10);
  start_timer(number_option("period", 1000));
  for (uint64_t i = 1; i <= ticks; i++) {
    wait_for_ticks(1);
    print("tick %lu\n", i);
  }
  run_user();
  stop_timer();
  scenario_hypercalls();
  use_disk();
  use_entropy();
  if (!equal_strings(text_option("input", "console"), "none")) echo_lines();
}
