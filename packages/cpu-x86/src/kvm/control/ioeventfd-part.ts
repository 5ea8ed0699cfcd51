/** KVM_IOEVENTFD, as far as the policy `notify.via` has it. */
import { type ControlPart, type Decision, eventfdPartOf, IoeventfdFlag, type PayloadFields } from "@hvjournal/core";
import { isNotifyWay } from "../notify-policy.js";
import { refuse } from "./control-part.js";
import type { Amd64ControlState } from "./control-state.js";

const CALL = "KVM_IOEVENTFD";
const upstream: ControlPart<Amd64ControlState> = eventfdPartOf<Amd64ControlState>("x86");

/** Undefined: upstream's rules decide. */
function refusedByPolicy(state: Amd64ControlState, fields: PayloadFields): Decision | undefined {
  if (!isNotifyWay(state, "ioeventfd"))
    return refuse("ENOTTY", CALL, "policy notify.via leaves ioeventfd out: there is no such ioctl");
  const bus = (fields.number("flags") & IoeventfdFlag.pio) === 0 ? "mmio" : "pio";
  return isNotifyWay(state, bus) ? undefined : refuse("EINVAL", CALL, `policy notify.via leaves ${bus} out`);
}

export const ioeventfdPart: ControlPart<Amd64ControlState> = {
  ...upstream,
  decide: {
    ...upstream.decide,
    ioeventfd: (state, fields, ...context) =>
      refusedByPolicy(state, fields) ?? upstream.decide["ioeventfd"]?.(state, fields, ...context) ?? { events: [] },
  },
};
