/** What a control event changed: the lines of `log -p`, and of the comparison of two configurations. */
import type { ControlPatch } from "@hvjournal/core";
import { plainText } from "./value-text.js";

/** "smcccFilter[0]  + {base 0xc6000000, ...}      (was: none)" */
export function patchText({ op, path, before, after }: ControlPatch): string {
  const name = pathText(path);
  const field = String(path.at(-1));
  switch (op) {
    case "add":
      return `${name}  + ${plainText(after, field)}      (was: none)`;
    case "remove":
      return `${name}  - ${plainText(before, field)}`;
    case "replace":
      return `${name}  ${plainText(before, field)} -> ${plainText(after, field)}`;
    default:
      return op satisfies never;
  }
}

/** Without the slice that it belongs to: "smcccFilter[0].action". */
function pathText(path: readonly (string | number)[]): string {
  return path
    .slice(1)
    .map((key, index) => (typeof key === "number" ? `[${key}]` : index === 0 ? key : `.${key}`))
    .join("");
}
