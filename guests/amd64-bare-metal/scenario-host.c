/* scenario=host: calls of the hypervisor, and the bytes by which they are made: a host of another vendor has others. */
#include "machine.h"

enum { INTERFACE_LEAF = 0x40000001, INTERFACE_HYPERV = 0x31237648 };
enum { MSR_GUEST_OS_ID = 0x40000000, MSR_HYPERCALL = 0x40000001, ENABLED = 1 };
#define OPEN_SOURCE_OS (0x8100ul << 48)
#define EXTENDED_QUERY_CAPABILITIES 0x8001ul
#define HV_NOTIFY_LONG_SPIN_WAIT 0x10008ul
#define KVM_HC_VAPIC_POLL_IRQ 1ul

static uint8_t call_page[4096] __attribute__((aligned(4096)));
static uint64_t capabilities __attribute__((aligned(8)));
extern uint8_t own_call[];

/* By the guest's own instruction, at one place. */
__attribute__((noinline)) static uint64_t call_itself(uint64_t input) {
  uint64_t result;
  __asm__ volatile(".globl own_call\nown_call: vmcall"
                   : "=a"(result)
                   : "a"(KVM_HC_VAPIC_POLL_IRQ), "b"(0ul), "c"(input), "d"(0ul), "S"(0ul)
                   : "memory", "r8");
  return result;
}

static uint64_t call_by_page(uint64_t input, uint64_t output) {
  uint64_t result;
  register uint64_t out __asm__("r8") = output;
  __asm__ volatile("call *%[page]"
                   : "=a"(result), "+r"(out)
                   : [page] "r"(call_page), "c"(input), "d"(0ul)
                   : "memory", "r9", "r10", "r11");
  return result;
}

static void enable_page(void) {
  write_msr(MSR_GUEST_OS_ID, OPEN_SOURCE_OS);
  write_msr(MSR_HYPERCALL, (uint64_t)call_page | ENABLED);
  print("page: %lx\n", read_msr(MSR_HYPERCALL));
}

static void print_round(uint64_t round, const char *what, const uint8_t *bytes, uint64_t result) {
  print("%lu %s %x: %lx\n", round, what, *(const uint32_t *)bytes & 0xffffff, result);
}

/* Options: rounds, period (microseconds), text=none, query (rounds with an extended call). */
void scenario_host(void) {
  const uint64_t rounds = number_option("rounds", 4), queries = number_option("query", 0);
  const bool has_page = cpuid(INTERFACE_LEAF, 0).eax == INTERFACE_HYPERV;
  const bool has_text = !equal_strings(text_option("text", "own"), "none");
  if (has_page) enable_page();
  start_timer(number_option("period", 1000));
  for (uint64_t round = 1; round <= rounds; round++) {
    wait_for_ticks(1);
    if (has_page) print_round(round, "page", call_page, call_by_page(HV_NOTIFY_LONG_SPIN_WAIT, 0));
    if (has_page && round <= queries)
      print_round(round, "query", call_page, call_by_page(EXTENDED_QUERY_CAPABILITIES, (uint64_t)&capabilities));
    if (has_text) {
      const uint64_t result = call_itself(HV_NOTIFY_LONG_SPIN_WAIT);
      print_round(round, "own", own_call, result);
    }
  }
  stop_timer();
}
