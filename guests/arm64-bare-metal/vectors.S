/* The vector table: saves a `struct frame`, calls handle_exception(frame, vector), restores. */
  .equ FRAME_BYTES, 272

  .text
  .macro vector index
  .balign 0x80
  sub sp, sp, #FRAME_BYTES
  stp x0, x1, [sp]
  mov x1, #\index
  b save_frame
  .endm

  .balign 0x800
  .global vectors
vectors:
  .irp index, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  vector \index
  .endr

  .balign 0x80
save_frame:
  stp x2, x3, [sp, #16]
  stp x4, x5, [sp, #32]
  stp x6, x7, [sp, #48]
  stp x8, x9, [sp, #64]
  stp x10, x11, [sp, #80]
  stp x12, x13, [sp, #96]
  stp x14, x15, [sp, #112]
  stp x16, x17, [sp, #128]
  stp x18, x19, [sp, #144]
  stp x20, x21, [sp, #160]
  stp x22, x23, [sp, #176]
  stp x24, x25, [sp, #192]
  stp x26, x27, [sp, #208]
  stp x28, x29, [sp, #224]
  mrs x2, elr_el1
  mrs x3, spsr_el1
  mrs x4, sp_el0
  stp x30, x2, [sp, #240]
  stp x3, x4, [sp, #256]
  mov x0, sp
  bl handle_exception
  ldp x3, x4, [sp, #256]
  ldp x30, x2, [sp, #240]
  msr elr_el1, x2
  msr spsr_el1, x3
  msr sp_el0, x4
  ldp x28, x29, [sp, #224]
  ldp x26, x27, [sp, #208]
  ldp x24, x25, [sp, #192]
  ldp x22, x23, [sp, #176]
  ldp x20, x21, [sp, #160]
  ldp x18, x19, [sp, #144]
  ldp x16, x17, [sp, #128]
  ldp x14, x15, [sp, #112]
  ldp x12, x13, [sp, #96]
  ldp x10, x11, [sp, #80]
  ldp x8, x9, [sp, #64]
  ldp x6, x7, [sp, #48]
  ldp x4, x5, [sp, #32]
  ldp x2, x3, [sp, #16]
  ldp x0, x1, [sp]
  add sp, sp, #FRAME_BYTES
  eret

  /*
   * uint64_t enter_user(uint64_t pc, uint64_t sp, uint64_t argument): runs EL0 until
   * leave_user. Gives what EL0 left in x0.
   */
  .global enter_user
enter_user:
  stp x29, x30, [sp, #-96]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  mov x29, sp
  msr elr_el1, x0
  msr sp_el0, x1
  msr spsr_el1, xzr /* EL0t, interrupts open */
  mov x0, x2
  eret

  /* A handler puts this into a frame's pc, with EL1h, to come back from enter_user. */
  .global leave_user
leave_user:
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp x29, x30, [sp], #96
  ret
