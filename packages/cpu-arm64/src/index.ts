export { refreshContext } from "./isa/context.js";
export { cortexA57, resetValues } from "./isa/cpu.js";
export { branches } from "./isa/instructions/branches.js";
export { dataProcessingImmediate } from "./isa/instructions/data-processing-immediate.js";
export { dataProcessingRegister } from "./isa/instructions/data-processing-register.js";
export { exclusives } from "./isa/instructions/exclusives.js";
export { loadsAndStores } from "./isa/instructions/loads-and-stores.js";
export * as vcpuState from "./isa/state.js";
export * as systemRegisterFields from "./isa/system-registers.js";
