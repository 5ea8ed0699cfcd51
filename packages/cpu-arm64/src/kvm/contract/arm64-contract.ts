/** The contract between an arm64 host and its guest. */
import { type ArchitectureContract, ExitWord, frameU64 } from "@hvjournal/core";
import type { Arm64ControlState } from "../control/control-state.js";
import { HOST_COMMAND } from "../control/host-part.js";
import { Reason } from "../exit-model.js";
import { HOST_MODELS, hostModelOf } from "../host-model.js";
import { askedFunction, askedItems } from "./asked-items.js";
import { contractItems, registerItem } from "./contract-items.js";
import { setUpSteps } from "./set-up-steps.js";

export const arm64Contract: ArchitectureContract = {
  hosts: HOST_MODELS,
  hostOf(state) {
    const { name, version } = hostModelOf((state as Arm64ControlState).firmware.host);
    return { name, version };
  },
  unansweredCall: "x0 becomes -1",
  items: (state) => contractItems(state as Arm64ControlState),
  registerItem,
  asks: (frame, state) => askedItems(frame, state as Arm64ControlState),
  asksNumber: askedFunction,
  accessedDevice: (frame) =>
    frame[ExitWord.reason] === Reason.dabtLow ? Number(frameU64(frame, ExitWord.arg0Low)) : undefined,
  setUp: (state) => setUpSteps(state as Arm64ControlState),
  hostCommand: ({ name, version }) => ({ name: HOST_COMMAND, host: { name, version } }),
  configuration(state) {
    const { firmware, ...rest } = state as Arm64ControlState;
    const { host: _host, ...registers } = firmware;
    return { ...rest, firmware: registers };
  },
};
