/* Scenarios that run for long, or end badly. */
#include "machine.h"

#define MIB (1ul << 20)

/* Options: period (microseconds), every (ticks a line), count (lines; 0 for ever). Typed lines are echoed; quit ends. */
void scenario_loop(void) {
  const uint64_t every = number_option("every", 10), count = number_option("count", 0);
  char line[128];
  uint64_t chain = CHECKSUM_START;
  start_timer(number_option("period", 1000));
  for (uint64_t i = 1; count == 0 || i <= count; i++) {
    wait_for_ticks(every);
    chain = checksum(chain, &i, sizeof i);
    chain = churn(chain, 1000);
    print("loop %lu ticks %lu chain %lx\n", i, timer_ticks, chain);
    while (take_line(line, sizeof line)) {
      print("echo: %s\n", line);
      chain = checksum(chain, line, sizeof line);
      if (equal_strings(line, "quit")) return;
    }
  }
}

/* Options: megabytes, every (passes a line), passes (0 for ever). Writes one word of each page, without a pause. */
void scenario_dirty(void) {
  const uint64_t start = 32 * MIB, bytes = number_option("megabytes", 16) * MIB;
  const uint64_t every = number_option("every", 16), passes = number_option("passes", 0);
  if (start + bytes > ram_bytes) {
    print("error: scenario=dirty needs %lu MiB of RAM, the machine has %lu MiB\n", (start + bytes) / MIB, ram_bytes / MIB);
    return;
  }
  for (uint64_t pass = 1; passes == 0 || pass <= passes; pass++) {
    for (uint64_t at = start; at < start + bytes; at += 4096) *(volatile uint64_t *)at = at ^ pass;
    if (pass % every == 0) print("pass %lu\n", pass);
  }
}

/* Options: ticks, period (microseconds). Sleeps nearly all the time. */
void scenario_idle(void) {
  const uint64_t ticks = number_option("ticks", 10);
  start_timer(number_option("period", 100000));
  for (uint64_t i = 1; i <= ticks; i++) {
    wait_for_ticks(1);
    print("tick %lu\n", i);
  }
}

/* No exception has a handler any more. */
void scenario_triple_fault(void) {
  static const struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) none = {0, 0};
  print("triple fault follows\n");
  __asm__ volatile("lidt %0\n\tud2" ::"m"(none));
}

/* Options: seed. Jumps into random bytes. */
void scenario_garbage(void) {
  static uint64_t words[512] __attribute__((aligned(4096)));
  uint64_t value = number_option("seed", 1);
  for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) words[i] = value = churn(value, 1);
  ((void (*)(void))words)();
  print("garbage: it came back\n");
}
