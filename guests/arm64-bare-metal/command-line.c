/* The little of the flattened device tree that the guest needs: /chosen/bootargs and /memory. */
#include "machine.h"

enum { FDT_MAGIC = 0xd00dfeed, FDT_BEGIN_NODE = 1, FDT_END_NODE = 2, FDT_PROP = 3, FDT_NOP = 4, FDT_END = 9 };

char command_line[1024];
uint64_t ram_bytes;

static uint32_t big_endian(uint64_t address) { return __builtin_bswap32(read32(address)); }

static uint64_t length_of(const char *text) {
  uint64_t length = 0;
  while (text[length] != '\0') length++;
  return length;
}

static bool starts_with(const char *text, const char *prefix) {
  while (*prefix != '\0' && *text == *prefix) text++, prefix++;
  return *prefix == '\0';
}

static void read_property(const char *node, const char *name, uint64_t data, uint32_t bytes) {
  if (equal_strings(node, "chosen") && equal_strings(name, "bootargs")) {
    const uint64_t most = sizeof command_line - 1;
    copy_bytes(command_line, (const void *)data, bytes < most ? bytes : most);
  } else if (starts_with(node, "memory") && equal_strings(name, "reg") && bytes >= 16) {
    ram_bytes = (uint64_t)big_endian(data + 8) << 32 | big_endian(data + 12);
  }
}

void read_device_tree(uint64_t physical) {
  /* A boot loader of plain ELF files gives no address; the start of RAM is where QEMU then puts the tree. */
  if (physical == 0 || physical % 8 != 0 || big_endian(physical) != FDT_MAGIC) physical = RAM_BASE;
  if (big_endian(physical) != FDT_MAGIC) return;
  uint64_t at = physical + big_endian(physical + 8);
  const uint64_t strings = physical + big_endian(physical + 12);
  const char *node = "";
  for (unsigned depth = 0;;) {
    const uint32_t token = big_endian(at);
    at += 4;
    if (token == FDT_BEGIN_NODE) {
      node = (const char *)at;
      at += (length_of(node) + 1 + 3) & ~3ul;
      depth++;
    } else if (token == FDT_END_NODE) {
      depth--;
      node = "";
    } else if (token == FDT_PROP) {
      const uint32_t bytes = big_endian(at);
      if (depth == 2) read_property(node, (const char *)(strings + big_endian(at + 4)), at + 8, bytes);
      at += 8 + ((bytes + 3ul) & ~3ul);
    } else if (token != FDT_NOP) {
      return;
    }
  }
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
