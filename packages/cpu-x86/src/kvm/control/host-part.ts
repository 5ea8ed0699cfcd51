/**
 * The host under the VM. Command: {name: "host", host: {name, version}, old: {name, version}}: the VM has moved, and finds itself
 * on another one. No user gives it: a VM is created on the host that its machine names, or on its exit model's vendor's.
 */
import { type EventKind, hostText, parseHost } from "@hvjournal/core";
import { HOST_MODELS } from "../host-model.js";
import { decided, type ControlPart, refuse } from "./control-part.js";

export const hostChanged: EventKind = {
  name: "x86.HostChanged",
  version: 1,
  role: "vmm output",
  fields: ["old", "new"],
};

export const HOST_COMMAND = "host";

export const hostPart: ControlPart = {
  decide: {
    [HOST_COMMAND](_state, fields) {
      const host = parseHost(fields.map("host"));
      if (!HOST_MODELS.some(({ name, version }) => name === host.name && version === host.version))
        return refuse("EINVAL", "host", `there is no host ${host.name} version ${host.version}`);
      return decided(hostChanged, { old: { ...parseHost(fields.map("old")) }, new: { ...host } });
    },
  },
  events: [
    {
      kind: hostChanged,
      evolve: (state, fields) => ({ ...state, host: parseHost(fields.map("new")) }),
      describe: (fields) => {
        const [old, now] = [parseHost(fields.map("old")), parseHost(fields.map("new"))];
        return `${hostText(old)} -> ${hostText(now)}`;
      },
    },
  ],
  parse: {},
};
