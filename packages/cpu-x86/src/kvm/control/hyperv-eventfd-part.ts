/**
 * KVM_HYPERV_EVENTFD: which connection's HvCallSignalEvent signals an eventfd, without an exit to the VMM
 * (virt/kvm/api.rst, 4.113; arch/x86/kvm/hyperv.c). Command: {name: "hv-eventfd", connectionId, fd, flags}.
 */
import {
  type ControlCommand,
  eventfdCreated,
  eventfdRefusal,
  type EventKind,
  NUMBER,
  opensEventfd,
  withEventfd,
} from "@hvjournal/core";
import { decided, type ControlPart, refuse } from "./control-part.js";

const CALL = "KVM_HYPERV_EVENTFD";
export const HYPERV_EVENTFD_DEASSIGN = 1;
/** A connection's number has 24 bits. */
export const CONNECTION_ID_MASK = 0xff_ffff;

const set: EventKind = {
  ...{ name: "x86.HypervEventfdSet", version: 1, role: "vmm output" },
  fields: ["connectionId", "fd", "assigned"],
};

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** "0x2a,fd=3" */
function parse(text: string): ControlCommand | string {
  const match = new RegExp(`^${NUMBER}(?:,fd=${NUMBER}|(,deassign))$`).exec(text);
  if (match === null) return "expected CONNECTION,fd=N or CONNECTION,deassign";
  const [, connectionId, fd, deassign] = match;
  const flags = deassign === undefined ? 0 : HYPERV_EVENTFD_DEASSIGN;
  return { name: "hv-eventfd", connectionId: Number(connectionId), fd: Number(fd ?? -1), flags, opens: true };
}

export const hypervEventfdPart: ControlPart = {
  decide: {
    "hv-eventfd"(state, fields) {
      const [connectionId, fd, flags] = [fields.number("connectionId"), fields.number("fd"), fields.number("flags")];
      const { hypervEventfds = [] } = state;
      if ((flags & ~HYPERV_EVENTFD_DEASSIGN) !== 0) return refuse("EINVAL", CALL, `flags ${hex(flags)} are not known`);
      if ((connectionId & ~CONNECTION_ID_MASK) !== 0)
        return refuse("EINVAL", CALL, `connection ${hex(connectionId)} has more than 24 bits`);
      const there = hypervEventfds.find((each) => each.connectionId === connectionId);
      if (flags === HYPERV_EVENTFD_DEASSIGN) {
        if (there === undefined) return refuse("ENOENT", CALL, `connection ${hex(connectionId)} is not assigned`);
        return decided(set, { connectionId, fd: there.fd, assigned: false });
      }
      const opens = opensEventfd(state, fields);
      const noFile = opens ? undefined : eventfdRefusal(state, fd, CALL);
      if (noFile !== undefined) return noFile;
      if (there !== undefined)
        return refuse("EEXIST", CALL, `connection ${hex(connectionId)} signals eventfd ${there.fd}`);
      return withEventfd(opens, fd, eventfdCreated("x86"), decided(set, { connectionId, fd, assigned: true }));
    },
  },
  events: [
    {
      kind: set,
      evolve(state, fields) {
        const [connectionId, fd] = [fields.number("connectionId"), fields.number("fd")];
        const others = (state.hypervEventfds ?? []).filter((each) => each.connectionId !== connectionId);
        return { ...state, hypervEventfds: fields.boolean("assigned") ? [...others, { connectionId, fd }] : others };
      },
      describe(fields) {
        const sign = fields.boolean("assigned") ? "+" : "-";
        return `${sign} connection ${hex(fields.number("connectionId"))} -> eventfd ${fields.number("fd")}`;
      },
    },
  ],
  parse: { "hv-eventfd": parse },
};
