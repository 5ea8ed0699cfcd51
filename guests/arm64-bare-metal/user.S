/* What runs at EL0: system calls by SVC, with the call's number as the immediate. */
#include "user.h"

  .section .user, "ax"

  /* x0: rounds. Mixes, calls the kernel once per round, tries what EL0 may not do, and exits with the sum. */
  .global user_program
user_program:
  mov x19, x0
  mov x20, #0
  stp x19, x20, [sp, #-16]!
1:
  mov x0, x20
  mov x1, #1000
2:
  eor x0, x0, x0, lsl #13
  eor x0, x0, x0, lsr #7
  add x0, x0, x1
  subs x1, x1, #1
  b.ne 2b
  svc #USER_CALL_MIX
  mov x20, x0
  subs x19, x19, #1
  b.ne 1b
  ldp x2, x3, [sp], #16
  /* The kernel's memory and registers are out of reach: each is an exception that the kernel counts and skips. */
  movz x1, #0xffff, lsl #48
  movk x1, #0xff80, lsl #32
  movk x1, #0x0008, lsl #16
  ldr x1, [x1]
  msr vbar_el1, x1
  hvc #0
  mov x0, x20
  svc #USER_CALL_EXIT
  .balign 4

  .global user_program_end
user_program_end:
