/** The state of one vCPU, and where it lies. System registers beyond these: `system-registers.ts`. */
import { StateLayout, VCPU_STATE_END, VCPU_STATE_START } from "@hvjournal/engine";

export const layout = new StateLayout(VCPU_STATE_START, VCPU_STATE_END);

/** X0 to X30. */
export const x = layout.array("x", 64, 31);
/** The stack pointer that PSTATE.SP and the exception level select, and the other one of SP_EL0 and SP_EL1. */
export const sp = layout.field("sp", 64);
export const spInactive = layout.field("spInactive", 64);
/** Of a stack pointer that passes the check. */
export const STACK_ALIGNMENT = 16;
export const pc = layout.field("pc", 64);

/** What register 31 reads as and writes to where it is the zero register. Never written, never read. */
export const zeroSource = layout.cacheField("zeroSource", 64);
export const zeroSink = layout.cacheField("zeroSink", 64);

/**
 * The condition flags, in a form that is cheap to write: N is bit 63 of `flagN`, Z says that `flagZ` is
 * zero, C and V are 0 or 1. Saved and digested as NZCV, so these four are cache fields.
 */
export const flagN = layout.cacheField("flagN", 64);
export const flagZ = layout.cacheField("flagZ", 64);
export const flagC = layout.cacheField("flagC", 32);
export const flagV = layout.cacheField("flagV", 32);

/** PSTATE.EL: 0 or 1. Written only by the engine's `setPrivilege`. */
export const exceptionLevel = layout.field("exceptionLevel", 32);
/** PSTATE.SP: 1 selects SP_ELx. */
export const stackSelect = layout.field("stackSelect", 32);
/** PSTATE.{D,A,I,F} in bits 9 to 6, as in SPSR_EL1. */
export const daif = layout.field("daif", 32);
/** PSTATE.IL. */
export const illegalState = layout.field("illegalState", 32);

/** PSTATE.SS: the next instruction is executed before software step stops. */
export const softwareStep = layout.field("softwareStep", 32);
/** ISV and EX of the software step exception that is to be taken. */
export const stepSyndrome = layout.field("stepSyndrome", 32);

/** V0 to V31. */
export const v = layout.array("v", 128, 32);
export const fpcr = layout.field("fpcr", 32);
export const fpsr = layout.field("fpsr", 32);

/** The local exclusive monitor: the virtual address that LDXR marked, and how many bytes; 0 bytes: open. */
export const exclusiveAddress = layout.field("exclusiveAddress", 64);
export const exclusiveBytes = layout.field("exclusiveBytes", 32);

/** Non-zero while the interrupt controller signals an IRQ; derived from its state. */
export const irqSignalled = layout.cacheField("irqSignalled", 32);

/** The same for an FIQ: interrupts of group 0. */
export const fiqSignalled = layout.cacheField("fiqSignalled", 32);

/** The event register: set by SEV, SEVL and exception returns, taken by WFE. Arm ARM D1, wait for event. */
export const eventRegister = layout.field("eventRegister", 32);
/** Non-zero while the hypervisor lets the trapped access at pc through. The access clears it; no interrupt comes before. */
export const trapPassed = layout.field("trapPassed", 32);
/** Non-zero when YIELD and SEV leave guest mode, because other vCPUs may run. Derived from the VM. */
export const yieldExits = layout.cacheField("yieldExits", 32);

/** Non-zero when a software step exception comes before the next instruction: see `context.ts`. Derived. */
export const stepPending = layout.cacheField("stepPending", 32);

/** Key of decoded code: see `context.ts`. Derived. */
export const contextWord = layout.cacheField("contextWord", 32);
