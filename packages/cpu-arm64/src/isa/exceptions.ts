/**
 * Taking exceptions to EL1, and returning from them: Arm ARM D1, exceptions; syndromes as of ESR_EL1.
 *
 * The routines are what `stage.raise` calls: they write the exception into the state, pc too. State's pc is the
 * address of the instruction that raised.
 */
import { AccessKind, EngineFault, type Routine, type Stage, type Value } from "@hvjournal/engine";
import { contextChanged, debugExceptionsEnabled, stepControl } from "./context.js";
import { operations } from "./engine-operations.js";
import { readNzcv, setFlagsNzcv } from "./flags.js";
import {
  daif,
  eventRegister,
  exceptionLevel,
  exclusiveBytes,
  fiqSignalled,
  illegalState,
  irqSignalled,
  pc,
  softwareStep,
  sp,
  spInactive,
  stackSelect,
  stepPending,
  stepSyndrome,
  trapPassed,
} from "./state.js";
import { elrEl1, esrEl1, farEl1, spsrEl1, vbarEl1 } from "./system-registers.js";
import { FaultStatus, TAGGED_FETCH, withoutTag } from "./translation.js";

export type ExceptionRoutine = Routine & { readonly result: undefined };

/** ESR_ELx.EC. Those of a lower exception level have the bit 0 clear that the same from EL1 has set. */
export const ExceptionClass = {
  unknown: 0x00,
  waitTrapped: 0x01,
  floatTrapped: 0x07,
  illegalState: 0x0e,
  supervisorCall: 0x15,
  hypervisorCall: 0x16,
  secureMonitorCall: 0x17,
  systemRegister: 0x18,
  instructionAbort: 0x20,
  pcAlignment: 0x22,
  dataAbort: 0x24,
  spAlignment: 0x26,
  breakpoint: 0x30,
  softwareStep: 0x32,
  watchpoint: 0x34,
  brk: 0x3c,
} as const;

const SYNDROME_EC_SHIFT = 26;
/** ESR_ELx.IL: the instruction has 32 bits. */
const SYNDROME_IL = 1 << 25;
/** ISS of data aborts: WnR, and CM for cache maintenance and address translation instructions. */
const ISS_WRITE = 1 << 6;
const ISS_CACHE_MAINTENANCE = 1 << 8;
/** ISS of EC 0x01 and 0x07: CV set, COND = 0b1110. */
const ISS_CONDITION_ALWAYS = 0x1e0_0000;

/** PSTATE.{D,A,I,F} in the places of SPSR_EL1. */
export const Daif = { D: 1 << 9, A: 1 << 8, I: 1 << 7, F: 1 << 6 } as const;
const DAIF_ALL = 0x3c0;
const SPSR_IL = 20;
const SPSR_SS = 21;

const VECTOR_IRQ = 0x80;
const VECTOR_FIQ = 0x100;
const VECTOR_SP_ELX = 0x200;
const VECTOR_LOWER_EL = 0x400;

/** PSTATE as SPSR_EL1 has it: NZCV, SS, IL, DAIF, EL, SP. */
export function readPstate(stage: Stage): Value<32> {
  const flags = stage.shiftLeft(readNzcv(stage), 28);
  const illegal = stage.shiftLeft(stage.read(illegalState), SPSR_IL);
  const mode = stage.or(stage.shiftLeft(stage.read(exceptionLevel), 2), stage.read(stackSelect));
  const step = stage.shiftLeft(stage.read(softwareStep), SPSR_SS);
  return stage.or(stage.or(stage.or(flags, step), illegal), stage.or(stage.read(daif), mode));
}

/** Makes `selected` (0: SP_EL0, 1: SP_EL1) the stack pointer in use. */
export function selectStack(stage: Stage, selected: Value<32>): void {
  const changes = stage.xor(selected, stage.read(stackSelect));
  const current = stage.read(sp);
  const other = stage.read(spInactive);
  stage.write(sp, stage.select(changes, other, current));
  stage.write(spInactive, stage.select(changes, current, other));
  stage.write(stackSelect, selected);
}

