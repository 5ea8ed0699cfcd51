/** The contract between an amd64 host and its guest. */
import { type ArchitectureContract, type ContractItem, ExitWord, frameU64 } from "@hvjournal/core";
import type { Amd64ControlState } from "../control/control-state.js";
import { HOST_COMMAND } from "../control/host-part.js";
import { causesOfRow } from "../exit-model.js";
import { HOST_MODELS, hostModelOf } from "../host-model.js";
import { arrive } from "./arrival.js";
import { askedItems, askedMsr } from "./asked-items.js";
import { contractItems, hostOfVm } from "./contract-items.js";
import { featureItems } from "./feature-items.js";
import { patchedItem } from "./item-names.js";
import { runningItems } from "./running-items.js";
import { setUpSteps } from "./set-up-steps.js";

function registerItem(name: string, value: bigint): ContractItem {
  return { name: name.toUpperCase(), value: `0x${value.toString(16)}`, isObservable: false };
}

export const amd64Contract: ArchitectureContract = {
  hosts: HOST_MODELS,
  exitModelOf: (host) => `kvm-${hostModelOf(host).vendor}`,
  unansweredCall: "HV_STATUS_INVALID_HYPERCALL_CODE",
  hostOf(state, machine) {
    const { name, version } = hostOfVm(state as Amd64ControlState, machine);
    return { name, version };
  },
  items: (state, machine) => contractItems(state as Amd64ControlState, machine),
  featureItems,
  runningItems,
  arrive,
  registerItem,
  patchItem: patchedItem,
  asks: (frame, state, machine) => askedItems(frame, state as Amd64ControlState, machine),
  asksNumber: askedMsr,
  accessedDevice: (frame, { exitModel }) =>
    causesOfRow(exitModel, frame[ExitWord.reason] ?? 0).includes("mmio")
      ? Number(frameU64(frame, ExitWord.arg0Low))
      : undefined,
  setUp: (state) => setUpSteps(state as Amd64ControlState),
  hostCommand: ({ name, version }, current) => ({ name: HOST_COMMAND, host: { name, version }, old: { ...current } }),
  configuration(state) {
    const { host: _host, ...rest } = state as Amd64ControlState;
    return rest;
  },
};
