/** Which ways of notifying its VMM a guest has: policy `notify.via`. */
import { type Amd64ControlState, policyValue } from "./control/control-state.js";
import { NOTIFY_WAYS, type NotifyWay } from "./notify-ways.js";

function waysOf(control: Amd64ControlState): string[] {
  return policyValue(control, "notify.via").split("+");
}

export function isNotifyWay(control: Amd64ControlState, way: NotifyWay): boolean {
  return waysOf(control).includes(way);
}

/** What a guest is told of them: a bit for each in the order of the policy; 0 where they are upstream's, which tells nothing. */
export function notifyBits(control: Amd64ControlState): number {
  if (control.policies?.some(({ name }) => name === "notify.via") !== true) return 0;
  return NOTIFY_WAYS.reduce((bits, way, bit) => (isNotifyWay(control, way) ? bits | (1 << bit) : bits), 0);
}