/** All that every kind of exception does; `vector` is the offset of its kind. */
function enterEl1(stage: Stage, vector: number, returnAddress: Value<64>): void {
  const level = stage.read(exceptionLevel);
  const sameLevel = stage.select(stage.read(stackSelect), stage.constant32(VECTOR_SP_ELX), stage.constant32(0));
  const origin = stage.select(level, sameLevel, stage.constant32(VECTOR_LOWER_EL));
  const target = stage.add(stage.read(vbarEl1), stage.zeroExtend64(stage.add(origin, stage.constant32(vector))));
  stage.write(spsrEl1, stage.zeroExtend64(readPstate(stage)));
  stage.write(elrEl1, returnAddress);
  selectStack(stage, stage.constant32(1));
  stage.write(daif, stage.constant32(DAIF_ALL));
  stage.write(illegalState, stage.constant32(0));
  stage.write(softwareStep, stage.constant32(0));
  stage.write(stepSyndrome, stage.constant32(0));
  stage.write(trapPassed, stage.constant32(0));
  operations.setPrivilege(stage, stage.constant32(1));
  contextChanged(stage);
  stage.write(pc, target);
}

/** (ESR_EL1, return address) */
const takeSynchronous: ExceptionRoutine = {
  name: "takeSynchronousException",
  parameters: [32, 64],
  result: undefined,
  body(stage, [syndrome, returnAddress]) {
    stage.write(esrEl1, stage.zeroExtend64(syndrome as Value<32>));
    enterEl1(stage, 0, returnAddress as Value<64>);
  },
};

function syndromeOf(exceptionClass: number, iss = 0): number {
  return (exceptionClass << SYNDROME_EC_SHIFT) | SYNDROME_IL | iss;
}

/** A routine without parameters for an exception that returns to its instruction and whose syndrome is fixed. */
function fixedSyndrome(name: string, exceptionClass: number, iss = 0): ExceptionRoutine {
  return {
    name,
    parameters: [],
    result: undefined,
    body(stage) {
      stage.call(takeSynchronous, stage.constant32(syndromeOf(exceptionClass, iss)), stage.read(pc));
    },
  };
}

/** A routine with the ISS as its parameter; `returnOffset` is added to pc. */
function withSyndrome(name: string, exceptionClass: number, returnOffset: 0 | 4): ExceptionRoutine {
  return {
    name,
    parameters: [32],
    result: undefined,
    body(stage, [iss]) {
      const syndrome = stage.or(iss as Value<32>, stage.constant32(syndromeOf(exceptionClass)));
      const returnAddress = stage.add(stage.read(pc), stage.constant64(returnOffset));
      // An instruction that has done its work has been stepped.
      if (returnOffset !== 0) stage.write(softwareStep, stage.constant32(0));
      stage.call(takeSynchronous, syndrome, returnAddress);
    },
  };
}

export const undefinedException = fixedSyndrome("undefinedException", ExceptionClass.unknown);
export const floatTrap = fixedSyndrome("floatTrap", ExceptionClass.floatTrapped, ISS_CONDITION_ALWAYS);
export const illegalStateException = fixedSyndrome("illegalStateException", ExceptionClass.illegalState);
export const spAlignmentFault = fixedSyndrome("spAlignmentFault", ExceptionClass.spAlignment);
/** TI: 0 for WFI, 1 for WFE. */
export const waitForInterruptTrap = fixedSyndrome(
  "waitForInterruptTrap",
  ExceptionClass.waitTrapped,
  ISS_CONDITION_ALWAYS,
);
export const waitForEventTrap = fixedSyndrome("waitForEventTrap", ExceptionClass.waitTrapped, ISS_CONDITION_ALWAYS | 1);
/** (imm16) */
export const supervisorCall = withSyndrome("supervisorCall", ExceptionClass.supervisorCall, 4);
/** (imm16) */
export const softwareBreakpoint = withSyndrome("softwareBreakpoint", ExceptionClass.brk, 0);
/** (ISS): an access from EL0 that a control of EL1 traps. */
export const systemRegisterTrap = withSyndrome("systemRegisterTrap", ExceptionClass.systemRegister, 0);

/** (encoding): see `CpuDefinition.undefinedInstruction`. */
export const undefinedInstruction: ExceptionRoutine = {
  name: "undefinedInstruction",
  parameters: [32],
  result: undefined,
  body(stage) {
    stage.call(undefinedException);
  },
};

/** (ISS, address): a data abort at this or the lower exception level. */
const dataAbort = abort("dataAbort", ExceptionClass.dataAbort);
/** (ISS, address) */
const instructionAbort = abort("instructionAbort", ExceptionClass.instructionAbort);

