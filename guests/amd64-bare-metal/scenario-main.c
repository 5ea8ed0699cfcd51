/* scenario=main: a little of everything. scenario=hypercalls: the calls alone. */
#include "machine.h"

enum { HYPERVISOR_LEAF = 0x40000000, KVM_HC_VAPIC_POLL_IRQ = 1, KVM_HC_KICK_CPU = 5, KVM_HC_SEND_IPI = 10 };

uint64_t churn(uint64_t value, uint64_t rounds) {
  while (rounds-- > 0) {
    value ^= value << 13;
    value ^= value >> 7;
    value ^= value << 17;
    value += 0x9e3779b97f4a7c15;
  }
  return value;
}

static void print_vendor(const char *what, uint32_t leaf) {
  const struct cpuid found = cpuid(leaf, 0);
  const uint32_t words[] = {found.ebx, leaf == 0 ? found.edx : found.ecx, leaf == 0 ? found.ecx : found.edx, 0};
  print("%s: %s, leaves to %x\n", what, (const char *)words, found.eax);
}

static uint64_t call_hypervisor(uint64_t number) {
  uint64_t result;
  __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "b"(0ul), "c"(0ul), "d"(0ul), "S"(0ul) : "memory");
  return result;
}

__attribute__((noinline)) uint64_t call_keeping(uint64_t kept) {
  uint64_t result;
  __asm__ volatile("mov %[kept], %%rbx\n\tvmcall"
                   : "=a"(result)
                   : "a"(KVM_HC_VAPIC_POLL_IRQ), [kept] "D"(kept), "c"(0ul), "d"(0ul), "S"(0ul)
                   : "rbx", "memory");
  return result;
}

static bool is_kvm(void) {
  const struct cpuid found = cpuid(HYPERVISOR_LEAF, 0);
  const uint32_t words[] = {found.ebx, found.ecx, found.edx, 0};
  return equal_strings((const char *)words, "KVMKVMKVM");
}

/* Options: rounds. */
void scenario_hypercalls(void) {
  if (!is_kvm()) {
    print("vmcall: no hypervisor of this kind\n");
    return;
  }
  const uint64_t rounds = number_option("rounds", 1);
  const uint64_t numbers[] = {KVM_HC_VAPIC_POLL_IRQ, KVM_HC_KICK_CPU, KVM_HC_SEND_IPI, 0x1234};
  for (uint64_t i = 0; i < rounds; i++)
    for (unsigned j = 0; j < sizeof numbers / sizeof numbers[0]; j++)
      print("vmcall %lu: %lx\n", numbers[j], call_hypervisor(numbers[j]));
}

static uint8_t read_cmos(uint8_t index) {
  out8(CMOS, index);
  return in8(CMOS + 1);
}

static void print_date(void) {
  const uint32_t date = (uint32_t)read_cmos(0x32) << 24 | (uint32_t)read_cmos(9) << 16 | (uint32_t)read_cmos(8) << 8 | read_cmos(7);
  print("clock: %x\n", date);
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
  print_vendor("cpu", 0);
  print_vendor("hypervisor", HYPERVISOR_LEAF);
  print_date();
  const uint64_t ticks = number_option("ticks", 10);
  start_timer(number_option("period", 1000));
  for (uint64_t i = 1; i <= ticks; i++) {
    wait_for_ticks(1);
    print("tick %lu\n", i);
  }
  stop_timer();
  scenario_hypercalls();
  if (!equal_strings(text_option("input", "console"), "none")) echo_lines();
}
