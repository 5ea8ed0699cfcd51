/** The engine's own fields in the linear memory, and what it offers to the definitions of an architecture. */
import type { EngineFields, EngineOperations } from "./cpu-definition.js";
import { ENGINE_STATE_END, ENGINE_STATE_START } from "./memory-map.js";
import type { HostFunction, Stage, Value } from "./stage/stage.js";
import { type StateField, StateLayout } from "./stage/state-layout.js";

/** Operands that an exit can carry to the host. */
export const EXIT_OPERAND_COUNT = 8;
/** Device reads of one instruction that can be complete while it starts again: 64 bytes, one by one. */
export const FRAGMENT_COUNT_MAX = 64;
/** Bytes that accesses of one instruction can bounce: two of 512 bytes (FXSAVE is the largest). */
export const BOUNCE_BYTES = 1024;

const layout = new StateLayout(ENGINE_STATE_START, ENGINE_STATE_END);

export const engineFields: EngineFields = {
  faultAddress: layout.cacheField("faultAddress", 64),
  faultCode: layout.cacheField("faultCode", 32),
  faultKind: layout.cacheField("faultKind", 32),
  faultDetail: layout.cacheField("faultDetail", 32),
  translatedPhysical: layout.cacheField("translatedPhysical", 64),
  translatedRights: layout.cacheField("translatedRights", 32),
  tlbUser: layout.cacheField("tlbUser", 32),
  tlbKernel: layout.cacheField("tlbKernel", 32),
  tlbCurrent: layout.cacheField("tlbCurrent", 32),
  floatA: layout.scratchField("floatA", 64),
  floatB: layout.scratchField("floatB", 64),
  floatC: layout.scratchField("floatC", 64),
  floatResult: layout.scratchField("floatResult", 64),
  floatControl: layout.scratchField("floatControl", 32),
  floatFlags: layout.scratchField("floatFlags", 32),
  floatHigh: layout.scratchField("floatHigh", 64),
};

/**
 * Fields that only the engine uses. Those from `nextPc` on shape the future while a device
 * access is in flight; they are saved by `Engine.saveInFlight`.
 */
export const engineState = {
  exitOperands: layout.array("exitOperand", 64, EXIT_OPERAND_COUNT),
  exitCode: layout.cacheField("exitCode", 32),
  /** Budget that `run` did not use. */
  unitsLeft: layout.cacheField("unitsLeft", 32),
  /** Address of the page that runs, and of its decoded records, for handlers that stand outside the main function. */
  codePage: layout.cacheField("codePage", 64),
  decodedBase: layout.cacheField("decodedBase", 32),
  /** Logged TLB entries; above the log's size the log is incomplete. */
  fillCount: layout.cacheField("fillCount", 32),
  /** Offset in RAM of the page-table entry that was read last: behind a walk, the one that it ended at. */
  lastEntry: layout.cacheField("lastEntry", 32),
  /** Parameters of a slow access. */
  accessAddress: layout.cacheField("accessAddress", 64),
  /** Of an instruction with several accesses: whether one of them has been special. Cleared at its first slow one. */
  accessesBegun: layout.cacheField("accessesBegun", 32),
  /** Where the instruction goes on when its last device write is out. */
  nextPc: layout.field("nextPc", 64),
  mmioAddress: layout.field("mmioAddress", 64),
  mmioData: layout.field("mmioData", 64),
  mmioBytes: layout.field("mmioBytes", 32),
  /** Device reads of the current instruction that are complete, and their data. */
  fragmentCount: layout.field("fragmentCount", 32),
  fragments: layout.array("fragment", 64, FRAGMENT_COUNT_MAX),
  bounce: layout.array("bounce", 64, BOUNCE_BYTES / 8),
  /** Where the main loop with a break pc leaves. Here, because offsets of what is in flight are saved. */
  breakPc: layout.cacheField("breakPc", 64),
  /** The TLB set of privilege 2. */
  tlbOverride: layout.cacheField("tlbOverride", 32),
  /** First writes in the log; `GuestRam` takes them from there. */
  writtenCount: layout.cacheField("writtenCount", 32),
  /** Size of RAM; set once. */
  ramBytes: layout.cacheField("ramBytes", 64),
} as const;

/** An address from an access at or above this is guest RAM; below, it is the bounce buffer. */
export const BOUNCE_START: number = engineState.bounce.offset;

/** Picks TLB sets for the translation registers; gives nothing. Implemented by `Engine`. */
export const selectTlbSets: HostFunction = { name: "selectTlbSets", parameterCount: 0 };

/** (physical address, low and high word; bits): see `EngineOperations.setEntryBits`. Implemented by `Engine`. */
export const setEntryBits: HostFunction = { name: "setEntryBits", parameterCount: 3 };

/** See `EngineFields.float*`; the operation's code is the parameter. */
export const softFloat: HostFunction = { name: "softFloat", parameterCount: 1 };

/** The same in the 80-bit format of the x87: an `ExtendedOperation`. */
export const extendedFloat: HostFunction = { name: "extendedFloat", parameterCount: 1 };

/** The engine's operations for an architecture that keeps its privilege in `privilege`: see `CpuDefinition`. */
export function operationsFor(privilege: StateField<32>, privilegeCount: 2 | 3 = 2): EngineOperations {
  return {
    fields: engineFields,
    setPrivilege(stage: Stage, value: Value<32>) {
      stage.write(privilege, value);
      const kernel = stage.read(engineFields.tlbKernel);
      const overrides = stage.compare("eq", value, stage.constant32(2));
      const system =
        privilegeCount === 2 ? kernel : stage.select(overrides, stage.read(engineState.tlbOverride), kernel);
      stage.write(engineFields.tlbCurrent, stage.select(value, system, stage.read(engineFields.tlbUser)));
    },
    translationChanged(stage: Stage) {
      stage.callHost(selectTlbSets);
    },
    setEntryBits(stage: Stage, physical: Value<64>, bits: Value<32>) {
      const high = stage.truncate32(stage.shiftRight(physical, 32));
      stage.callHost(setEntryBits, stage.truncate32(physical), high, bits);
    },
  };
}
