/** The engine's operations and fields for this architecture, whose privilege is told by `privilege`. */
import { type EngineOperations, operationsFor } from "@hvjournal/engine";
import { privilege } from "./state.js";

export const operations: EngineOperations = operationsFor(privilege, 3);
