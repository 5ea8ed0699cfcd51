/** A subject of the amd64 control plane. */
import type { ControlPart as PartOf } from "@hvjournal/core";
import type { Amd64ControlState } from "./control-state.js";

export { decided, NUMBER, refuse } from "@hvjournal/core";

export type ControlPart = PartOf<Amd64ControlState>;
