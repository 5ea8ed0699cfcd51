/* What PVH tells: the command line and the memory map; and the options on the command line. */
#include "machine.h"

enum { START_INFO_MAGIC = 0x336ec578, MAP_ENTRY_BYTES = 24, USABLE = 1 };

const char *command_line = "";
uint64_t ram_bytes;

void read_start_info(uint64_t physical) {
  if (physical == 0 || read32(physical) != START_INFO_MAGIC) return;
  if (read64(physical + 24) != 0) command_line = (const char *)read64(physical + 24);
  const uint64_t map = read64(physical + 40), entries = read32(physical + 48);
  for (uint64_t at = map; at < map + entries * MAP_ENTRY_BYTES; at += MAP_ENTRY_BYTES)
    if (read32(at + 16) == USABLE && read64(at) >= 0x100000) ram_bytes += read64(at + 8);
  ram_bytes += 0x100000;
}

static uint64_t length_of(const char *text) {
  uint64_t length = 0;
  while (text[length] != '\0') length++;
  return length;
}

static bool starts_with(const char *text, const char *prefix) {
  while (*prefix != '\0' && *text == *prefix) text++, prefix++;
  return *prefix == '\0';
}

const char *text_option(const char *name, const char *otherwise) {
  static char value[64];
  for (const char *at = command_line; *at != '\0'; at++) {
    const bool is_start = at == command_line || at[-1] == ' ';
    const uint64_t length = length_of(name);
    if (!is_start || !starts_with(at, name) || at[length] != '=') continue;
    uint64_t i = 0;
    for (at += length + 1; at[i] != ' ' && at[i] != '\0' && i + 1 < sizeof value; i++) value[i] = at[i];
    value[i] = '\0';
    return value;
  }
  return otherwise;
}

uint64_t number_option(const char *name, uint64_t otherwise) {
  const char *text = text_option(name, NULL);
  if (text == NULL) return otherwise;
  uint64_t value = 0;
  for (const char *at = text; *at != '\0'; at++) {
    if (*at < '0' || *at > '9') {
      print("error: option %s=%s is not a decimal number\n", name, text);
      power_off();
    }
    value = value * 10 + (uint64_t)(*at - '0');
  }
  return value;
}
