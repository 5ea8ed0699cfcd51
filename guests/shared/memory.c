/* Memory and strings. The compiler calls memcpy and memset by itself. */
#include "machine.h"

void copy_bytes(void *to, const void *from, uint64_t count) {
  char *target = to;
  const char *source = from;
  while (count-- > 0) *target++ = *source++;
}

void fill_bytes(void *to, uint8_t value, uint64_t count) {
  uint8_t *target = to;
  while (count-- > 0) *target++ = value;
}

void *memcpy(void *to, const void *from, size_t count) {
  copy_bytes(to, from, count);
  return to;
}

void *memset(void *to, int value, size_t count) {
  fill_bytes(to, (uint8_t)value, count);
  return to;
}

bool equal_strings(const char *a, const char *b) {
  while (*a != '\0' && *a == *b) a++, b++;
  return *a == *b;
}
