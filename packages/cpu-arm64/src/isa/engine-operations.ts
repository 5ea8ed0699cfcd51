/** The engine's operations and fields for this architecture, whose privilege is the exception level. */
import { type EngineOperations, operationsFor } from "@hvjournal/engine";
import { exceptionLevel } from "./state.js";

export const operations: EngineOperations = operationsFor(exceptionLevel);
