/**
 * Raising exceptions: Intel SDM volume 3, chapter 6 (interrupt and exception handling).
 *
 * The routines are what `stage.raise` calls. They only note the exception in the state; `delivery.ts` delivers it
 * before the next instruction. State's pc is the address of the instruction that raised.
 */
import { EngineFault, type Routine, type Stage, type Value } from "@hvjournal/engine";
import { ALIGNMENT_CHECKED } from "./alignment-checks.js";
import { OPENS_NMI } from "./nmi-opening.js";
import { operations } from "./engine-operations.js";
import {
  cr2,
  dr6,
  EventKind,
  exceptionErrorCode,
  exceptionLength,
  exceptionPending,
  exceptionVector,
  nmiBlocked,
  stackZeroSource,
} from "./state.js";
import { PAGE_FAULT } from "./translation.js";

export type ExceptionRoutine = Routine & { readonly result: undefined };

export const Vector = {
  divideError: 0,
  debug: 1,
  nmi: 2,
  breakpoint: 3,
  overflow: 4,
  boundRange: 5,
  invalidOpcode: 6,
  deviceNotAvailable: 7,
  doubleFault: 8,
  invalidTss: 10,
  segmentNotPresent: 11,
  stackFault: 12,
  generalProtection: 13,
  pageFault: 14,
  floatError: 16,
  alignmentCheck: 17,
  machineCheck: 18,
  simdFloat: 19,
} as const;

/** Vectors of what is no exception of the guest's, but must stop it at the same place. */
export const InternalEvent = { tripleFault: 256, fetchOutsideMemory: 257 } as const;

/** Bits of an error code that is no page fault's: the rest is a selector, or a vector shifted by 3 with `idt` set. */
export const ErrorCode = { external: 1, idt: 2 } as const;

/** Vectors with an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP. */
const WITH_ERROR_CODE = 0x0022_7d00;
/** #DE, #TS, #NP, #SS, #GP. */
const CONTRIBUTORY = 0x0000_3c01;

function isIn(stage: Stage, vectors: number, vector: Value<32>): Value<32> {
  return stage.and(stage.binary("shr_u", stage.constant32(vectors), vector), stage.constant32(1));
}

/** Truth: an exception of this vector pushes an error code. Vectors are below 32. */
export function hasErrorCode(stage: Stage, vector: Value<32>): Value<32> {
  return isIn(stage, WITH_ERROR_CODE, vector);
}

function note(stage: Stage, vector: Value<32>, errorCode: Value<32>, kind: number = EventKind.exception): void {
  stage.write(exceptionPending, stage.constant32(kind));
  stage.write(exceptionVector, vector);
  stage.write(exceptionErrorCode, errorCode);
  stage.write(exceptionLength, stage.constant32(0));
}

/** (kind, vector, length): see `raiseSoftware`. */
const noteSoftware: ExceptionRoutine = {
  name: "noteSoftware",
  parameters: [32, 32, 32],
  result: undefined,
  body(stage, [kind, vector, length]) {
    stage.write(exceptionPending, kind as Value<32>);
    stage.write(exceptionVector, vector as Value<32>);
    stage.write(exceptionErrorCode, stage.constant32(0));
    stage.write(exceptionLength, length as Value<32>);
  },
};

/** Ends an instruction that asks for its event (INT n, INT3, INTO, INT1): its handler returns behind it. */
export function raiseSoftware(stage: Stage, kind: number, vector: Value<32>): void {
  const length = stage.truncate32(stage.sub(stage.nextPc(), stage.pc()));
  stage.raise(noteSoftware, stage.constant32(kind), vector, length);
}

/**
 * Notes a debug exception that comes behind an instruction, which retires: a trap. `reasons`: bits of DR6. Nothing where
 * there are none.
 */
export function noteDebugTrap(stage: Stage, reasons: Value<32>): void {
  stage.if(reasons, () => {
    stage.write(dr6, stage.or(stage.read(dr6), stage.zeroExtend64(reasons)));
    note(stage, stage.constant32(Vector.debug), stage.constant32(0), EventKind.trap);
  });
}

/** (reasons): a debug exception in front of an instruction, with bits of DR6: a fault. */
export const noteDebugFault: ExceptionRoutine = {
  name: "noteDebugFault",
  parameters: [32],
  result: undefined,
  body(stage, [reasons]) {
    stage.write(dr6, stage.or(stage.read(dr6), stage.zeroExtend64(reasons as Value<32>)));
    stage.call(noteException, stage.constant32(Vector.debug), stage.constant32(0));
  },
};

/**
 * (vector, error code). While another exception is being delivered the two may make a double fault, or a shutdown:
 * table "conditions for generating a double fault".
 */
