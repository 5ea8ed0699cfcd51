/* The PL011 UART (Arm DDI 0183): output by polling, input by interrupt. */
#include "machine.h"

enum { UARTDR = 0x00, UARTFR = 0x18, UARTLCR_H = 0x2c, UARTCR = 0x30, UARTIMSC = 0x38, UARTICR = 0x44 };
enum { FR_RXFE = 1 << 4, FR_TXFF = 1 << 5 };
enum { LCR_H_FEN = 1 << 4, LCR_H_8_BITS = 3 << 5 };
enum { CR_UARTEN = 1 << 0, CR_TXE = 1 << 8, CR_RXE = 1 << 9 };
enum { INTERRUPT_RX = 1 << 4, INTERRUPT_RX_TIMEOUT = 1 << 6, INTERRUPTS_ALL = 0x7ff };

#define RING_BYTES 256
static volatile char ring[RING_BYTES];
static volatile uint32_t ring_head, ring_tail, complete_lines;

void init_console(void) {
  write32(PL011_BASE + UARTLCR_H, LCR_H_FEN | LCR_H_8_BITS);
  write32(PL011_BASE + UARTICR, INTERRUPTS_ALL);
  write32(PL011_BASE + UARTCR, CR_UARTEN | CR_TXE | CR_RXE);
  write32(PL011_BASE + UARTIMSC, INTERRUPT_RX | INTERRUPT_RX_TIMEOUT);
  enable_interrupt(INTID_PL011);
}

void put_character(char character) {
  while (read32(PL011_BASE + UARTFR) & FR_TXFF) continue;
  write32(PL011_BASE + UARTDR, (uint8_t)character);
}

void handle_console(void) {
  while (!(read32(PL011_BASE + UARTFR) & FR_RXFE)) {
    const char character = (char)read32(PL011_BASE + UARTDR);
    if (ring_head - ring_tail == RING_BYTES) continue;
    ring[ring_head++ % RING_BYTES] = character;
    if (character == '\r' || character == '\n') complete_lines++;
  }
  write32(PL011_BASE + UARTICR, INTERRUPT_RX | INTERRUPT_RX_TIMEOUT);
}

bool line_is_ready(uint64_t unused) {
  (void)unused;
  return complete_lines > 0;
}

bool take_line(char *line, size_t size) {
  mask_interrupts();
  const bool ready = complete_lines > 0;
  size_t length = 0;
  while (ready) {
    const char character = ring[ring_tail++ % RING_BYTES];
    if (character == '\r' || character == '\n') {
      complete_lines--;
      break;
    }
    if (length + 1 < size) line[length++] = character;
  }
  line[length] = '\0';
  unmask_interrupts();
  return ready;
}
