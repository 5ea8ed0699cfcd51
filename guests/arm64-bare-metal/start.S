/*
 * Entry with the MMU off (Documentation/arch/arm64/booting.rst of Linux): x0 is the
 * physical address of the device tree. Runs at any 4 KiB aligned physical address.
 */
#include "board.h"

  .section .head, "ax"
  /* The 64-byte Image header. */
  b start
  .long 0
  .quad 0 /* text offset: at a 2 MiB boundary */
  .quad _image_bytes
  .quad 0xa /* little endian, 4 KiB pages, anywhere in RAM */
  .quad 0, 0, 0
  .ascii "ARM\x64"
  .long 0

  .macro physical_address register, symbol
  adrp \register, \symbol
  add \register, \register, :lo12:\symbol
  .endm

  .global start
start:
  mov x20, x0
  mrs x0, CurrentEL
  cmp x0, #(1 << 2)
  b.ne wrong_exception_level
  msr daifset, #0xf

  physical_address x0, _bss
  physical_address x1, _end
1:
  stp xzr, xzr, [x0], #16
  cmp x0, x1
  b.lo 1b

  physical_address x0, stack_top
  mov sp, x0
  mov x29, xzr
  adrp x21, _head
  mov x0, x21
  bl build_translation_tables
  bl enable_mmu

  ldr x0, =stack_top
  mov sp, x0
  ldr x0, =vectors
  msr vbar_el1, x0
  isb
  mov x0, x20
  mov x1, x21
  mov x30, xzr
  ldr x2, =guest_main
  br x2

  /* Returns to the caller's virtual address: the link register is moved up to the linked image. */
enable_mmu:
  mov x0, #0xff00 /* MAIR_EL1: attribute 0 Device-nGnRnE, 1 Normal write-back */
  msr mair_el1, x0
  mrs x1, id_aa64mmfr0_el1
  and x1, x1, #0xf
  cmp x1, #5
  mov x2, #5
  csel x1, x1, x2, lo
  /* TCR_EL1: 39-bit halves, 4 KiB granules, write-back inner shareable walks. */
  ldr x0, =(25 | (25 << 16) | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 24) | (1 << 26) | (3 << 28) | (2 << 30))
  orr x0, x0, x1, lsl #32
  msr tcr_el1, x0
  physical_address x0, identity_level1
  msr ttbr0_el1, x0
  physical_address x0, kernel_level1
  msr ttbr1_el1, x0
  dsb ish
  isb
  tlbi vmalle1
  dsb ish
  isb
  /* SCTLR_EL1: RES1 bits, M, C, SA, SA0, I, no traps of WFI and WFE at EL0. */
  ldr x0, =(0x30d00800 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 12) | (1 << 16) | (1 << 18))
  msr sctlr_el1, x0
  isb
  adrp x0, _head
  sub x30, x30, x0
  ldr x0, =_head
  add x30, x30, x0
  ret

wrong_exception_level:
  physical_address x1, 3f
  mov x2, #PL011_BASE
1:
  ldrb w0, [x1], #1
  cbz w0, 2f
  str w0, [x2]
  b 1b
2:
  wfi
  b 2b
3:
  .asciz "error: the guest must be entered at EL1\r\n"
  .balign 4
  .ltorg

  /*
   * uint64_t suspend(uint64_t function): PSCI SYSTEM_SUSPEND by HVC. Gives PSCI's answer
   * when the call returns, SUSPEND_RESUMED when the VM came back at the entry point.
   */
  .text
  .global suspend
suspend:
  stp x29, x30, [sp, #-96]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  mov x29, sp
  adrp x1, suspended_stack
  mov x2, sp
  str x2, [x1, :lo12:suspended_stack]
  adrp x1, resume_entry_physical
  ldr x1, [x1, :lo12:resume_entry_physical]
  mov x2, #0x5157
  hvc #0
suspend_return:
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp x29, x30, [sp], #96
  ret

  .section .head, "ax"
  .global resume_entry
resume_entry:
  msr daifset, #0xf
  mov x19, x0
  bl enable_mmu
  ldr x0, =vectors
  msr vbar_el1, x0
  isb
  ldr x1, =suspended_stack
  ldr x1, [x1]
  mov sp, x1
  ldr x1, =suspend_return
  mov x0, x19
  br x1
  .ltorg

  .bss
  .balign 16
  .skip 16384
stack_top:
