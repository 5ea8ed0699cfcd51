/* Entry of both processors, with the MMU off; a call by the SMC Calling Convention with all its registers. */
  .section .head, "ax"
  .global start
start:
  adrp x0, stack_top
  add x0, x0, :lo12:stack_top
  mov sp, x0
  mov x29, xzr
  bl guest_main
  b .

  /* PSCI CPU_ON: x0 is the context. */
  .global second_start
second_start:
  mov x19, x0
  adrp x0, second_stack_top
  add x0, x0, :lo12:second_stack_top
  mov sp, x0
  mov x29, xzr
  mov x0, x19
  bl second_main
  b .

  /* void smccc_NAME(const uint64_t arguments[18], uint64_t results[18]): x0 to x17 in and out (DEN0028, 2.7). */
  .macro conduit name, instruction
  .global \name
\name:
  stp x29, x30, [sp, #-48]!
  stp x19, x20, [sp, #16]
  mov x19, x0
  mov x20, x1
  ldp x0, x1, [x19]
  ldp x2, x3, [x19, #16]
  ldp x4, x5, [x19, #32]
  ldp x6, x7, [x19, #48]
  ldp x8, x9, [x19, #64]
  ldp x10, x11, [x19, #80]
  ldp x12, x13, [x19, #96]
  ldp x14, x15, [x19, #112]
  ldp x16, x17, [x19, #128]
  \instruction #0
  stp x0, x1, [x20]
  stp x2, x3, [x20, #16]
  stp x4, x5, [x20, #32]
  stp x6, x7, [x20, #48]
  stp x8, x9, [x20, #64]
  stp x10, x11, [x20, #80]
  stp x12, x13, [x20, #96]
  stp x14, x15, [x20, #112]
  stp x16, x17, [x20, #128]
  ldp x19, x20, [sp, #16]
  ldp x29, x30, [sp], #48
  ret
  .endm

  conduit smccc_hvc, hvc
  conduit smccc_smc, smc

  .section .bss
  .align 4
  .skip 4096
stack_top:
  .skip 4096
second_stack_top:
