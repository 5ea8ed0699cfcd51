/*
 * Runs cases of x86 user code on the CPU that it finds itself on: a host's, or QEMU's user mode emulation.
 *
 * A case is a block of `struct block` on standard input; the block that comes back on standard output is the state where
 * the case ended. It is entered and left by signals: the handler writes the state of the next case into the frame that it
 * returns from, and finds the state of the last one in the frame that it is called with. Without a C library, so that
 * `-m32` needs nothing but the compiler.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word;

enum {
  CODE_PAGE = 0x20000000,
  CODE_OFFSET = 0x800,
  DATA_PAGE = 0x20010000,
  PAGE = 0x1000,
  WINDOW_OFFSET = 0xc00,
  WINDOW_BYTES = 0x400,
  CODE_BYTES = 64,
  HLT = 0xf4,
  FXSAVE_BYTES = 512,
  /* Where FXSAVE leaves room for software, Linux says how much more than FXSAVE's image follows. */
  FXSAVE_SOFTWARE = 464,
};

/* `FLAGS` of RFLAGS that a signal's return writes are the guest's; the others stay. */
struct block {
  u64 gpr[16];
  u64 rip;
  u64 rflags;
  u64 cr2;
  u32 vector;
  u32 error;
  u32 codeLength;
  /* Of the data page outside the window. */
  u32 check;
  u32 signal;
  u32 unused[5];
  u8 fxsave[FXSAVE_BYTES];
  u8 code[CODE_BYTES];
  u8 window[WINDOW_BYTES];
};

enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11, SIGALRM = 14 };
enum { SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_NODEFER = 0x40000000 };

#ifdef __x86_64__

/* uapi/asm/sigcontext.h, behind the 40 bytes of ucontext in front of it. */
struct context {
  u64 ucontext[5];
  u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags;
  u16 cs, gs, fs, ss;
  u64 error, vector, oldMask, cr2;
  u8 *fpstate;
};
enum { FXSAVE_OFFSET = 0, SYS_read = 0, SYS_write = 1, SYS_mmap = 9, SYS_sigaction = 13, SYS_alarm = 37,
       SYS_exit = 60, SYS_sigaltstack = 131 };

