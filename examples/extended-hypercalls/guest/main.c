/* Asks its hypervisor for each thing that Hyper-V's extended calls offer, in right ways and in wrong ones, and prints the results. */
#include "machine.h"

enum { HV_FEATURES = 0x40000003, EXTENDED_CALLS = 1 << 20 };
enum { MSR_GUEST_OS_ID = 0x40000000, MSR_HYPERCALL = 0x40000001, ENABLED = 1, GUEST_OS_ID = 0x8100 };
enum { QUERY_CAPABILITIES = 0x8001, BOOT_ZEROED_MEMORY = 0x8002, HEAT_HINT = 0x8003, EPF_SETUP = 0x8004, BEYOND = 0x8042 };
enum { FAST = 1 << 16, COLD_DISCARD = 2, LARGE_PAGE = 1 << 11, LARGE_PAGE_BYTES = 2 << 20 };

static char call_page[4096] __attribute__((aligned(4096)));
static uint64_t input[512] __attribute__((aligned(4096))), output[512] __attribute__((aligned(4096)));

_Noreturn void power_off(void) {
  out16(PM1_CONTROL, 1 << 13);
  for (;;) __asm__ volatile("cli\n\thlt");
}

void handle_vector(struct frame *frame) {
  print("error: exception %lu at %lx\n", frame->vector, frame->rip);
  power_off();
}

static uint64_t call(uint64_t value, const void *in, const void *out) {
  register const void *r8 __asm__("r8") = out;
  uint64_t result;
  __asm__ volatile("call *%[page]"
                   : "=a"(result), "+c"(value), "+d"(in), "+r"(r8)
                   : [page] "r"(call_page)
                   : "memory", "r9", "r10", "r11");
  return result;
}

static void print_result(const char *what, uint64_t result) {
  print("%s: status %lu, %lu done\n", what, result & 0xffff, result >> 32 & 0xfff);
}

static uint64_t reps(uint64_t count, uint64_t start) { return HEAT_HINT | count << 32 | start << 48; }

static void query_capabilities(void) {
  output[0] = 0;
  print_result("capabilities", call(QUERY_CAPABILITIES, 0, output));
  print("  mask %lx\n", output[0]);
  print_result("  as a fast call", call(QUERY_CAPABILITIES | FAST, 0, output));
  print_result("  to an odd address", call(QUERY_CAPABILITIES, 0, (char *)output + 4));
  print_result("  to where no RAM is", call(QUERY_CAPABILITIES, 0, (void *)(3ul << 30)));
}

static void boot_zeroed_memory(void) {
  print_result("zeroed at boot", call(BOOT_ZEROED_MEMORY, 0, output));
  print("  ranges %lu, the largest %lu pages from page %lu\n", output[0], output[2], output[1]);
}

static void hint(const char *what, uint64_t value) { print_result(what, call(value, input, 0)); }

/* Two large pages whose content is not needed any more, and one that is not there. */
static void heat_hint(void) {
  volatile uint64_t *discarded = (volatile uint64_t *)(8ul * LARGE_PAGE_BYTES);
  *discarded = 0x5eed;
  input[0] = COLD_DISCARD;
  input[1] = 8ul * LARGE_PAGE_BYTES | LARGE_PAGE | 1;
  input[2] = 1ul << 40 | LARGE_PAGE;
  hint("cold discard", reps(1, 0));
  print("  the page reads %lx\n", *discarded);
  hint("  one in RAM, one beyond", reps(2, 0));
  hint("  from the second on", reps(2, 1));
  input[0] = 0;
  hint("  of no known kind", reps(1, 0));
}

_Noreturn void guest_main(uint64_t start_info) {
  (void)start_info;
  init_console();
  if ((cpuid(HV_FEATURES, 0).ebx & EXTENDED_CALLS) == 0) {
    print("no extended hypercalls\n");
    power_off();
  }
  write_msr(MSR_GUEST_OS_ID, (uint64_t)GUEST_OS_ID << 48);
  write_msr(MSR_HYPERCALL, (uint64_t)call_page | ENABLED);
  query_capabilities();
  boot_zeroed_memory();
  heat_hint();
  print_result("not offered", call(EPF_SETUP, 0, output));
  print_result("beyond all of them", call(BEYOND, 0, output));
  power_off();
}