function abort(name: string, exceptionClass: number): ExceptionRoutine {
  return {
    name,
    parameters: [32, 64],
    result: undefined,
    body(stage, [iss, address]) {
      const sameLevel = stage.shiftLeft(stage.read(exceptionLevel), SYNDROME_EC_SHIFT);
      const syndrome = stage.or(stage.or(stage.constant32(syndromeOf(exceptionClass)), sameLevel), iss as Value<32>);
      stage.write(farEl1, address as Value<64>);
      stage.call(takeSynchronous, syndrome, stage.read(pc));
    },
  };
}

/** See `CpuDefinition.memoryFault`. */
export const memoryFault: ExceptionRoutine = {
  name: "memoryFault",
  parameters: [],
  result: undefined,
  body(stage) {
    const { faultAddress, faultCode, faultKind } = operations.fields;
    const status = stage.extractBits(stage.read(faultCode), 0, 6);
    stage.call(dataAbort, withDirection(stage, status, stage.read(faultKind)), stage.read(faultAddress));
  },
};

function withDirection(stage: Stage, status: Value<32>, kind: Value<32>): Value<32> {
  const isWrite = stage.compare("eq", kind, stage.constant32(AccessKind.write));
  return stage.or(status, stage.select(isWrite, stage.constant32(ISS_WRITE), stage.constant32(0)));
}

/** (fault code, address): cache maintenance by address, and AT when its walk meets no memory. WnR is set for all. */
export const maintenanceFault: ExceptionRoutine = {
  name: "maintenanceFault",
  parameters: [32, 64],
  result: undefined,
  body(stage, [code, address]) {
    const status = stage.extractBits(code as Value<32>, 0, 6);
    const iss = stage.or(status, stage.constant32(ISS_CACHE_MAINTENANCE | ISS_WRITE));
    stage.call(dataAbort, iss, address as Value<64>);
  },
};

/**
 * See `CpuDefinition.fetchFault`. A tagged pc is no fault: a branch takes the tag off (Arm ARM, pseudocode
 * AArch64.BranchAddr), which happens here instead, when the target is fetched. It costs a unit.
 */
export const fetchFault: ExceptionRoutine = {
  name: "fetchFault",
  parameters: [],
  result: undefined,
  body(stage) {
    const { faultAddress, faultCode } = operations.fields;
    const code = stage.read(faultCode);
    stage.if(
      stage.compare("eq", code, stage.constant32(TAGGED_FETCH)),
      () => {
        stage.write(pc, withoutTag(stage, stage.read(pc)));
      },
      () => {
        const absent = stage.compare("eq", code, stage.constant32(EngineFault.noMemory));
        const status = stage.select(absent, stage.constant32(FaultStatus.external), stage.extractBits(code, 0, 6));
        stage.call(instructionAbort, status, stage.read(faultAddress));
      },
    );
  },
};

/** See `CpuDefinition.misalignedPc`. */
export const misalignedPc: ExceptionRoutine = {
  name: "misalignedPc",
  parameters: [],
  result: undefined,
  body(stage) {
    stage.write(farEl1, stage.read(pc));
    stage.call(takeSynchronous, stage.constant32(syndromeOf(ExceptionClass.pcAlignment)), stage.read(pc));
  },
};

/** (address, kind): see `CpuDefinition.alignmentFault`. */
export const alignmentFault: ExceptionRoutine = {
  name: "alignmentFault",
  parameters: [64, 32],
  result: undefined,
  body(stage, [address, kind]) {
    const iss = withDirection(stage, stage.constant32(FaultStatus.alignment), kind as Value<32>);
    stage.call(dataAbort, iss, address as Value<64>);
  },
};

/** See `CpuDefinition.interruptPending`. An access that the hypervisor has let through is finished first. */
export function interruptPending(stage: Stage): Value<32> {
  const masks = stage.read(daif);
  const open = (mask: number): Value<32> => stage.isZero(stage.and(masks, stage.constant32(mask)));
  const irq = stage.select(stage.read(irqSignalled), open(Daif.I), stage.constant32(0));
  const fiq = stage.select(stage.read(fiqSignalled), open(Daif.F), stage.constant32(0));
  const any = stage.or(stage.or(irq, fiq), stage.read(stepPending));
  return stage.and(any, stage.isZero(stage.read(trapPassed)));
}

/** IFSC of a debug exception. */
const STATUS_DEBUG = 0x22;

