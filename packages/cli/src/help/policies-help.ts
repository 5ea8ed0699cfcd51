/** `hvjournal help policies`: the policies of both architectures, as the control plane has them. */
import { type Policy, policyValuesText } from "@hvjournal/core";
import { arm64Policies } from "@hvjournal/cpu-arm64";
import { amd64Policies } from "@hvjournal/cpu-x86";

const NAME_WIDTH = 28;

function policyLines(policies: readonly Policy[]): string {
  return policies
    .map(
      (policy) =>
        `  ${policy.name.padEnd(NAME_WIDTH - 2)}${policyValuesText(policy)}\n${" ".repeat(NAME_WIDTH)}${policy.about}`,
    )
    .join("\n");
}

export const POLICIES_HELP = `--policy NAME=VALUE, ctl VM policy NAME=VALUE: what upstream KVM does not have, or does not let a VMM choose.
The first value is what upstream does, and the default. Each is an event, part of the contract, and moves with the VM.

arm64:
${policyLines(arm64Policies.policies)}

amd64:
${policyLines(amd64Policies.policies)}

  hvjournal record guest.elf --policy notify.via=pio+mmio+ioeventfd+hypercall
`;
