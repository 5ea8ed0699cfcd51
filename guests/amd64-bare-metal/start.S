/* Entered in 32-bit protected mode with the address of PVH's information in EBX; goes on in long mode. */
#define PAGE 4096
#define DIRECTORIES 4

  .section .note.pvh, "a", @note
  .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
  .asciz "Xen"
  .long pvh_entry

  .section .text
  .code32
  .global pvh_entry
pvh_entry:
  cld
  mov $page_map, %edi
  mov $(page_map_end - page_map) / 4, %ecx
  xor %eax, %eax
  rep stosl
  mov $page_directories + 3, %eax /* present, writable */
  mov $page_pointers, %edi
  mov $DIRECTORIES, %ecx
1: mov %eax, (%edi)
  add $PAGE, %eax
  add $8, %edi
  loop 1b
  movl $page_pointers + 3, page_map
  mov $0x83, %eax /* present, writable, 2 MiB */
  mov $page_directories, %edi
  mov $DIRECTORIES * 512, %ecx
2: mov %eax, (%edi)
  add $0x200000, %eax
  add $8, %edi
  loop 2b

  mov $0x20, %eax /* PAE */
  mov %eax, %cr4
  mov $page_map, %eax
  mov %eax, %cr3
  mov $0xc0000080, %ecx /* EFER */
  rdmsr
  or $0x100, %eax /* LME */
  wrmsr
  mov %cr0, %eax
  or $0x80000000, %eax /* PG */
  mov %eax, %cr0
  lgdt descriptor_table_register
  ljmp $0x08, $long_mode

  .code64
long_mode:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  xor %eax, %eax
  mov %eax, %fs
  mov %eax, %gs
  lea stack_top(%rip), %rsp
  xor %ebp, %ebp
  mov %ebx, %edi
  call guest_main
1: hlt
  jmp 1b

/* Each vector's entry is 16 bytes long, with an error code or a zero in its place. */
  .global vector_entries, vector_entry_bytes
  .balign 16
vector_entries:
  .set vector, 0
  .rept 256
  .balign 16
  .if (vector == 8) | ((vector >= 10) & (vector <= 14)) | (vector == 17)
  .else
  push $0
  .endif
  push $vector
  jmp save_frame
  .set vector, vector + 1
  .endr

save_frame:
  push %rax
  push %rcx
  push %rdx
  push %rbx
  push %rbp
  push %rsi
  push %rdi
  push %r8
  push %r9
  push %r10
  push %r11
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, %rdi
  cld
  call handle_vector
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %r11
  pop %r10
  pop %r9
  pop %r8
  pop %rdi
  pop %rsi
  pop %rbp
  pop %rbx
  pop %rdx
  pop %rcx
  pop %rax
  add $16, %rsp
  iretq

  .section .rodata
  .balign 8
descriptor_table:
  .quad 0
  .quad 0x00af9b000000ffff
  .quad 0x00cf93000000ffff
descriptor_table_end:
descriptor_table_register:
  .word descriptor_table_end - descriptor_table - 1
  .quad descriptor_table

  .section .bss
  .balign PAGE
page_map: .skip PAGE
page_pointers: .skip PAGE
page_directories: .skip DIRECTORIES * PAGE
page_map_end:
  .skip 16 * PAGE
stack_top:

  .section .note.GNU-stack, "", @progbits
