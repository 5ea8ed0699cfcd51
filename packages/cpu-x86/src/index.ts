export { refreshDerived } from "./isa/context.js";
export { longModeValues, x86Cpu } from "./isa/cpu.js";
export { ExitCode, NotSimulated } from "./isa/exit-code.js";
export { materializeFlags } from "./isa/flags.js";
export * as vcpuState from "./isa/state.js";
export { type Encoding, parseEncoding, undefinedFlagsOf } from "./isa/encoding.js";
export type { DecodedFields } from "./isa/fields.js";
export { amd64 } from "./kvm/architecture.js";
export { generalInstructions } from "./isa/instructions/general.js";
