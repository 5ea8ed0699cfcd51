/* Asks its hypervisor for one thing of each kind that was in question, and prints what came back. */
#include <stdint.h>

#define UARTDR (*(volatile uint32_t *)0x09000000)

#define SMCCC_VERSION 0x80000000u
#define PSCI_VERSION 0x84000000u
#define PSCI_CPU_OFF 0x84000002u
#define PSCI_SYSTEM_OFF 0x84000008u
#define PSCI_CPU_ON 0xc4000003u
#define PSCI_AFFINITY_INFO 0xc4000004u
#define SDEI_VERSION 0xc4000020u
/* A vendor's own: 0xc6000000 to 0xc60000ff are asked for by the VMM. */
#define VENDOR_ECHO 0xc6000001u
#define VENDOR_SUM 0xc6000002u
#define VENDOR_BEYOND 0xc6000100u

#define AFFINITY_OFF 1
#define CONTEXT 0x5eed

void smccc_hvc(const uint64_t arguments[18], uint64_t results[18]);
void smccc_smc(const uint64_t arguments[18], uint64_t results[18]);
void second_start(void);

static void print(const char *text) {
  for (; *text != '\0'; text++) UARTDR = (uint8_t)*text;
}

/* Without leading zeros, so that a small number reads as one. */
static void print_number(uint64_t value) {
  int shift = 60;
  print("0x");
  while (shift > 0 && (value >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) UARTDR = (uint8_t) "0123456789abcdef"[(value >> shift) & 15];
}

static void print_result(const char *what, const uint64_t *results, int count) {
  print(what);
  for (int index = 0; index < count; index++) {
    print(" ");
    if (index == 0 && (int64_t)results[0] == -1) print("NOT_SUPPORTED");
    else print_number(results[index]);
  }
  print("\r\n");
}

typedef void conduit(const uint64_t arguments[18], uint64_t results[18]);

static void call(conduit *by, const char *what, uint32_t function, uint64_t first, int count) {
  uint64_t registers[18] = {function, first};
  for (int index = 2; index < 18; index++) registers[index] = (uint64_t)index;
  by(registers, registers);
  print_result(what, registers, count);
}

static uint64_t hvc(uint32_t function, uint64_t a, uint64_t b, uint64_t c) {
  uint64_t registers[18] = {function, a, b, c};
  smccc_hvc(registers, registers);
  return registers[0];
}

static volatile uint64_t second_context;

void second_main(uint64_t context) {
  second_context = context;
  hvc(PSCI_CPU_OFF, 0, 0, 0);
}

static void start_second(void) {
  const uint64_t started[1] = {hvc(PSCI_CPU_ON, 1, (uint64_t)second_start, CONTEXT)};
  print_result("CPU_ON of cpu 1:", started, 1);
  if (started[0] != 0) return;
  while (hvc(PSCI_AFFINITY_INFO, 1, 0, 0) != AFFINITY_OFF) __asm__ volatile("yield");
  const uint64_t context[1] = {second_context};
  print_result("cpu 1 ran with context", context, 1);
}

void guest_main(void) {
  call(smccc_hvc, "SMCCC_VERSION:", SMCCC_VERSION, 0, 1);
  call(smccc_hvc, "PSCI_VERSION:", PSCI_VERSION, 0, 1);
  call(smccc_hvc, "SDEI_VERSION:", SDEI_VERSION, 0, 1);
  call(smccc_hvc, "echo by HVC:", VENDOR_ECHO, 0x1000, 4);
  call(smccc_smc, "echo by SMC:", VENDOR_ECHO, 0x1000, 4);
  call(smccc_hvc, "sum of x1 to x17:", VENDOR_SUM, 1, 1);
  call(smccc_hvc, "beyond the range:", VENDOR_BEYOND, 0, 1);
  start_second();
  hvc(PSCI_SYSTEM_OFF, 0, 0, 0);
  print("SYSTEM_OFF came back\r\n");
}
