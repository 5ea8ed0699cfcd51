/* Firmware calls: PSCI (Arm DEN 0022), and the discovery calls of other SMCCC owners. */
#include "machine.h"

static const struct {
  const char *name;
  uint64_t function, argument;
} calls[] = {
    {"SMCCC_VERSION", 0x80000000, 0},
    {"SMCCC_ARCH_FEATURES(ARCH_WORKAROUND_1)", 0x80000001, 0x80008000},
    {"SMCCC_ARCH_FEATURES(ARCH_WORKAROUND_2)", 0x80000001, 0x80007fff},
    {"SMCCC_ARCH_FEATURES(ARCH_WORKAROUND_3)", 0x80000001, 0x80003fff},
    {"SMCCC_ARCH_FEATURES(PV_TIME_FEATURES)", 0x80000001, 0xc5000020},
    {"PSCI_VERSION", PSCI_VERSION, 0},
    {"PSCI_FEATURES(CPU_ON)", PSCI_FEATURES, PSCI_CPU_ON},
    {"PSCI_FEATURES(SYSTEM_SUSPEND)", PSCI_FEATURES, PSCI_SYSTEM_SUSPEND},
    {"PSCI_FEATURES(SYSTEM_RESET2)", PSCI_FEATURES, 0xc4000012},
    {"PSCI_AFFINITY_INFO(0)", 0xc4000004, 0},
    {"PSCI_MIGRATE_INFO_TYPE", 0x84000006, 0},
    {"TRNG_VERSION", 0x84000050, 0},
    {"TRNG_FEATURES(TRNG_RND64)", 0x84000051, 0xc4000053},
    {"TRNG_RND64(64)", 0xc4000053, 64},
    {"VENDOR_HYP_UID", 0x8600ff01, 0},
    {"VENDOR_HYP_FEATURES", 0x86000000, 0},
    {"unknown standard secure call", 0x8400ffff, 0},
};

static void print_call(const char *name, uint64_t function, uint64_t argument) {
  const uint64_t arguments[8] = {function, argument};
  uint64_t results[4];
  const uint64_t skipped = skipped_exceptions;
  smccc_hvc(arguments, results);
  if (skipped_exceptions != skipped) print("%s: undefined\n", name);
  else print("%s: %lx %lx %lx %lx\n", name, results[0], results[1], results[2], results[3]);
}

void print_calls(void) {
  exception_hook *before = set_exception_hook(skip_instruction);
  for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++)
    print_call(calls[i].name, calls[i].function, calls[i].argument);
  set_exception_hook(before);
}

uint64_t call_hypervisor(uint64_t function, uint64_t argument) {
  const uint64_t arguments[8] = {function, argument};
  uint64_t results[4];
  smccc_hvc(arguments, results);
  return results[0];
}

void print_psci_version(void) {
  const uint64_t version = call_hypervisor(PSCI_VERSION, 0);
  print("psci version %lu.%lu\n", version >> 16, version & 0xffff);
}

static _Noreturn void end(uint64_t function, const char *name) {
  mask_interrupts();
  print("%s\n", name);
  /* A hypervisor without PSCI makes the call undefined. */
  set_exception_hook(skip_instruction);
  call_hypervisor(function, 0);
  print("error: %s returned\n", name);
  for (;;) __asm__ volatile("wfi");
}

_Noreturn void power_off(void) { end(PSCI_SYSTEM_OFF, "power off"); }

_Noreturn void reset(void) { end(PSCI_SYSTEM_RESET, "reset"); }
