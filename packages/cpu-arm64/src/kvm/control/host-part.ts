/**
 * The host under the VM. Command: {name: "host", host: {name, version}}: the VM has moved, and finds itself on another one. No
 * user gives it: a VM is created on the host that its machine names.
 */
import { type EventKind, hostText, parseHost } from "@hvjournal/core";
import { HOST_MODELS, hostModelOf, writtenHost } from "../host-model.js";
import { decided, type ControlPart, refuse } from "./control-part.js";

const hostChanged: EventKind = {
  name: "arm64.HostChanged",
  version: 1,
  role: "vmm output",
  fields: ["old", "new"],
};

export const HOST_COMMAND = "host";

export const hostPart: ControlPart = {
  decide: {
    [HOST_COMMAND](state, fields) {
      const host = parseHost(fields.map("host"));
      if (!HOST_MODELS.some(({ name, version }) => name === host.name && version === host.version))
        return refuse("EINVAL", "host", `there is no host ${host.name} version ${host.version}`);
      const { name, version } = hostModelOf(state.firmware.host);
      return decided(hostChanged, { old: { name, version }, new: { ...host } });
    },
  },
  events: [
    {
      kind: hostChanged,
      evolve: (state, fields) => {
        const { host: _old, ...registers } = state.firmware;
        const host = writtenHost(parseHost(fields.map("new")));
        return { ...state, firmware: host === undefined ? registers : { ...registers, host } };
      },
      describe: (fields) => {
        const [old, now] = [parseHost(fields.map("old")), parseHost(fields.map("new"))];
        return `${hostText(old)} -> ${hostText(now)}`;
      },
    },
  ],
  parse: {},
};
