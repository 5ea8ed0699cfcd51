import type { EngineOptions } from "@hvjournal/engine";

export interface TargetOptions {
  /** Of mnemonics that are drawn. */
  readonly matches: RegExp;
  /** Undefined: the engine's own choice. */
  readonly tier: EngineOptions["tier"] | undefined;
}
