export * from "./cpu-definition.js";
export * from "./memory-map.js";
export * from "./stage/instruction.js";
export * from "./stage/stage.js";
export * from "./stage/state-layout.js";
