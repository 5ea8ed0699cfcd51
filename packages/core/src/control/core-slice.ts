/** Core's own part of the control plane: the VM and its vCPUs exist. */
import { produce } from "immer";
import type { ControlCommand, ControlContext, ControlEvent, ControlSlice, Decision } from "../ports/control.js";
import { CoreKind } from "../event/core-kinds.js";
import type { EventPayload } from "../event/event-kind.js";
import { PayloadFields } from "../canonical/payload-fields.js";

export interface CoreControlState {
  /** undefined before `VmCreated`. */
  readonly machine?: EventPayload;
  readonly vcpus: readonly { readonly cpu: string }[];
}

const MEBIBYTE = 2 ** 20;

export const CREATE_VM = "create-vm";
export const CREATE_VCPU = "create-vcpu";

function decideCreateVm(state: CoreControlState, command: ControlCommand): Decision {
  if (state.machine !== undefined)
    return { refused: { errno: "EEXIST", call: "KVM_CREATE_VM", reason: "this VM has been created already" } };
  const machine = new PayloadFields("create-vm", command).map("machine");
  return {
    events: [{ kind: CoreKind.vmCreated.name, version: CoreKind.vmCreated.version, vcpu: -1, payload: { machine } }],
  };
}

function decideCreateVcpu(state: CoreControlState, command: ControlCommand, context: ControlContext): Decision {
  const call = "KVM_CREATE_VCPU";
  if (state.machine === undefined) return { refused: { errno: "ENOENT", call, reason: "there is no VM yet" } };
  if (state.vcpus.length >= context.vcpuCount)
    return {
      refused: {
        errno: "EINVAL",
        call,
        reason: `vcpu${state.vcpus.length} is beyond the machine's ${context.vcpuCount} vCPUs`,
      },
    };
  const cpu = new PayloadFields("create-vcpu", command).string("cpu");
  const { name, version } = CoreKind.vcpuCreated;
  return { events: [{ kind: name, version, vcpu: state.vcpus.length, payload: { cpu } }] };
}

export const coreSlice: ControlSlice<CoreControlState> = {
  kinds: [CoreKind.vmCreated, CoreKind.vcpuCreated],

  initialState: () => ({ vcpus: [] }),

  decide(state, command, context) {
    if (command.name === CREATE_VM) return decideCreateVm(state, command);
    if (command.name === CREATE_VCPU) return decideCreateVcpu(state, command, context);
    throw new RangeError(`core has no command ${command.name}`);
  },

  evolve(state: CoreControlState, event: ControlEvent): CoreControlState {
    const fields = new PayloadFields(event.kind, event.payload);
    if (event.kind === CoreKind.vmCreated.name) return { ...state, machine: fields.map("machine") };
    return produce(state, (draft) => {
      draft.vcpus.push({ cpu: fields.string("cpu") });
    });
  },

  describe(event) {
    const fields = new PayloadFields(event.kind, event.payload);
    if (event.kind === CoreKind.vcpuCreated.name) return `vcpu${event.vcpu} ${fields.string("cpu")}`;
    const machine = new PayloadFields(event.kind, fields.map("machine"));
    const model = new PayloadFields(event.kind, machine.map("exitModel"));
    const vcpus = machine.number("vcpuCount");
    return `${machine.string("architecture")} ${machine.string("board")}, cpu ${machine.string("cpuModel")}, ${vcpus} ${vcpus === 1 ? "vCPU" : "vCPUs"}, ${machine.number("memoryBytes") / MEBIBYTE} MiB of RAM, exits ${model.string("name")}`;
  },

  parse: (word) => `${word} is not for the command line: the machine file creates the VM`,
};
