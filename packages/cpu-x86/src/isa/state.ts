/** The state of one vCPU, and where it lies. */
import { StateLayout, VCPU_STATE_END, VCPU_STATE_START } from "@hvjournal/engine";

export const layout = new StateLayout(VCPU_STATE_START, VCPU_STATE_END);

/** RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: by their number in ModRM. */
export const gpr = layout.array("gpr", 64, 16);
/**
 * The linear address of the next instruction: RIP, to which the base of CS is added outside 64-bit mode. In real mode and
 * in legacy mode RIP is this minus that base, in 32 bits.
 */
export const rip = layout.field("rip", 64);

/** Numbers of general registers. */
export const Register = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7 } as const;

/**
 * RFLAGS. Its system flags and DF are always current; its status flags (CF, PF, AF, ZF, SF, OF) are those of `flags.ts`,
 * which `materializeFlags` writes here before state is saved or digested.
 */
export const rflags = layout.field("rflags", 64);

/**
 * The status flags in a form that is cheap to write: ZF says that `flagZero` is zero, SF is bit 63 of `flagSign`, PF the
 * even parity of the low byte of `flagParity`, CF is 0 or 1, OF is bit 63 of `flagOverflow`, AF bit 4 of `flagAdjust`.
 */
export const flagZero = layout.cacheField("flagZero", 64);
export const flagSign = layout.cacheField("flagSign", 64);
export const flagOverflow = layout.cacheField("flagOverflow", 64);
export const flagParity = layout.cacheField("flagParity", 32);
export const flagCarry = layout.cacheField("flagCarry", 32);
export const flagAdjust = layout.cacheField("flagAdjust", 32);

/** Segment registers by their number in encodings, then LDTR and TR. */
export const Segment = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7 } as const;
export const segmentSelector = layout.array("segmentSelector", 32, 8);
export const segmentBase = layout.array("segmentBase", 64, 8);
/** In bytes, inclusive. */
export const segmentLimit = layout.array("segmentLimit", 32, 8);
/** `SegmentAttribute` bits. */
export const segmentAttributes = layout.array("segmentAttributes", 32, 8);

export const gdtBase = layout.field("gdtBase", 64);
export const gdtLimit = layout.field("gdtLimit", 32);
export const idtBase = layout.field("idtBase", 64);
export const idtLimit = layout.field("idtLimit", 32);

export const cr0 = layout.field("cr0", 64);
export const cr2 = layout.field("cr2", 64);
export const cr3 = layout.field("cr3", 64);
export const cr4 = layout.field("cr4", 64);
export const efer = layout.field("efer", 64);
/** What page walks need of CR0, CR4 and EFER: `Paging` bits. Derived. */
export const pagingControls = layout.cacheField("pagingControls", 32);

/** MSRs that instructions use: see `msr.ts`. */
export const star = layout.field("star", 64);
export const lstar = layout.field("lstar", 64);
export const cstar = layout.field("cstar", 64);
export const fmask = layout.field("fmask", 64);
export const kernelGsBase = layout.field("kernelGsBase", 64);
export const tscAux = layout.field("tscAux", 64);
export const sysenterCs = layout.field("sysenterCs", 64);
export const sysenterEsp = layout.field("sysenterEsp", 64);
export const sysenterEip = layout.field("sysenterEip", 64);
export const pat = layout.field("pat", 64);

/** DR0 to DR3: addresses of breakpoints. DR6 and DR7. */
export const debugAddress = layout.array("debugAddress", 64, 4);
export const dr6 = layout.field("dr6", 64);
export const dr7 = layout.field("dr7", 64);

/** Current privilege level, 0 to 3. Written only together with `privilege`: see `setPrivilegeLevel`. */
export const cpl = layout.field("cpl", 32);
/** A `Privilege`: what page tables know of CPL, and of EFLAGS.AC with CR4.SMAP. Derived. */
export const privilege = layout.cacheField("privilege", 32);

/** Interrupts wait for the end of the next instruction: an `InterruptShadow`. */
export const interruptShadow = layout.field("interruptShadow", 32);

