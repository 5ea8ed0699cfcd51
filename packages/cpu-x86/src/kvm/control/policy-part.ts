/** `policy NAME=VALUE` on amd64. */
import { policyPartOf } from "@hvjournal/core";
import type { ControlPart } from "./control-part.js";
import { policyTable } from "./policies.js";

export const policyPart: ControlPart = policyPartOf("x86.PolicySet", policyTable);
