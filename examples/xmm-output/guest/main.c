/*
 * Asks its hypervisor for two of its own registers by a fast call: what goes in is in RDX, R8 and XMM0, what comes back is to be
 * in XMM1 and XMM2. Both are filled before, so that what nobody has written can be told.
 */
#include "machine.h"

enum { HV_FEATURES = 0x40000003, XMM_OUTPUT = 1 << 15 };
enum { MSR_GUEST_OS_ID = 0x40000000, MSR_HYPERCALL = 0x40000001, ENABLED = 1 };
enum { GET_VP_REGISTERS = 0x50, FAST = 1 << 16, REPS_SHIFT = 32 };
enum { INVALID_OPCODE = 6, CALL_BYTES = 3, CR4_OSFXSR = 1 << 9 };
#define GUEST_OS_ID 0x8100000000000000ul
#define REGISTER_GUEST_OS_ID 0x00090002ul
#define REGISTER_VP_INDEX 0x00090003ul
#define THIS_PARTITION ~0ul
#define THIS_PROCESSOR 0xfffffffeul
#define NOBODY 0x5a5a5a5a5a5a5a5aul

static char call_page[4096] __attribute__((aligned(4096)));
static bool was_undefined;

_Noreturn void power_off(void) {
  out16(PM1_CONTROL, 1 << 13);
  for (;;) __asm__ volatile("cli\n\thlt");
}

/* The call may be undefined; nothing else. */
void handle_vector(struct frame *frame) {
  if (frame->vector != INVALID_OPCODE || frame->rip != (uint64_t)call_page) {
    print("error: exception %lu at %lx\n", frame->vector, frame->rip);
    power_off();
  }
  was_undefined = true;
  frame->rip += CALL_BYTES;
}

struct registers {
  uint64_t low, high;
};

/* XMM0 to XMM2 go in and come back; the compiler uses none of them. */
static uint64_t call(uint64_t value, uint64_t first, uint64_t second, struct registers xmm[3]) {
  register uint64_t r8 __asm__("r8") = second;
  uint64_t result;
  __asm__ volatile(
      "movups (%[xmm]), %%xmm0\n\tmovups 16(%[xmm]), %%xmm1\n\tmovups 32(%[xmm]), %%xmm2\n\t"
      "call *%[page]\n\t"
      "movups %%xmm0, (%[xmm])\n\tmovups %%xmm1, 16(%[xmm])\n\tmovups %%xmm2, 32(%[xmm])"
      : "=&a"(result), "+c"(value), "+d"(first), "+r"(r8)
      : [page] "r"(call_page), [xmm] "r"(xmm)
      : "memory", "r9", "r10", "r11");
  return result;
}

static void print_output(const char *what, struct registers value) {
  if (value.low == NOBODY) print("  %s: what stood there before\n", what);
  else print("  %s: %lx\n", what, value.low);
}

static void init_vectors(void) {
  static struct {
    uint16_t offset_low, selector;
    uint8_t stack, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
  } gates[32] __attribute__((aligned(16)));
  extern char vector_entries[];
  for (uint64_t vector = 0; vector < 32; vector++) {
    const uint64_t entry = (uint64_t)vector_entries + vector * 16;
    gates[vector].offset_low = (uint16_t)entry;
    gates[vector].selector = 0x08;
    gates[vector].type = 0x8e;
    gates[vector].offset_middle = (uint16_t)(entry >> 16);
    gates[vector].offset_high = (uint32_t)(entry >> 32);
  }
  const struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) table = {sizeof gates - 1, (uint64_t)gates};
  __asm__ volatile("lidt %0" ::"m"(table));
}

static void enable_xmm(void) {
  uint64_t cr4;
  __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
  __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | CR4_OSFXSR));
}

_Noreturn void guest_main(uint64_t start_info) {
  (void)start_info;
  init_console();
  init_vectors();
  enable_xmm();
  print("output in XMM registers: %s\n", (cpuid(HV_FEATURES, 0).edx & XMM_OUTPUT) == 0 ? "not offered" : "offered");
  write_msr(MSR_GUEST_OS_ID, GUEST_OS_ID);
  write_msr(MSR_HYPERCALL, (uint64_t)call_page | ENABLED);
  struct registers xmm[3] = {{REGISTER_GUEST_OS_ID | REGISTER_VP_INDEX << 32, 0}, {NOBODY, NOBODY}, {NOBODY, NOBODY}};
  const uint64_t result = call(GET_VP_REGISTERS | FAST | 2ul << REPS_SHIFT, THIS_PARTITION, THIS_PROCESSOR, xmm);
  if (was_undefined) print("HvCallGetVpRegisters: #UD\n");
  else print("HvCallGetVpRegisters: status %lu, %lu done\n", result & 0xffff, result >> 32 & 0xfff);
  print_output("guest OS identity", xmm[1]);
  print_output("index of this processor", xmm[2]);
  power_off();
}
