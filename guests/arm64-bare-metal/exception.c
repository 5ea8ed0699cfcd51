/* Exceptions: interrupts to their handlers, the rest to the scenario's hook, or the guest ends. */
#include "machine.h"
#include "user.h"

#define SPSR_EL1H_MASKED 0x3c5

uint64_t skipped_exceptions;
static exception_hook *current_hook;

exception_hook *set_exception_hook(exception_hook *hook) {
  exception_hook *before = current_hook;
  current_hook = hook;
  return before;
}

bool skip_instruction(struct frame *frame, uint64_t esr, uint64_t far) {
  (void)far;
  skipped_exceptions++;
  const unsigned class = exception_class(esr);
  if (class == EC_INSTRUCTION_ABORT) frame->pc = frame->x[30];
  else frame->pc += 4;
  return true;
}

static void handle_system_call(struct frame *frame, unsigned number) {
  switch (number) {
    case USER_CALL_MIX:
      frame->x[0] = churn(frame->x[0], 8);
      return;
    case USER_CALL_EXIT:
      frame->pc = (uint64_t)leave_user;
      frame->pstate = SPSR_EL1H_MASKED;
      return;
    default:
      print("error: EL0 made unknown system call %u\n", number);
      power_off();
  }
}

static const char *const vector_names[16] = {
    "sync EL1t", "irq EL1t", "fiq EL1t", "serror EL1t", "sync EL1h", "irq EL1h", "fiq EL1h", "serror EL1h",
    "sync EL0",  "irq EL0",  "fiq EL0",  "serror EL0",  "sync A32",  "irq A32",  "fiq A32",  "serror A32"};

void handle_exception(struct frame *frame, unsigned vector) {
  if (vector % 4 == 1) {
    handle_interrupt();
    return;
  }
  const uint64_t esr = read_sysreg(esr_el1), far = read_sysreg(far_el1);
  if (vector % 4 == 0) {
    if (vector == 8 && exception_class(esr) == EC_SVC64) {
      handle_system_call(frame, esr & 0xffff);
      return;
    }
    if (current_hook != NULL && current_hook(frame, esr, far)) return;
  }
  print("unhandled exception: %s esr %lx elr %lx far %lx spsr %lx\n", vector_names[vector], esr, frame->pc, far,
        frame->pstate);
  power_off();
}

void wait_until(bool (*done)(uint64_t), uint64_t argument) {
  for (;;) {
    mask_interrupts();
    const bool finished = done(argument);
    /* A pending interrupt ends WFI although it is masked. */
    if (!finished) __asm__ volatile("dsb sy\n\twfi" ::: "memory");
    unmask_interrupts();
    if (finished) return;
  }
}
