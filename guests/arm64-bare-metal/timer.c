/* The virtual timer of the generic timer. */
#include "machine.h"

enum { CNTV_CTL_ENABLE = 1, CNTV_CTL_IMASK = 2 };

volatile uint64_t timer_ticks;
static uint64_t timer_interval;

void start_timer(uint64_t microseconds) {
  timer_interval = read_sysreg(cntfrq_el0) / 1000 * microseconds / 1000;
  write_sysreg(cntv_cval_el0, read_sysreg(cntvct_el0) + timer_interval);
  write_sysreg(cntv_ctl_el0, CNTV_CTL_ENABLE);
  isb();
  enable_interrupt(INTID_VIRTUAL_TIMER);
}

void stop_timer(void) {
  write_sysreg(cntv_ctl_el0, CNTV_CTL_IMASK);
  isb();
}

void handle_timer(void) {
  timer_ticks++;
  /* From the deadline, not from now: ticks do not drift. */
  write_sysreg(cntv_cval_el0, read_sysreg(cntv_cval_el0) + timer_interval);
  isb();
}

static bool has_ticked(uint64_t count) { return timer_ticks >= count; }

void wait_for_ticks(uint64_t count) { wait_until(has_ticked, timer_ticks + count); }
