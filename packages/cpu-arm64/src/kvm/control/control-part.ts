/** A subject of the arm64 control plane. */
import type { ControlPart as PartOf } from "@hvjournal/core";
import type { Arm64ControlState } from "./control-state.js";

export { decided, NUMBER, refuse } from "@hvjournal/core";

export type ControlPart = PartOf<Arm64ControlState>;

export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}