export const noteException: ExceptionRoutine = {
  name: "noteException",
  parameters: [32, 32],
  result: undefined,
  body(stage, [vectorValue, errorCodeValue]) {
    const vector = vectorValue as Value<32>;
    const is = (value: Value<32>, number: number): Value<32> => stage.compare("eq", value, stage.constant32(number));
    stage.if(stage.isZero(stage.read(exceptionPending)), () => {
      note(stage, vector, errorCodeValue as Value<32>);
      stage.return();
    });
    // What an instruction has asked for is benign, whatever its vector.
    const isException = is(stage.read(exceptionPending), EventKind.exception);
    const first = stage.select(isException, stage.read(exceptionVector), stage.constant32(Vector.nmi));
    const contributory = isIn(stage, CONTRIBUTORY, vector);
    const serious = stage.or(contributory, is(vector, Vector.pageFault));
    const doubles = stage.select(
      is(first, Vector.pageFault),
      serious,
      stage.and(isIn(stage, CONTRIBUTORY, first), contributory),
    );
    stage.if(stage.and(is(first, Vector.doubleFault), serious), () => {
      note(stage, stage.constant32(InternalEvent.tripleFault), stage.constant32(0));
      stage.return();
    });
    note(
      stage,
      stage.select(doubles, stage.constant32(Vector.doubleFault), vector),
      stage.select(doubles, stage.constant32(0), errorCodeValue as Value<32>),
    );
  },
};

/** Ends an instruction in an exception. The error code only counts for vectors that have one. */
export function raiseException(stage: Stage, vector: number, errorCode: Value<32> = stage.constant32(0)): void {
  stage.raise(noteException, stage.constant32(vector), errorCode);
}

/** Raises where the condition holds. */
export function raiseIf(stage: Stage, condition: Value<32>, vector: number, errorCode?: Value<32>): void {
  stage.if(condition, () => raiseException(stage, vector, errorCode));
}

/** See `CpuDefinition.memoryFault`. An address that is not canonical is #SS where the segment is SS, else #GP. */
export const memoryFault: ExceptionRoutine = {
  name: "memoryFault",
  parameters: [],
  result: undefined,
  body(stage) {
    const { faultDetail } = operations.fields;
    const detail = stage.read(faultDetail);
    const segment = stage.and(detail, stage.constant32(~(ALIGNMENT_CHECKED | OPENS_NMI)));
    stage.if(stage.and(detail, stage.constant32(OPENS_NMI)), () => stage.write(nmiBlocked, stage.constant32(0)));
    const toStack = stage.compare("eq", segment, stage.constant32(stackZeroSource.offset));
    noteFault(
      stage,
      stage.select(toStack, stage.constant32(Vector.stackFault), stage.constant32(Vector.generalProtection)),
    );
  },
};

/** See `CpuDefinition.fetchFault`. */
export const fetchFault: ExceptionRoutine = {
  name: "fetchFault",
  parameters: [],
  result: undefined,
  body(stage) {
    const absent = stage.compare("eq", stage.read(operations.fields.faultCode), stage.constant32(EngineFault.noMemory));
    stage.if(absent, () => {
      note(stage, stage.constant32(InternalEvent.fetchOutsideMemory), stage.constant32(0));
      stage.return();
    });
    noteFault(stage, stage.constant32(Vector.generalProtection));
  },
};

/** A page fault with CR2, or the exception of an address that is not canonical. */
function noteFault(stage: Stage, notCanonical: Value<32>): void {
  const { faultAddress, faultCode } = operations.fields;
  const code = stage.read(faultCode);
  stage.if(
    stage.and(code, stage.constant32(PAGE_FAULT)),
    () => {
      stage.write(cr2, stage.read(faultAddress));
      stage.call(noteException, stage.constant32(Vector.pageFault), stage.and(code, stage.constant32(0xff)));
    },
    () => {
      stage.call(noteException, notCanonical, stage.constant32(0));
    },
  );
}

/** (address, kind): see `CpuDefinition.alignmentFault`. Operands that must always be aligned raise #GP(0). */
export const alignmentFault: ExceptionRoutine = {
  name: "alignmentFault",
  parameters: [64, 32],
  result: undefined,
  body(stage) {
    const isCheck = stage.and(stage.read(operations.fields.faultDetail), stage.constant32(ALIGNMENT_CHECKED));
    const vector = stage.select(
      isCheck,
      stage.constant32(Vector.alignmentCheck),
      stage.constant32(Vector.generalProtection),
    );
    stage.call(noteException, vector, stage.constant32(0));
  },
};

/** See `CpuDefinition.misalignedPc`: with a granule of 1 there is none. */
export const misalignedPc: ExceptionRoutine = {
  name: "misalignedPc",
  parameters: [],
  result: undefined,
  body(stage) {
    stage.call(noteException, stage.constant32(Vector.generalProtection), stage.constant32(0));
  },
};

/** (encoding): #UD. See `CpuDefinition.undefinedInstruction`. */
export const undefinedInstruction: ExceptionRoutine = {
  name: "undefinedInstruction",
  parameters: [32],
  result: undefined,
  body(stage) {
    stage.call(noteException, stage.constant32(Vector.invalidOpcode), stage.constant32(0));
  },
};
