/** What an architecture gives the engine: its state, its instructions, and the routines the engine calls. */
import type { VariableLength } from "./decode/variable-length.js";
import type { Instruction } from "./stage/instruction.js";
import type { Routine, Stage, Value } from "./stage/stage.js";
import type { StateArray, StateField, StateLayout } from "./stage/state-layout.js";

/** Kinds of access that `translate` is asked about. */
export const AccessKind = { read: 0, write: 1, execute: 2 } as const;

/** Bits of `EngineFields.translatedRights`: what a TLB entry made from this walk may be used for. */
export const Rights = { read: 1, write: 2, execute: 4 } as const;

/**
 * Engine state that definitions and routines may name. Offsets are below the vCPU state, in the engine's page.
 *
 * `fault*` are written before `memoryFault` and `fetchFault` run. `translated*` are what `translate` answers.
 */
export interface EngineFields {
  /** Guest virtual address of the access that failed (first byte that failed). */
  readonly faultAddress: StateField<64>;
  /** What `translate` returned: an architecture's own fault code, never 0. */
  readonly faultCode: StateField<32>;
  /** An `AccessKind`. */
  readonly faultKind: StateField<32>;
  /** `AccessOptions.faultDetail` of the access that failed; an access without one leaves it as it was. */
  readonly faultDetail: StateField<32>;
  /** Guest-physical address of the translated byte. */
  readonly translatedPhysical: StateField<64>;
  /** `Rights` for the whole page at the privilege asked for. */
  readonly translatedRights: StateField<32>;
  /** TLB sets in use, for user mode, privileged, and for the current privilege; cache fields that `setPrivilege` and `translationChanged` keep. */
  readonly tlbUser: StateField<32>;
  readonly tlbKernel: StateField<32>;
  readonly tlbCurrent: StateField<32>;
  /** Operands, result and exceptions of a call to the software floats: bit patterns; see `float/`. */
  readonly floatA: StateField<64>;
  readonly floatB: StateField<64>;
  readonly floatC: StateField<64>;
  readonly floatResult: StateField<64>;
  readonly floatControl: StateField<32>;
  readonly floatFlags: StateField<32>;
  /** In the 80-bit format: sign and exponent of a, b and the result, in bits 15 to 0, 31 to 16, 47 to 32. */
  readonly floatHigh: StateField<64>;
}

export interface CpuDefinition {
  readonly name: string;
  /** State of one vCPU, allocated from `VCPU_STATE_START` on. */
  readonly layout: StateLayout;
  readonly pc: StateField<64>;
  /** Bytes between two places where an instruction may start. */
  readonly granule: 1 | 4;
  /** All contexts that have decodings of their own give the definitions that hold there, in order of precedence. Equal arrays share decoders. */
  instructionsFor(context: number): readonly Instruction[];
  /** With a granule of 1: how instructions are decoded. Without it they are words of 32 bits that match `Instruction.pattern`. */
  readonly variableLength?: VariableLength;
  /** Key of the decode cache: all that decoding depends on beside the bytes. An architecture keeps it up to date. */
  readonly contextWord: StateField<32>;
  /** Code of one page runs in several contexts in turn, so that each has fetch entries of its own. */
  readonly contextsAlternate?: true;
  /**
   * 0 user, 1 privileged: which TLB set and which rights hold. Written only by `setPrivilege`. With `privilegeCount` 3 it
   * may be 2: privileged with other rights (x86: what CR4.SMAP forbids is allowed by EFLAGS.AC).
   */
  readonly privilege: StateField<32>;
  /** Default 2. */
  readonly privilegeCount?: 2 | 3;
  /** The registers that a page walk depends on, beside memory and privilege. A write to one must be followed by `translationChanged`. */
  readonly translationFields: readonly StateField<32 | 64>[];
  /**
   * Walks the page tables without a TLB: (virtual address, `AccessKind`, privilege) gives 0 and writes
   * `translatedPhysical`, `translatedRights`; or gives a fault code of the architecture.
   * Page-table reads go through `stage.readPageTableEntry`. Never raises.
   */
  readonly translate: Routine & { readonly result: 32 };
  /** Raise the exception for `faultAddress`, `faultCode`, `faultKind`. State's pc is the instruction's. */
  readonly memoryFault: Routine & { readonly result: undefined };
  readonly fetchFault: Routine & { readonly result: undefined };
  /** Raise for a pc that is no multiple of the granule. */
  readonly misalignedPc: Routine & { readonly result: undefined };
  /** (address, `AccessKind`): raise for an access that breaks `AccessOptions.alignment`. */
  readonly alignmentFault: Routine & { readonly result: undefined };
  /** Raise for an encoding that no definition has (in the current context). (encoding) */
  readonly undefinedInstruction: Routine & { readonly result: undefined };
  /** Routines that the host calls with most VMs (`Engine.callRoutine`): they are compiled with the first. */
  readonly hostRoutines?: readonly Routine[];
  /** Truth: an interrupt would be taken before the next instruction. */
  readonly interruptPending: (stage: Stage) => Value<32>;
  /**
   * Takes it: like the routine of a `raise`, with pc the address to return to. Or, where that needs guest memory (x86:
   * IDT and stack), an instruction without encoding and operands: it ends in a jump with `contextChanged`, and its
   * `pc()` is state's. Then it delivers exceptions too: the routine of a `raise` only notes one in state, so that
   * `interruptPending` holds and nothing else has changed; it counts no unit, its delivery does. What the instruction
   * raises itself is noted in the same way and delivered next.
   */
  readonly takeInterrupt: (Routine & { readonly result: undefined }) | Instruction;
  /** May a walk have used this page-table entry, given as its low and high 32 bits? (A not-present entry is never cached.) */
  entryMayBeLive(low: number, high: number): boolean;
  /**
   * Fields that most instructions write and few read, such as flags; never by `readAt`, `writeAt` or where a routine
   * looks behind an instruction that can't leave. Compiled regions do without writes of them that nobody sees.
   */
  readonly oftenOverwritten?: readonly StateField<32 | 64>[];
  /**
   * Registers that instructions compute with. `translate`, and host functions on behalf of a memory access, neither read nor
   * write them; so compiled code need not load again what it has just written.
   */
  readonly workingRegisters: readonly (StateField | StateArray)[];
  /** Whether definitions ask for accesses that are `AccessOptions.privileged`. */
  readonly accessesAsPrivileged?: true;
  /** The context whose definitions a profile of hot variants names. Default 0. */
  readonly profileContext?: number;
  /** A device or debugger has written RAM: exclusive monitors and the like are cleared. */
  externallyWritten?(state: { writeField(field: StateField, value: bigint): void }): void;
}

/** Operations that the engine gives architectures for use in definitions and routines. */
export interface EngineOperations {
  readonly fields: EngineFields;
  /** Writes the privilege field and picks the TLB set of it. */
  setPrivilege(stage: Stage, privilege: Value<32>): void;
  /** After a write to one of `translationFields`: picks the TLB sets of the new regime. */
  translationChanged(stage: Stage): void;
  /**
   * In `translate`, once an access is granted: or-s `bits` into the low word of the page-table entry at a
   * guest-physical address (x86: A and D). Drops nothing: it is for bits that no translation in use depends on.
   * Nothing happens while an observer translates, and a watch of the entry does not see it.
   */
  setEntryBits(stage: Stage, physical: Value<64>, bits: Value<32>): void;
}
