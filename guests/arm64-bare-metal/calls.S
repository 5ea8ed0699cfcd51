/* Calls to the hypervisor by the SMC Calling Convention (Arm DEN 0028). */
  .text

  /* void smccc_hvc(const uint64_t arguments[8], uint64_t results[4]): x0-x7 in, x0-x3 out. */
  .macro conduit name, instruction
  .global \name
\name:
  stp x29, x30, [sp, #-32]!
  mov x29, sp
  str x1, [sp, #16]
  mov x8, x0
  ldp x0, x1, [x8]
  ldp x2, x3, [x8, #16]
  ldp x4, x5, [x8, #32]
  ldp x6, x7, [x8, #48]
  \instruction #0
  ldr x8, [sp, #16]
  stp x0, x1, [x8]
  stp x2, x3, [x8, #16]
  ldp x29, x30, [sp], #32
  ret
  .endm

  conduit smccc_hvc, hvc
  conduit smccc_smc, smc

  /* uint64_t hvc_with_x19(uint64_t function, uint64_t x19): x19 is `x19` at the exit and only there. */
  .global hvc_with_x19
hvc_with_x19:
  stp x29, x30, [sp, #-32]!
  str x19, [sp, #16]
  mov x29, sp
  mov x19, x1
  mov x1, xzr
  hvc #0
  ldr x19, [sp, #16]
  ldp x29, x30, [sp], #32
  ret
