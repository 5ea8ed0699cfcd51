/* Code that is written while it runs. The page is writable and executable. */
  .section .code_area, "awx"

  /* Free for generated functions. */
  .global generated_code
generated_code:
  .skip 256

  .balign 512
  .global code_from_disk
code_from_disk:
  .skip 512

  /* uint32_t patch_same_block(uint32_t instruction): the instruction is replaced, synchronised, executed. */
  .global patch_same_block
patch_same_block:
  adr x1, 1f
  str w0, [x1]
  dc cvau, x1
  dsb ish
  ic ivau, x1
  dsb ish
  isb
1:
  mov w0, #0xffff
  ret

  /* uint32_t patch_next_instruction(uint32_t instruction): replaced by the instruction before it, with no barrier. */
  .balign 64
  .global patch_next_instruction
patch_next_instruction:
  adr x1, 1f
  str w0, [x1]
1:
  mov w0, #0xffff
  ret

  /* uint32_t patch_loop(uint32_t instruction, uint32_t rounds): a loop that is replaced in its last round but one. */
  .balign 64
  .global patch_loop
patch_loop:
  adr x2, 2f
  mov w3, w0
  mov w4, #0
1:
  cmp w1, #2
  b.ne 2f
  str w3, [x2]
2:
  mov w0, #1
  add w4, w4, w0
  subs w1, w1, #1
  b.ne 1b
  mov w0, w4
  ret
