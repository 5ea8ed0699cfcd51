/* Text to the console. */
#include "machine.h"

static void print_decimal(uint64_t value) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value != 0);
  while (count > 0) put_character(digits[--count]);
}

static void print_hexadecimal(uint64_t value, unsigned digits) {
  put_character('0');
  put_character('x');
  while (digits-- > 0) put_character("0123456789abcdef"[(value >> (digits * 4)) & 15]);
}

static void print_text(const char *text) {
  for (; *text != '\0'; text++) {
    if (*text == '\n') put_character('\r');
    put_character(*text);
  }
}

/* Knows %s, %u and %lu in decimal, %x and %lx as 0x and all digits. */
void print(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  for (; *format != '\0'; format++) {
    if (*format != '%') {
      const char character[2] = {*format, '\0'};
      print_text(character);
      continue;
    }
    const bool is_long = *++format == 'l';
    if (is_long) format++;
    if (*format == 's') print_text(va_arg(arguments, const char *));
    else {
      const uint64_t value = is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t);
      if (*format == 'u') print_decimal(value);
      else print_hexadecimal(value, is_long ? 16 : 8);
    }
  }
  va_end(arguments);
}

/* FNV-1a, 64 bits. */
uint64_t checksum(uint64_t sum, const void *bytes, uint64_t count) {
  const volatile uint8_t *at = bytes;
  while (count-- > 0) sum = (sum ^ *at++) * 0x100000001b3;
  return sum;
}
