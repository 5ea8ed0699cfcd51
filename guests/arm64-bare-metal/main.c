/* Starts the machine and the scenario that the command line names. */
#include "machine.h"

static const struct {
  const char *name;
  void (*run)(void);
} scenarios[] = {
    {"main", scenario_main},
    {"hypercalls", scenario_hypercalls},
    {"loop", scenario_loop},
    {"dirty", scenario_dirty},
    {"idle", scenario_idle},
    {"psci", scenario_psci},
    {"fault-memory", scenario_fault_memory},
    {"fault-dma", scenario_fault_dma},
    {"fault-register", scenario_fault_register},
    {"tlb", scenario_tlb},
    {"code", scenario_code},
    {"garbage", scenario_garbage},
    {"vectors", scenario_vectors},
};

extern char resume_entry[];

/* `device_tree` and `image` are physical addresses. */
_Noreturn void guest_main(uint64_t device_tree, uint64_t image) {
  image_physical = image;
  resume_entry_physical = physical_address(resume_entry);
  init_interrupts();
  init_console();
  read_device_tree(device_tree);
  print("bare-metal guest: EL%lu, image at %lx, %lu MiB of RAM, counter at %lu Hz\n", read_sysreg(CurrentEL) >> 2,
        image_physical, ram_bytes >> 20, read_sysreg(cntfrq_el0));
  print("command line: %s\n", command_line);
  unmask_interrupts();

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