static long systemCall(long number, word a, word b, word c, word d, word e, word f) {
  register word r10 __asm__("r10") = d;
  register word r8 __asm__("r8") = e;
  register word r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

__asm__(".globl restorer\nrestorer: mov $15, %eax\nsyscall\n"
        ".globl _start\n_start: and $-16, %rsp\ncall begin\n");

#define REGISTERS(M) M(rax, 0) M(rcx, 1) M(rdx, 2) M(rbx, 3) M(rsp, 4) M(rbp, 5) M(rsi, 6) M(rdi, 7) M(r8, 8) \
  M(r9, 9) M(r10, 10) M(r11, 11) M(r12, 12) M(r13, 13) M(r14, 14) M(r15, 15)

#else

struct context {
  u32 ucontext[5];
  u32 gs, fs, es, ds, rdi, rsi, rbp, rsp, rbx, rdx, rcx, rax, vector, error, rip, cs, flags, spAtSignal, ss;
  u8 *fpstate;
  u32 oldMask, cr2;
};
/* The image of FXSAVE stands behind that of FSAVE (struct _fpstate_32). SYS_mmap is mmap2. */
enum { FXSAVE_OFFSET = 112, SYS_exit = 1, SYS_read = 3, SYS_write = 4, SYS_alarm = 27, SYS_sigaction = 174,
       SYS_sigaltstack = 186, SYS_mmap = 192 };

static long systemCall(long number, word a, word b, word c, word d, word e, word f) {
  long result;
  word arguments[2] = {a, f};
  __asm__ volatile("push %%ebx; push %%ebp; mov 4(%%ebx), %%ebp; mov (%%ebx), %%ebx; int $0x80; pop %%ebp; pop %%ebx"
                   : "=a"(result)
                   : "a"(number), "b"(arguments), "c"(b), "d"(c), "S"(d), "D"(e)
                   : "memory");
  return result;
}

__asm__(".globl restorer\nrestorer: mov $173, %eax\nint $0x80\n"
        ".globl _start\n_start: and $-16, %esp\ncall begin\n");

#define REGISTERS(M) M(rax, 0) M(rcx, 1) M(rdx, 2) M(rbx, 3) M(rsp, 4) M(rbp, 5) M(rsi, 6) M(rdi, 7)

#endif

extern void restorer(void);

static struct block current;
static int running;
static u8 signalStack[0x10000] __attribute__((aligned(64)));

static void exitWith(int status) {
  for (;;) systemCall(SYS_exit, status, 0, 0, 0, 0, 0);
}

static void copy(u8 *to, const u8 *from, u32 count) {
  while (count-- > 0) *to++ = *from++;
}

static void fill(u8 *to, u8 value, u32 count) {
  while (count-- > 0) *to++ = value;
}

/* 0: the input has ended between two blocks. */
static int readBlock(void) {
  word done = 0;
  while (done < sizeof current) {
    long count = systemCall(SYS_read, 0, (word)((u8 *)&current + done), sizeof current - done, 0, 0, 0);
    if (count == 0 && done == 0) return 0;
    if (count <= 0) exitWith(3);
    done += count;
  }
  return 1;
}

static void writeBlock(void) {
  word done = 0;
  while (done < sizeof current) {
    long count = systemCall(SYS_write, 1, (word)((u8 *)&current + done), sizeof current - done, 0, 0, 0);
    if (count <= 0) exitWith(4);
    done += count;
  }
}

/* FNV-1a by words. */
static u32 checkOfRest(void) {
  u32 hash = 0x811c9dc5;
  for (u32 offset = 0; offset < WINDOW_OFFSET; offset += 4)
    hash = (hash ^ *(volatile u32 *)(word)(DATA_PAGE + offset)) * 0x01000193;
  return hash;
}

static void save(const struct context *context, int signal) {
#define SAVE(name, number) current.gpr[number] = context->name;
  REGISTERS(SAVE)
  current.rip = context->rip;
  current.rflags = context->flags;
  current.cr2 = context->cr2;
  current.signal = signal;
  current.vector = (u32)context->vector;
  current.error = (u32)context->error;
  copy(current.fxsave, context->fpstate + FXSAVE_OFFSET, FXSAVE_BYTES);
  copy(current.window, (u8 *)(word)(DATA_PAGE + WINDOW_OFFSET), WINDOW_BYTES);
  current.check = checkOfRest();
}

#ifndef __x86_64__
/* Linux takes control, status and tags of a 32-bit frame from its image of FSAVE. */
static void writeLegacyImage(u8 *image) {
  u32 *environment = (u32 *)image;
  const u16 *source = (const u16 *)current.fxsave;
  u32 top = source[1] >> 11 & 7;
  u32 tags = 0;
  for (u32 number = 0; number < 8; number++) {
    if ((current.fxsave[4] >> number & 1) == 0) {
      tags |= 3u << (2 * number);
      continue;
    }
    const u8 *value = current.fxsave + 32 + 16 * ((number - top) & 7);
    u32 exponent = *(const u16 *)(value + 8) & 0x7fff;
    u64 fraction = *(const u64 *)value;
    if (exponent == 0 && fraction == 0) tags |= 1u << (2 * number);
    else if (exponent == 0 || exponent == 0x7fff || fraction >> 63 == 0) tags |= 2u << (2 * number);
  }
  environment[0] = 0xffff0000 | source[0];
  environment[1] = 0xffff0000 | source[1];
  environment[2] = 0xffff0000 | tags;
  for (u32 number = 0; number < 8; number++) copy(image + 28 + 10 * number, current.fxsave + 32 + 16 * number, 10);
}
#endif

static void load(struct context *context) {
  const word flags = 0x40cd5; /* What a return from a signal writes, without TF and RF. */
  u8 *image = context->fpstate + FXSAVE_OFFSET;
#define LOAD(name, number) context->name = (word)current.gpr[number];
  REGISTERS(LOAD)
  context->rip = CODE_PAGE + CODE_OFFSET;
  context->flags = (context->flags & ~(flags | 0x100)) | (current.rflags & flags);
  copy(image, current.fxsave, FXSAVE_SOFTWARE);
  /* No more than FXSAVE's image is restored. */
  fill(image + FXSAVE_SOFTWARE, 0, FXSAVE_BYTES - FXSAVE_SOFTWARE);
#ifndef __x86_64__
  writeLegacyImage(context->fpstate);
#endif
  fill((u8 *)CODE_PAGE, HLT, PAGE);
  copy((u8 *)(CODE_PAGE + CODE_OFFSET), current.code, current.codeLength);
  fill((u8 *)DATA_PAGE, 0, WINDOW_OFFSET);
  copy((u8 *)(DATA_PAGE + WINDOW_OFFSET), current.window, WINDOW_BYTES);
}

static void handler(int signal, void *info, struct context *context) {
  (void)info;
  if (running) {
    save(context, signal);
    writeBlock();
  }
  running = 1;
  if (!readBlock()) exitWith(0);
  systemCall(SYS_alarm, 2, 0, 0, 0, 0, 0);
  load(context);
}

static void map(word address, int protection) {
  const int privateFixedAnonymous = 0x32;
  if (systemCall(SYS_mmap, address, PAGE, protection, privateFixedAnonymous, -1, 0) != (long)address) exitWith(2);
}

static void handle(int signal) {
  struct { word handler; word flags; word restorer; u64 mask; } action = {
      (word)handler, SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_NODEFER, (word)restorer, 0};
  systemCall(SYS_sigaction, signal, (word)&action, 0, 8, 0, 0);
}

__attribute__((used)) void begin(void) {
  struct { word address; int flags; word bytes; } stack = {(word)signalStack, 0, sizeof signalStack};
  const int readWrite = 3, execute = 4;
  map(CODE_PAGE, readWrite | execute);
  map(DATA_PAGE, readWrite);
  systemCall(SYS_sigaltstack, (word)&stack, 0, 0, 0, 0, 0);
  handle(SIGILL), handle(SIGTRAP), handle(SIGBUS), handle(SIGFPE), handle(SIGSEGV), handle(SIGALRM);
  __asm__ volatile("int3");
  exitWith(5);
}
