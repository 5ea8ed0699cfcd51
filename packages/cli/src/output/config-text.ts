/** The configuration of a VM, as the control events have folded it. */
import { isPlainMap, type Machine, type PlainValue } from "@hvjournal/core";
import { plainText } from "./value-text.js";

/** "smcccFilter: 1, capabilities: 0, firmware: 4" */
export function configSummary(machine: Machine): string {
  const { architecture } = machine.plainControl();
  if (!isPlainMap(architecture)) return "none";
  return Object.entries(architecture)
    .map(([name, value]) => `${name}: ${sizeOf(value)}`)
    .join(", ");
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
