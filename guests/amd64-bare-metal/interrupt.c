/* Vectors, the local APIC and the IOAPIC. */
#include "machine.h"

enum { APIC_EOI = 0xb0, APIC_SPURIOUS = 0xf0, APIC_ENABLED = 0x100, IOAPIC_REDIRECTION = 0x10, IOAPIC_LEVEL = 1 << 15 };
enum { INTERRUPT_GATE = 0x8e, CODE_SELECTOR = 0x08, VECTORS = 256, ENTRY_BYTES = 16 };

extern char vector_entries[];

static struct {
  uint16_t offset_low, selector;
  uint8_t stack, type;
  uint16_t offset_middle;
  uint32_t offset_high, reserved;
} gates[VECTORS] __attribute__((aligned(16)));

static void write_io_apic(uint32_t index, uint32_t value) {
  write32(IO_APIC, index);
  write32(IO_APIC + 0x10, value);
}

void init_interrupts(void) {
  for (uint64_t vector = 0; vector < VECTORS; vector++) {
    const uint64_t entry = (uint64_t)vector_entries + vector * ENTRY_BYTES;
    gates[vector].offset_low = (uint16_t)entry;
    gates[vector].selector = CODE_SELECTOR;
    gates[vector].type = INTERRUPT_GATE;
    gates[vector].offset_middle = (uint16_t)(entry >> 16);
    gates[vector].offset_high = (uint32_t)(entry >> 32);
  }
  const struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) table = {sizeof gates - 1, (uint64_t)gates};
  __asm__ volatile("lidt %0" ::"m"(table));
  /* The legacy controllers stay silent. */
  out8(0x21, 0xff);
  out8(0xa1, 0xff);
  write32(LOCAL_APIC + APIC_SPURIOUS, APIC_ENABLED | VECTOR_SPURIOUS);
  write_io_apic(IOAPIC_REDIRECTION + 2 * COM1_GSI + 1, 0);
  write_io_apic(IOAPIC_REDIRECTION + 2 * COM1_GSI, VECTOR_CONSOLE);
}

/* A level that is high while it lasts: virtio's, by global system interrupt. */
void enable_interrupt(unsigned gsi) {
  write_io_apic(IOAPIC_REDIRECTION + 2 * gsi + 1, 0);
  write_io_apic(IOAPIC_REDIRECTION + 2 * gsi, IOAPIC_LEVEL | (VECTOR_VIRTIO + gsi - INTID_VIRTIO_MMIO));
}

void handle_vector(struct frame *frame) {
  if (frame->vector == VECTOR_TIMER) handle_timer();
  else if (frame->vector == VECTOR_CONSOLE) handle_console();
  else if (frame->vector - VECTOR_VIRTIO < VIRTIO_MMIO_SLOTS) handle_virtio((unsigned)frame->vector - VECTOR_VIRTIO);
  else if (frame->vector != VECTOR_SPURIOUS) {
    uint64_t address;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    print("error: exception %lu, error code %lx at %lx, CR2 %lx\n", frame->vector, frame->error_code, frame->rip, address);
    power_off();
  }
  if (frame->vector != VECTOR_SPURIOUS) write32(LOCAL_APIC + APIC_EOI, 0);
}

void wait_until(bool (*done)(uint64_t), uint64_t argument) {
  for (;;) {
    __asm__ volatile("cli" ::: "memory");
    if (done(argument)) break;
    /* STI's shadow reaches over HLT: no interrupt gets in between. */
    __asm__ volatile("sti\n\thlt" ::: "memory");
  }
  __asm__ volatile("sti" ::: "memory");
}
