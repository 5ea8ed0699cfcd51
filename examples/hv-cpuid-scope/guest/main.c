/* Has its VMM ask KVM twice what it can tell a guest of Hyper-V, before and after something is enabled, and prints both answers. */
#include "machine.h"

enum { INTERFACE_LEAF = 0x40000001, NESTED_FEATURES = 0x4000000a };
enum { MSR_GUEST_OS_ID = 0x40000000, MSR_HYPERCALL = 0x40000001, ENABLED = 1, GUEST_OS_ID = 0x8100 };
/* Extended calls that this example gives its own meaning: the VMM asks, enables, asks again. */
enum { ASK = 0x8010, ENABLE = 0x8011, ASK_AGAIN = 0x8012 };
enum { VCPU, OTHER_VCPU, SYSTEM, SCOPES };

static const char *const scopes[SCOPES] = {"vcpu 0", "vcpu 1", "system"};
static char call_page[4096] __attribute__((aligned(4096)));
/* By scope: the versions of the enlightened VMCS that the kept answer tells of, and those of a new one. */
static uint64_t output[512] __attribute__((aligned(4096)));

_Noreturn void power_off(void) {
  out16(PM1_CONTROL, 1 << 13);
  for (;;) __asm__ volatile("cli\n\thlt");
}

void handle_vector(struct frame *frame) {
  print("error: exception %lu at %lx\n", frame->vector, frame->rip);
  power_off();
}

static uint64_t call(uint64_t value) {
  register void *r8 __asm__("r8") = output;
  uint64_t result;
  __asm__ volatile("call *%[page]"
                   : "=a"(result), "+c"(value), "+r"(r8)
                   : [page] "r"(call_page), "d"(0ul)
                   : "memory", "r9", "r10", "r11");
  return result & 0xffff;
}

static void compare(void) {
  for (int scope = 0; scope < SCOPES; scope++) {
    const uint64_t kept = output[2 * scope], now = output[2 * scope + 1];
    print("%s: kept %lx, now %lx: %s\n", scopes[scope], kept, now, kept == now ? "holds" : "stale");
  }
}

_Noreturn void guest_main(uint64_t start_info) {
  (void)start_info;
  init_console();
  print("interface %x, eVMCS %x\n", cpuid(INTERFACE_LEAF, 0).eax, cpuid(NESTED_FEATURES, 0).eax & 0xffff);
  write_msr(MSR_GUEST_OS_ID, (uint64_t)GUEST_OS_ID << 48);
  write_msr(MSR_HYPERCALL, (uint64_t)call_page | ENABLED);
  print("asked: status %lu\n", call(ASK));
  compare();
  print("enabled on vcpu 0: status %lu\n", call(ENABLE));
  print("asked again: status %lu\n", call(ASK_AGAIN));
  compare();
  power_off();
}
