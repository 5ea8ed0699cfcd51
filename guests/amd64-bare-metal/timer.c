/* A periodic timer: of deadlines of the time-stamp counter where the CPU has them, else the local APIC's own. */
#include "machine.h"

enum { APIC_LVT_TIMER = 0x320, APIC_INITIAL_COUNT = 0x380, APIC_DIVIDE = 0x3e0, DIVIDE_BY_1 = 0xb };
enum { PERIODIC_MODE = 1 << 17, TSC_DEADLINE_MODE = 2 << 17, LVT_MASKED = 1 << 16, MSR_TSC_DEADLINE = 0x6e0 };
enum { DEFAULT_HERTZ = 1000000000, HAS_TSC_DEADLINE = 1 << 24, BUS_CYCLES_PER_MICROSECOND = 1000 };

uint64_t timer_ticks, counter_hertz;
static uint64_t period, deadline;
static bool has_deadlines;

/* CPUID 0x15: crystal, and the ratio of the counter to it. */
void init_timer(void) {
  const struct cpuid found = cpuid(0, 0).eax >= 0x15 ? cpuid(0x15, 0) : (struct cpuid){0, 0, 0, 0};
  const bool is_told = found.eax != 0 && found.ebx != 0 && found.ecx != 0;
  has_deadlines = (cpuid(1, 0).ecx & HAS_TSC_DEADLINE) != 0;
  counter_hertz = is_told ? (uint64_t)found.ecx * found.ebx / found.eax : DEFAULT_HERTZ;
}

void start_timer(uint64_t period_microseconds) {
  if (!has_deadlines) {
    write32(LOCAL_APIC + APIC_LVT_TIMER, PERIODIC_MODE | VECTOR_TIMER);
    write32(LOCAL_APIC + APIC_DIVIDE, DIVIDE_BY_1);
    write32(LOCAL_APIC + APIC_INITIAL_COUNT, (uint32_t)(period_microseconds * BUS_CYCLES_PER_MICROSECOND));
    return;
  }
  write32(LOCAL_APIC + APIC_LVT_TIMER, TSC_DEADLINE_MODE | VECTOR_TIMER);
  __asm__ volatile("mfence" ::: "memory");
  period = counter_hertz / 1000000 * period_microseconds;
  deadline = read_counter() + period;
  write_msr(MSR_TSC_DEADLINE, deadline);
}

void stop_timer(void) {
  period = 0;
  if (has_deadlines) write_msr(MSR_TSC_DEADLINE, 0);
  write32(LOCAL_APIC + APIC_LVT_TIMER, LVT_MASKED);
}

void handle_timer(void) {
  timer_ticks++;
  if (period == 0) return;
  deadline += period;
  write_msr(MSR_TSC_DEADLINE, deadline);
}

static bool has_ticked(uint64_t wanted) { return *(volatile uint64_t *)&timer_ticks >= wanted; }

void wait_for_ticks(uint64_t count) { wait_until(has_ticked, timer_ticks + count); }