/** Software step: Arm ARM D2. ESR_EL1 says by ISV and EX whether a Load-Exclusive was stepped. */
const takeSoftwareStep: ExceptionRoutine = {
  name: "takeSoftwareStep",
  parameters: [],
  result: undefined,
  body(stage) {
    const sameLevel = stage.shiftLeft(stage.read(exceptionLevel), SYNDROME_EC_SHIFT);
    const fixed = stage.constant32(syndromeOf(ExceptionClass.softwareStep, STATUS_DEBUG));
    const syndrome = stage.or(stage.or(fixed, sameLevel), stage.read(stepSyndrome));
    stage.call(takeSynchronous, syndrome, stage.read(pc));
  },
};

/**
 * See `CpuDefinition.takeInterrupt`. A software step is taken the same way, and first; when both interrupts are
 * pending, the FIQ comes first: an implementation's choice.
 */
export const takeInterrupt: ExceptionRoutine = {
  name: "takeInterrupt",
  parameters: [],
  result: undefined,
  body(stage) {
    stage.if(stage.read(stepPending), () => {
      stage.call(takeSoftwareStep);
      stage.return();
    });
    const open = stage.isZero(stage.and(stage.read(daif), stage.constant32(Daif.F)));
    stage.if(
      stage.select(stage.read(fiqSignalled), open, stage.constant32(0)),
      () => {
        enterEl1(stage, VECTOR_FIQ, stage.read(pc));
      },
      () => {
        enterEl1(stage, VECTOR_IRQ, stage.read(pc));
      },
    );
  },
};

/** Bits of SPSR_EL1 that no return to EL0 or EL1 in AArch64 state may have set: M[4], M[3], M[1]. */
const SPSR_RETURN_RESERVED = 0x1a;

/**
 * Writes PSTATE from SPSR_EL1, with the rules of an illegal return (Arm ARM D1, illegal return events); gives the address
 * to go on at. The monitor is cleared and the event register set.
 */
export function returnFromException(stage: Stage): Value<64> {
  const spsr = stage.truncate32(stage.read(spsrEl1));
  const level = stage.extractBits(spsr, 2, 1);
  const selected = stage.extractBits(spsr, 0, 1);
  // EL0 has no stack pointer of its own to choose: M[0] is reserved there.
  const reserved = stage.and(spsr, stage.constant32(SPSR_RETURN_RESERVED));
  const stackAtEl0 = stage.and(selected, stage.isZero(level));
  const illegal = stage.compare("ne", stage.or(reserved, stackAtEl0), stage.constant32(0));
  const target = stage.read(elrEl1);
  const newLevel = stage.select(illegal, stage.read(exceptionLevel), level);
  const newStack = stage.select(illegal, stage.read(stackSelect), selected);
  const newIllegal = stage.or(illegal, stage.extractBits(spsr, SPSR_IL, 1));
  const masks = stage.and(spsr, stage.constant32(DAIF_ALL));
  const step = stepAfterReturn(stage, spsr, newLevel, masks);
  selectStack(stage, newStack);
  setFlagsNzcv(stage, stage.shiftRight(spsr, 28));
  stage.write(daif, masks);
  stage.write(illegalState, newIllegal);
  stage.write(softwareStep, step);
  stage.write(stepSyndrome, stage.constant32(0));
  stage.write(exclusiveBytes, stage.constant32(0));
  stage.write(eventRegister, stage.constant32(1));
  operations.setPrivilege(stage, newLevel);
  contextChanged(stage);
  return target;
}

/** PSTATE.SS of a return: SPSR_EL1.SS where it goes from disabled to enabled debug exceptions, else 0. Arm ARM D2. */
function stepAfterReturn(stage: Stage, spsr: Value<32>, level: Value<32>, masks: Value<32>): Value<32> {
  const enabledHere = debugExceptionsEnabled(stage, stage.read(exceptionLevel), stage.read(daif));
  const enabledThere = debugExceptionsEnabled(stage, level, masks);
  const starts = stage.and(stage.and(stepControl(stage), stage.isZero(enabledHere)), enabledThere);
  return stage.and(stage.extractBits(spsr, SPSR_SS, 1), starts);
}

/** Steps over the instruction at pc, whose work the host has done: a system register access, an SMC. */
export const finishInstruction: ExceptionRoutine = {
  name: "finishInstruction",
  parameters: [],
  result: undefined,
  body(stage) {
    stage.write(trapPassed, stage.constant32(0));
    stage.write(softwareStep, stage.constant32(0));
    contextChanged(stage);
    stage.write(pc, stage.add(stage.read(pc), stage.constant64(4)));
  },
};
