/*
 * One ring, notified in one of several ways: append transport=NAME, rounds=N. The guest posts one entry a round, notifies, and
 * looks whether the other side has consumed it. What lies between the two marks is the rounds and nothing else.
 */
#include "machine.h"

enum { SETUP_PORT = 0x518, BELL_PORT = 0x510, SIGNALLED_PORT = 0x514, MARK_PORT = 0x80 };
enum { BELL_ADDRESS = 0xd0000000, SIGNALLED_ADDRESS = 0xd0001000 };
enum { NOTIFY_CALL = 0x4e00 }; /* a number that KVM does not know */
enum { MSR_GUEST_OS_ID = 0x40000000, MSR_HYPERCALL = 0x40000001, ENABLED = 1, GUEST_OS_ID = 0x8100 };
enum { SIGNAL_EVENT_FAST = 0x1005d, BELL_CONNECTION = 1, SIGNALLED_CONNECTION = 2 };
enum { SLOTS = 64 };

/* The producer writes `posted` and the slots, the consumer `consumed`. */
static struct {
  volatile uint32_t posted, consumed, sum_low, sum_high;
  volatile uint32_t slots[SLOTS];
} ring __attribute__((aligned(4096)));
static char call_page[4096] __attribute__((aligned(4096)));

_Noreturn void power_off(void) {
  out16(PM1_CONTROL, 1 << 13);
  for (;;) __asm__ volatile("cli\n\thlt");
}

void handle_vector(struct frame *frame) {
  print("error: exception %lu at %lx\n", frame->vector, frame->rip);
  power_off();
}

static inline void out32(uint16_t port, uint32_t value) {
  __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static void by_nothing(void) {}
static void by_port(void) { out16(BELL_PORT, 0); }
static void by_signalled_port(void) { out16(SIGNALLED_PORT, 0); }
static void by_memory(void) { write32(BELL_ADDRESS, 0); }
static void by_signalled_memory(void) { write32(SIGNALLED_ADDRESS, 0); }

static void by_kvm_call(void) {
  uint64_t result = NOTIFY_CALL;
  __asm__ volatile("vmcall" : "+a"(result) : "b"(0ul), "c"(0ul), "d"(0ul), "S"(0ul) : "memory");
}

static void signal_event(uint64_t connection) {
  uint64_t result, value = SIGNAL_EVENT_FAST;
  register uint64_t r8 __asm__("r8") = 0;
  __asm__ volatile("call *%[page]"
                   : "=a"(result), "+c"(value), "+d"(connection), "+r"(r8)
                   : [page] "r"(call_page)
                   : "memory", "r9", "r10", "r11");
}
static void by_event(void) { signal_event(BELL_CONNECTION); }
static void by_signalled_event(void) { signal_event(SIGNALLED_CONNECTION); }

static void speak_hyperv(void) {
  write_msr(MSR_GUEST_OS_ID, (uint64_t)GUEST_OS_ID << 48);
  write_msr(MSR_HYPERCALL, (uint64_t)call_page | ENABLED);
}

static const struct {
  const char *name;
  void (*notify)(void);
  bool is_hyperv;
} transports[] = {
    {"none", by_nothing, false},
    {"pio", by_port, false},
    {"mmio", by_memory, false},
    {"pio-ioeventfd", by_signalled_port, false},
    {"mmio-ioeventfd", by_signalled_memory, false},
    {"kvm-hypercall", by_kvm_call, false},
    {"hv-signal-event", by_event, true},
    {"hv-eventfd", by_signalled_event, true},
};

static void post(uint32_t value) {
  ring.slots[ring.posted % SLOTS] = value;
  ring.posted++;
}

/* Gives how many rounds found their entry consumed at once. */
static uint64_t run(void (*notify)(void), uint64_t rounds) {
  uint64_t at_once = 0;
  out8(MARK_PORT, 1);
  for (uint64_t i = 0; i < rounds; i++) {
    post((uint32_t)i * 3 + 1);
    notify();
    at_once += ring.consumed == ring.posted;
  }
  out8(MARK_PORT, 2);
  return at_once;
}

void guest_main(uint64_t start_info) {
  read_start_info(start_info);
  init_console();
  const uint64_t rounds = number_option("rounds", 256);
  const char *wanted = text_option("transport", "pio");
  out32(SETUP_PORT, (uint32_t)(uint64_t)&ring);
  for (unsigned i = 0; i < sizeof transports / sizeof transports[0]; i++) {
    if (!equal_strings(transports[i].name, wanted)) continue;
    if (transports[i].is_hyperv) speak_hyperv();
    const uint64_t at_once = run(transports[i].notify, rounds);
    print("%s: %lu posted, %u consumed, %lu at once, sum %u\n", wanted, rounds, ring.consumed, at_once, ring.sum_low);
    power_off();
  }
  print("error: no transport %s\n", wanted);
  power_off();
}
