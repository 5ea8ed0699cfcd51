/* Scenarios that run for long: for migration, for pauses, for changes at run time. */
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
  const uint64_t start = RAM_BASE + 32 * MIB, bytes = number_option("megabytes", 64) * MIB;
  const uint64_t every = number_option("every", 16), passes = number_option("passes", 0);
  if (start + bytes > RAM_BASE + ram_bytes) {
    print("error: scenario=dirty needs %lu MiB of RAM, the machine has %lu MiB\n", (start + bytes - RAM_BASE) / MIB,
          ram_bytes / MIB);
    return;
  }
  print("dirty: %lx to %lx\n", start, start + bytes);
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

uint64_t resume_entry_physical, suspended_stack;

static void try_suspend(void) {
  const uint64_t available = call_hypervisor(PSCI_FEATURES, PSCI_SYSTEM_SUSPEND);
  if (available != 0) {
    print("psci: SYSTEM_SUSPEND is not available: %lx\n", available);
    return;
  }
  print("psci: suspending\n");
  mask_interrupts();
  const uint64_t answer = suspend(PSCI_SYSTEM_SUSPEND);
  if (answer == SUSPEND_RESUMED) {
    init_cpu_interface();
    print("psci: resumed\n");
  } else {
    print("psci: SYSTEM_SUSPEND returned %lx\n", answer);
  }
  unmask_interrupts();
}

/* Options: rounds, period (microseconds). PSCI's version as the guest sees it, again and again. */
void scenario_psci(void) {
  const uint64_t rounds = number_option("rounds", 5);
  start_timer(number_option("period", 1000000));
  for (uint64_t i = 0; i < rounds; i++) {
    print_psci_version();
    wait_for_ticks(1);
  }
  stop_timer();
  try_suspend();
}
