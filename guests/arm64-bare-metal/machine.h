/* Registers, memory and exceptions: what every part of the guest uses. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board.h"

#define read_sysreg(name)                                   \
  ({                                                        \
    uint64_t value_;                                        \
    __asm__ volatile("mrs %0, " #name : "=r"(value_)::"memory"); \
    value_;                                                 \
  })
#define write_sysreg(name, value) __asm__ volatile("msr " #name ", %0" ::"r"((uint64_t)(value)) : "memory")
#define isb() __asm__ volatile("isb" ::: "memory")
#define dsb() __asm__ volatile("dsb sy" ::: "memory")
#define dmb() __asm__ volatile("dmb ish" ::: "memory")
/* Between accesses of memory, and between those and a device's. */
#define memory_barrier() dmb()
#define device_barrier() dsb()

static inline uint32_t read32(uint64_t address) { return *(volatile uint32_t *)address; }
static inline void write32(uint64_t address, uint32_t value) { *(volatile uint32_t *)address = value; }
static inline uint8_t read8(uint64_t address) { return *(volatile uint8_t *)address; }
static inline void write8(uint64_t address, uint8_t value) { *(volatile uint8_t *)address = value; }

static inline void mask_interrupts(void) { __asm__ volatile("msr daifset, #2" ::: "memory"); }
static inline void unmask_interrupts(void) { __asm__ volatile("msr daifclr, #2\n\tisb" ::: "memory"); }

/* exception.c */

/* What vectors.S saves. */
struct frame {
  uint64_t x[31];
  uint64_t pc, pstate, user_sp;
};

enum { EC_UNKNOWN = 0x00, EC_SVC64 = 0x15, EC_SYSREG = 0x18, EC_INSTRUCTION_ABORT_LOWER = 0x20,
       EC_INSTRUCTION_ABORT = 0x21, EC_DATA_ABORT_LOWER = 0x24, EC_DATA_ABORT = 0x25 };

static inline unsigned exception_class(uint64_t esr) { return (esr >> 26) & 0x3f; }

/* A scenario's own answer to an exception: true when the frame may go on. */
typedef bool exception_hook(struct frame *frame, uint64_t esr, uint64_t far);
/* Sets the hook; gives the one before. Without one an exception ends the guest. */
exception_hook *set_exception_hook(exception_hook *hook);
/* Counts the exception and goes on behind the instruction, or at the caller for a jump that failed. */
exception_hook skip_instruction;
extern uint64_t skipped_exceptions;
/* Opens interrupts and sleeps until `done(argument)` holds. */
void wait_until(bool (*done)(uint64_t), uint64_t argument);

/* print.c */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t checksum(uint64_t sum, const void *bytes, uint64_t count);
#define CHECKSUM_START 0xcbf29ce484222325

/* memory.c */
void copy_bytes(void *to, const void *from, uint64_t count);
void fill_bytes(void *to, uint8_t value, uint64_t count);
bool equal_strings(const char *a, const char *b);

/* translation.c */
enum { PTE_VALID = 1, PTE_PAGE = 3, PTE_TABLE = 3, PTE_BLOCK = 1 };
#define PTE_DEVICE (0ul << 2)
#define PTE_NORMAL (1ul << 2)
#define PTE_USER (1ul << 6)
#define PTE_READ_ONLY (1ul << 7)
#define PTE_INNER_SHAREABLE (3ul << 8)
#define PTE_ACCESSED (1ul << 10)
#define PTE_NOT_GLOBAL (1ul << 11)
#define PTE_PXN (1ul << 53)
#define PTE_UXN (1ul << 54)
#define PTE_KERNEL_DATA \
  (PTE_PAGE | PTE_NORMAL | PTE_INNER_SHAREABLE | PTE_ACCESSED | PTE_PXN | PTE_UXN)

extern uint64_t image_physical;
/* Of an address inside the image. */
uint64_t physical_address(const void *address);
extern uint64_t playground_level3[512], spare_level3[512];
/* Makes PLAYGROUND_BASE translate by `level3`. Flushes nothing. */
void set_playground_table(uint64_t *level3);
void map_user_page(unsigned index, uint64_t physical, uint64_t attributes);
void flush_translations(void);
/* Makes written instructions visible to the fetch. */
void synchronise_code(void *address, uint64_t bytes);

/* interrupt.c */
void init_interrupts(void);
void init_cpu_interface(void);
void enable_interrupt(unsigned intid);
void handle_interrupt(void);

/* timer.c */
extern volatile uint64_t timer_ticks;
/* Interrupts every `microseconds` until stop_timer. */
void start_timer(uint64_t microseconds);
void stop_timer(void);
void handle_timer(void);
void wait_for_ticks(uint64_t count);

/* pl011.c */
void init_console(void);
void put_character(char character);
void handle_console(void);
/* A typed line without its end, if one is complete. */
bool take_line(char *line, size_t size);
bool line_is_ready(uint64_t unused);

/* calls.S, start.S, vectors.S */
void smccc_hvc(const uint64_t arguments[8], uint64_t results[4]);
void smccc_smc(const uint64_t arguments[8], uint64_t results[4]);
uint64_t hvc_with_x19(uint64_t function, uint64_t x19);
uint64_t suspend(uint64_t function);
#define SUSPEND_RESUMED 0x5157
extern uint64_t resume_entry_physical;
uint64_t enter_user(uint64_t pc, uint64_t sp, uint64_t argument);
void leave_user(void);

/* psci.c */
enum { PSCI_VERSION = 0x84000000, PSCI_SYSTEM_OFF = 0x84000008, PSCI_SYSTEM_RESET = 0x84000009,
       PSCI_FEATURES = 0x8400000a };
#define PSCI_CPU_ON 0xc4000003
#define PSCI_SYSTEM_SUSPEND 0xc400000e
uint64_t call_hypervisor(uint64_t function, uint64_t argument);
/* x19 is `kept` at the exit. */
#define KEEPING_CALL "psci"
static inline uint64_t call_keeping(uint64_t kept) { return hvc_with_x19(PSCI_VERSION, kept); }
void print_calls(void);
void print_psci_version(void);
_Noreturn void power_off(void);
_Noreturn void reset(void);

/* virtio.c */
/* Finds the disk, if there is one, and starts its queue. */
bool init_disk(void);
void handle_virtio(unsigned slot);
extern uint64_t disk_sectors;
extern bool disk_read_only;
#define SECTOR_BYTES 512
/* `physical` is where the data goes to or comes from. Ends the guest on an error. */
void read_disk(uint64_t sector, uint64_t physical, uint32_t bytes);
void write_disk(uint64_t sector, uint64_t physical, uint32_t bytes);
/* 16 bytes of a virtio entropy device, if there is one. */
bool read_entropy(uint8_t bytes[16]);

/* command-line.c */
void read_device_tree(uint64_t physical);
extern char command_line[1024];
extern uint64_t ram_bytes;
/* Value of `name=` in the command line, else `otherwise`. */
const char *text_option(const char *name, const char *otherwise);
uint64_t number_option(const char *name, uint64_t otherwise);

/* scenario-*.c */
/* A few instructions per round; the same for the same arguments. */
uint64_t churn(uint64_t value, uint64_t rounds);
void scenario_main(void);
void scenario_hypercalls(void);
void scenario_loop(void);
void scenario_dirty(void);
void scenario_idle(void);
void scenario_psci(void);
void scenario_fault_memory(void);
void scenario_fault_dma(void);
void scenario_fault_register(void);
void scenario_tlb(void);
void scenario_code(void);
void scenario_garbage(void);
void scenario_vectors(void);

#endif
