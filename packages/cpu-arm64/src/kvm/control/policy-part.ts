/** `policy NAME=VALUE` on arm64. */
import { policyPartOf } from "@hvjournal/core";
import type { ControlPart } from "./control-part.js";
import { policyTable } from "./policies.js";

export const policyPart: ControlPart = policyPartOf("arm64.PolicySet", policyTable);