/** As KVM_GET_VCPU_EVENTS numbers them (`interrupt.shadow`). */
export const InterruptShadow = { none: 0, movSs: 1, sti: 2 } as const;

/** An iteration of a repeated string instruction has retired, and it was not the last one. */
export const repeating = layout.field("repeating", 32);

/** An exception that has been raised and is not delivered yet: an `EventKind`; the vector may be an `InternalEvent`. */
export const exceptionPending = layout.field("exceptionPending", 32);
export const exceptionVector = layout.field("exceptionVector", 32);
export const exceptionErrorCode = layout.field("exceptionErrorCode", 32);
/** Of an event that an instruction has asked for (INT n, INT3, INTO, INT1): bytes from it to where its handler returns. */
export const exceptionLength = layout.field("exceptionLength", 32);
export const EventKind = {
  none: 0,
  exception: 1,
  /** INT n, INT3, INTO: the gate's DPL is checked, and errors on the way are not external. */
  software: 2,
  /** INT1: an exception, but behind its instruction. */
  icebp: 3,
  /** A debug exception behind an instruction: a trap. */
  trap: 4,
  /** The second part of a switch of tasks: see `task-switch.ts`, which uses vector and error code for it. */
  taskLoad: 5,
  /** The error code of an exception goes to the stack of the task that handles it. */
  taskError: 6,
} as const;

/**
 * An external interrupt, taken when IF and the shadow let it: an `InterruptPending`. `requested`: the interrupt controller
 * has one, whose vector it tells when it is taken (`ExitCode.interruptWindow`).
 */
export const interruptPending = layout.field("interruptPending", 32);
export const interruptVector = layout.field("interruptVector", 32);
export const InterruptPending = { none: 0, vectored: 1, requested: 2 } as const;

/** A non-maskable interrupt waits; none is taken between the delivery of one and the next IRET. */
export const nmiPending = layout.field("nmiPending", 32);
export const nmiBlocked = layout.field("nmiBlocked", 32);

/** CR8: bits 7 to 4 of the local APIC's task priority. After a write an instruction leaves with `ExitCode.taskPriority`. */
export const taskPriority = layout.field("taskPriority", 32);
/** The port access that the vCPU left for is done, and what it read: the instruction at RIP starts again, before anything else. */
export const portComplete = layout.field("portComplete", 32);
export const portData = layout.field("portData", 32);
/** PAUSE leaves guest mode: there are other vCPUs. Follows from the VM. */
export const pauseExits = layout.cacheField("pauseExits", 32);
/** RDMSR and WRMSR leave guest mode whatever ECX names: a filter is to look at them. Follows from the VM. */
export const msrExits = layout.cacheField("msrExits", 32);

/** R0 to R7 of the x87: sign and exponent in bits 79 to 64, significand below. ST(i) is R((TOP + i) mod 8). */
export const fpr = layout.array("fpr", 128, 8);
export const fcw = layout.field("fcw", 32);
/** With TOP in bits 13 to 11. */
export const fsw = layout.field("fsw", 32);
/** Bit n: Rn is not empty. The abridged tag word of FXSAVE. */
export const fpuTags = layout.field("fpuTags", 32);
/** Opcode, instruction pointer and data pointer of the last x87 instruction that is no control instruction. */
export const fop = layout.field("fop", 32);
export const fip = layout.field("fip", 64);
export const fdp = layout.field("fdp", 64);

export const xmm = layout.array("xmm", 128, 16);
export const mxcsr = layout.field("mxcsr", 32);
/** Components of the XSAVE family that are enabled: x87 (bit 0, always), SSE (bit 1). */
export const xcr0 = layout.field("xcr0", 32);

/** Key of decoded code: see `context.ts`. Derived. */
export const contextWord = layout.cacheField("contextWord", 32);

/** Always 0: the register that an address does without, and the base of a flat segment. */
export const zeroSource = layout.cacheField("zeroSource", 64);
/** Always 0: the base of a flat SS. Its offset tells a fault that the access was to the stack segment. */
export const stackZeroSource = layout.cacheField("stackZeroSource", 64);
