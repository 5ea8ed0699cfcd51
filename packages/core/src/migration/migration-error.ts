/** How a move can end otherwise than well. */
import type { ContractComparison } from "../contract/compare-contracts.js";

/** The destination can't take this VM. Nothing was touched; the source runs on. */
export class MigrationRefusedError extends Error {
  override readonly name = "MigrationRefusedError";
  readonly reasons: readonly string[];
  readonly contract: ContractComparison | undefined;
  constructor(reasons: readonly string[], contract?: ContractComparison) {
    super(`the destination refuses: ${reasons.join("; ")}`);
    this.reasons = reasons;
    this.contract = contract;
  }
}

/** The move failed before it took place: the source owns the VM. */
export class MigrationFailedError extends Error {
  override readonly name = "MigrationFailedError";
  constructor(reason: string, cause?: unknown) {
    super(reason, cause === undefined ? {} : { cause });
  }
}

/** This side has done its step and can't know about the other's. The files of both decide. */
export class MigrationInDoubtError extends Error {
  override readonly name = "MigrationInDoubtError";
  readonly epoch: number;
  constructor(side: "source" | "destination", epoch: number, reason: string, cause?: unknown) {
    super(
      side === "source"
        ? `the VM was moved in epoch ${epoch}, and the destination has not confirmed it: ${reason}; it does not run here again`
        : `the VM is prepared here for epoch ${epoch}, and the source has not said that it moved: ${reason}; it does not run here yet`,
      cause === undefined ? {} : { cause },
    );
    this.epoch = epoch;
  }
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
