export * from "./cpu-definition.js";
export * from "./engine-fields.js";
export * from "./engine.js";
export * from "./float/environment.js";
export * from "./float/soft-float.js";
export * from "./stage/instruction.js";
export * from "./stage/stage.js";
export * from "./stage/state-layout.js";
export { loadModules, type PreparedModules } from "./emit/kept-modules.js";
export { type MemoryAdvice, useMemoryAdvice } from "./memory/memory-advice.js";
export { prepareModules } from "./prepare-modules.js";
export { Decoder } from "./decode/decoder.js";
export { EngineExit, FIRST_ARCHITECTURE_EXIT } from "./interpreter/status.js";
export { EngineFault } from "./mmu/slow-path.js";
export { FloatRelation } from "./float/comparison.js";
export { GUEST_RAM_BYTES_MAX, VCPU_STATE_END, VCPU_STATE_START } from "./memory-map.js";
export { compilePattern, extractFields } from "./decode/pattern.js";
export { everyForm } from "./decode/variant-table.js";
export { programOf, programOfRoutine, StageRuleError } from "./stage/program-builder.js";
export { programText, type TextOptions } from "./stage/text.js";
export { softFloatHost } from "./float/soft-float-host.js";
export type { DecodedBytes, TailNumber, VariableLength, VariableLengthDecoder } from "./decode/variable-length.js";
export {
  EXTENDED_INCOMPLETE,
  EXTENDED_NO_QUOTIENT,
  ExtendedOperand,
  ExtendedOperation,
} from "./float/extended-float-host.js";
export { blocksOf } from "./stage/schedule.js";
export type { Block as ProgramBlock } from "./stage/program.js";
