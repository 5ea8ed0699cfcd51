/* The console: 16550A, sends by polling, receives lines by interrupt. */
#include "machine.h"

enum { DATA = 0, INTERRUPT_ENABLE = 1, IDENTIFICATION = 2, LINE_CONTROL = 3, MODEM_CONTROL = 4, LINE_STATUS = 5 };
enum { RECEIVED = 1, FIFOS = 0x07, EIGHT_BITS = 3, OUT2_RTS_DTR = 0x0b, DATA_READY = 1, HOLDING_EMPTY = 0x20 };

static char input[256];
static volatile unsigned received, lines;
static unsigned taken;

void init_console(void) {
  out8(COM1 + LINE_CONTROL, EIGHT_BITS);
  out8(COM1 + IDENTIFICATION, FIFOS);
  out8(COM1 + MODEM_CONTROL, OUT2_RTS_DTR);
  out8(COM1 + INTERRUPT_ENABLE, RECEIVED);
}

void put_character(char character) {
  while ((in8(COM1 + LINE_STATUS) & HOLDING_EMPTY) == 0) continue;
  out8(COM1 + DATA, (uint8_t)character);
}

void handle_console(void) {
  while ((in8(COM1 + IDENTIFICATION) & 1) == 0) {
    while ((in8(COM1 + LINE_STATUS) & DATA_READY) != 0) {
      const char character = (char)in8(COM1 + DATA);
      input[received++ % sizeof input] = character;
      if (character == '\r' || character == '\n') lines++;
    }
  }
}

bool line_is_ready(uint64_t unused) {
  (void)unused;
  return lines > 0;
}

bool take_line(char *line, uint64_t bytes) {
  if (lines == 0) return false;
  fill_bytes(line, 0, bytes);
  for (uint64_t i = 0;;) {
    const char character = input[taken++ % sizeof input];
    if (character == '\r' || character == '\n') break;
    if (i + 1 < bytes) line[i++] = character;
  }
  lines--;
  return true;
}
