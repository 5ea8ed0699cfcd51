/** Why the vCPU left guest mode: codes of `exitBefore` and `exitAfter`. Those below 16 are the engine's own. */

/** What stands in the exit's operands, and where pc is. */
export const ExitCode = {
  /** HLT. pc behind. */
  halt: 16,
  /** A third fault while a double fault was delivered: the CPU shuts down. pc at. The vCPU can't go on. */
  shutdown: 17,
  /** Something that this CPU does not simulate: a `NotSimulated`, and its detail. pc at. The vCPU can't go on. */
  notSimulated: 18,
  // What follows is the kernel half's to carry out: nothing of it has happened, pc is at the instruction, and operand 0 is the
  // address of the next one, for `finishInstruction`. Privilege has been checked.
  /** CPUID: leaf in EAX, subleaf in ECX. */
  cpuid: 19,
  /** RDMSR of a register that the kernel half keeps: number in ECX. */
  readMsr: 20,
  /** WRMSR, likewise: value in EDX:EAX. */
  writeMsr: 21,
  /** RDTSC; with 1 in operand 1 RDTSCP. */
  readTimeStamp: 22,
  /** VMCALL (operand 1: 0) or VMMCALL (1), at any CPL. */
  hypervisorCall: 23,
  /** RDRAND or RDSEED: operand 1 is the register's offset, operand 2 the bytes. */
  random: 24,
  /** IN or INS: operand 1 the port, operand 2 the bytes. The instruction starts again with `portData` once `portComplete` is set. */
  portRead: 25,
  /** OUT or OUTS, likewise: operand 3 is the data. It starts again once `portComplete` is set, and retires. */
  portWrite: 26,
  // No exits of a real CPU: the kernel half looks again at what runs next. pc behind.
  /** PAUSE, while `pauseExits`. */
  pause: 27,
  /** `taskPriority` was written (MOV to CR8). */
  taskPriority: 28,
  /**
   * `interruptPending` is `InterruptPending.requested`, and the interrupt would be taken now: the kernel half makes it
   * `vectored`, or none. pc at, and no operands.
   */
  interruptWindow: 29,
  // What is #GP, unless the hypervisor serves VMware's backdoor; pc at.
  /** IN of a port of `BACKDOOR_PORTS` that may not be used; operands as of `portRead`. */
  backdoorRead: 30,
  /** OUT, as of `portWrite`. */
  backdoorWrite: 31,
  /** RDPMC of one of the backdoor's counters, in ECX. */
  backdoorCounter: 32,
} as const;

/** Of VMware's backdoor. */
export const BACKDOOR_PORTS = { command: 0x5658, remoteCall: 0x5659 } as const;
/** The numbers that VMware gives RDPMC, from the first to the last: time-stamp counter, real time, apparent time. */
export const BACKDOOR_COUNTERS = { first: 0x1_0000, last: 0x1_0002 } as const;

/** First operand of `ExitCode.notSimulated`. */
export const NotSimulated = {
  /** A fetch where there is no RAM. */
  fetchOutsideMemory: 5,
  /** An x87 error reported by FERR# and not by #MF (CR0.NE clear). */
  floatErrorPin: 6,
} as const;
