/* scenario=exits: one kind of exit again and again, for measuring. Options: kind, count. */
#include "machine.h"

enum {
  HV_X64_MSR_GUEST_OS_ID = 0x40000000,
  IA32_TSC_ADJUST = 0x3b,
  KVM_HC_VAPIC_POLL_IRQ = 1,
  KVM_HC_MAP_GPA_RANGE = 12,
  HV_NOTIFY_LONG_SPIN_WAIT = 0x0008,
  HV_EXT_CALL_QUERY_CAPABILITIES = 0x8001,
  HV_FAST = 1 << 16,
};

/* Of the first virtio slot, which says that it is there. */
static const uint64_t device = 0xfeb00000;
static const uint16_t uart_scratch = COM1 + 7;

static void call(uint64_t rax, uint64_t rbx, uint64_t rcx, uint64_t rdx) {
  __asm__ volatile("vmcall" : "+a"(rax), "+d"(rdx) : "b"(rbx), "c"(rcx), "S"(0ul) : "memory", "r8");
}

static void write_port(void) { out8(uart_scratch, 0x61); }
static void read_port(void) { in8(uart_scratch); }
static void write_device(void) { write32(device + 0x70, 0); }
static void read_device(void) { read32(device); }
static void call_kvm(void) { call(KVM_HC_VAPIC_POLL_IRQ, 0, 0, 0); }
static void call_kvm_forwarded(void) { call(KVM_HC_MAP_GPA_RANGE, 0x100000, 1, 0); }
static void call_hyperv(void) { call(0, 0, HV_NOTIFY_LONG_SPIN_WAIT | HV_FAST, 0); }
static void call_hyperv_forwarded(void) { call(0, 0, HV_EXT_CALL_QUERY_CAPABILITIES, 0); }
static void read_register(void) { read_msr(IA32_TSC_ADJUST); }
static void identify(void) { cpuid(0, 0); }

static const struct {
  const char *name;
  void (*leave)(void);
  bool speaks_hyperv;
} kinds[] = {
    {"pio-write", write_port, false},
    {"pio-read", read_port, false},
    {"mmio-write", write_device, false},
    {"mmio-read", read_device, false},
    {"kvm", call_kvm, false},
    {"kvm-forwarded", call_kvm_forwarded, false},
    {"hyperv", call_hyperv, true},
    {"hyperv-forwarded", call_hyperv_forwarded, true},
    {"rdmsr", read_register, false},
    {"cpuid", identify, false},
};

void scenario_exits(void) {
  const uint64_t count = number_option("count", 1000);
  const char *kind = text_option("kind", "kvm");
  for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (!equal_strings(kinds[i].name, kind)) continue;
    /* That of no system in particular. */
    if (kinds[i].speaks_hyperv) write_msr(HV_X64_MSR_GUEST_OS_ID, 1ul << 63);
    for (uint64_t round = 0; round < count; round++) kinds[i].leave();
    print("exits: %lu of %s\n", count, kind);
    return;
  }
  print("error: unknown kind %s of exits\n", kind);
}
