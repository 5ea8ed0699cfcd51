/* Registers, ports and interrupts: what every part of the guest uses. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board.h"

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline uint64_t read_msr(uint32_t msr) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (uint64_t)high << 32 | low;
}
static inline void write_msr(uint32_t msr, uint64_t value) {
  __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline uint64_t read_counter(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}

struct cpuid {
  uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
  struct cpuid found;
  __asm__ volatile("cpuid"
                   : "=a"(found.eax), "=b"(found.ebx), "=c"(found.ecx), "=d"(found.edx)
                   : "a"(leaf), "c"(subleaf));
  return found;
}

/* Between accesses of memory, which the CPU keeps in order, and between those and a device's. */
#define memory_barrier() __asm__ volatile("" ::: "memory")
#define device_barrier() __asm__ volatile("mfence" ::: "memory")
/* All addresses are identical. */
static inline uint64_t physical_address(const void *address) { return (uint64_t)address; }

static inline uint32_t read32(uint64_t address) { return *(volatile uint32_t *)address; }
static inline void write32(uint64_t address, uint32_t value) { *(volatile uint32_t *)address = value; }
static inline uint64_t read64(uint64_t address) { return *(volatile uint64_t *)address; }

/* interrupt.c */

/* What start.S saves, and the CPU below it. */
struct frame {
  uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
  uint64_t vector, error_code, rip, cs, rflags, rsp, ss;
};
void init_interrupts(void);
void enable_interrupt(unsigned gsi);
/* Opens interrupts and sleeps until `done(argument)` holds. */
void wait_until(bool (*done)(uint64_t), uint64_t argument);

/* timer.c: by the local APIC's TSC deadline. */
extern uint64_t timer_ticks, counter_hertz;
void init_timer(void);
void start_timer(uint64_t period_microseconds);
void stop_timer(void);
void wait_for_ticks(uint64_t count);
void handle_timer(void);

/* print.c */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t checksum(uint64_t sum, const void *bytes, uint64_t count);
#define CHECKSUM_START 0xcbf29ce484222325

/* memory.c */
void copy_bytes(void *to, const void *from, uint64_t count);
void fill_bytes(void *to, uint8_t value, uint64_t count);
bool equal_strings(const char *a, const char *b);

/* uart.c */
void init_console(void);
void put_character(char character);
bool line_is_ready(uint64_t unused);
bool take_line(char *line, uint64_t bytes);
void handle_console(void);

/* start-info.c */
extern const char *command_line;
extern uint64_t ram_bytes;
void read_start_info(uint64_t physical);
const char *text_option(const char *name, const char *otherwise);
uint64_t number_option(const char *name, uint64_t otherwise);

/* virtio.c */
/* Finds the disk, if there is one, and starts its queue. */
bool init_disk(void);
void handle_virtio(unsigned slot);
extern uint64_t disk_sectors;
#define SECTOR_BYTES 512
/* `physical` is where the data goes to. Ends the guest on an error. */
void read_disk(uint64_t sector, uint64_t physical, uint32_t bytes);

/* main.c */
_Noreturn void power_off(void);
_Noreturn void reset(void);

/* scenario-main.c */
/* RBX is `kept` at the exit, which only KVM has. */
#define KEEPING_CALL "vmcall"
uint64_t call_keeping(uint64_t kept);

/* scenarios */
uint64_t churn(uint64_t value, uint64_t rounds);
void scenario_main(void);
void scenario_hypercalls(void);
void scenario_host(void);
void scenario_loop(void);
void scenario_dirty(void);
void scenario_idle(void);
void scenario_exits(void);
void scenario_fault_memory(void);
void scenario_fault_dma(void);
void scenario_fault_register(void);
void scenario_triple_fault(void);
void scenario_garbage(void);

#endif
