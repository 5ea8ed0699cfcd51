/** The configuration of a VM, as the control events have folded it. */
import { isPlainMap, type Machine, type PlainValue } from "@hvjournal/core";
import { plainText } from "./value-text.js";

/** "smcccFilter: 1, firmware: 4": of what is set, how many items; "none" where nothing is. */
export function configSummary(machine: Pick<Machine, "plainControl">): string {
  const { architecture } = machine.plainControl();
  if (!isPlainMap(architecture)) return "none";
  const sizes = Object.entries(architecture).map(([name, value]) => ({ name, size: sizeOf(value) }));
  const set = sizes.filter(({ size }) => size > 0).map(({ name, size }) => `${name}: ${size}`);
  return set.length === 0 ? "none" : set.join(", ");
}

function sizeOf(value: PlainValue): number {
  if (Array.isArray(value)) return value.length;
  return isPlainMap(value) ? Object.keys(value).length : 1;
}

/** One line for each item. */
export function configLines(machine: Machine): string[] {
  const { architecture } = machine.plainControl();
  if (!isPlainMap(architecture)) return [];
  return Object.entries(architecture).flatMap(([name, value]) => {
    if (Array.isArray(value))
      return value.length === 0
        ? [`${name}  none`]
        : value.map((item: PlainValue, index) => `${name}[${index}]  ${plainText(item)}`);
    if (isPlainMap(value)) return Object.entries(value).map(([key, item]) => `${name}.${key}  ${plainText(item)}`);
    return [`${name}  ${plainText(value)}`];
  });
}
