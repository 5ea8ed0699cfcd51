/* Starts the machine and the scenario that the command line names. */
#include "machine.h"

static const struct {
  const char *name;
  void (*run)(void);
} scenarios[] = {
    {"main", scenario_main},
    {"hypercalls", scenario_hypercalls},
    {"host", scenario_host},
    {"loop", scenario_loop},
    {"dirty", scenario_dirty},
    {"idle", scenario_idle},
    {"exits", scenario_exits},
    {"fault-memory", scenario_fault_memory},
    {"fault-dma", scenario_fault_dma},
    {"fault-register", scenario_fault_register},
    {"triple-fault", scenario_triple_fault},
    {"garbage", scenario_garbage},
};

_Noreturn static void stop(void) {
  for (;;) __asm__ volatile("cli\n\thlt");
}

_Noreturn void power_off(void) {
  out16(PM1_CONTROL, 1 << 13);
  stop();
}

_Noreturn void reset(void) {
  out8(RESET_CONTROL, 6);
  stop();
}

_Noreturn void guest_main(uint64_t start_info) {
  init_console();
  init_interrupts();
  init_timer();
  read_start_info(start_info);
  print("bare-metal guest: %lu MiB of RAM, counter at %lu Hz\n", ram_bytes >> 20, counter_hertz);
  print("command line: %s\n", command_line);
  __asm__ volatile("sti");

  const bool resets = equal_strings(text_option("end", "off"), "reset");
  const char *wanted = text_option("scenario", "main");
  for (unsigned i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
    if (!equal_strings(scenarios[i].name, wanted)) continue;
    scenarios[i].run();
    if (resets) reset();
    power_off();
  }
  print("error: unknown scenario %s; known are:", wanted);
  for (unsigned i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) print(" %s", scenarios[i].name);
  print("\n");
  power_off();
}
