/** Handlers of a VM that forwards no call: they wait for what never comes, and people wonder why. */
import { type ContractItem, isPlainMap, type Machine, type MachineDescription, type PlainValue } from "@hvjournal/core";
import { recordedHandlers } from "./recorded-handlers.js";

/** What an arm64 VM forwards its calls by. */
function isOfCalls({ range }: ContractItem): boolean {
  return range?.group.startsWith("KVM_ARM_VM_SMCCC_FILTER") === true;
}

/** A range of the filter, or the policy that is the rule of all others. */
function forwards({ range }: ContractItem): boolean {
  return range?.effect.startsWith("forward") === true;
}

const EXIT_CAPABILITIES: readonly string[] = ["KVM_CAP_EXIT_HYPERCALL", "KVM_CAP_X86_USER_SPACE_MSR"];

/** Whether an amd64 VM's configuration leaves anything to its VMM; the guest's CPUID may offer Hyper-V's interface too. */
function asksVmm(description: MachineDescription, plainControl: PlainValue | undefined): boolean {
  if (description.boardOptions["vmport"] === true || !isPlainMap(plainControl)) return true;
  const { hyperv, cpuidEntries, cpuidWords, capabilities } = plainControl;
  const enabled = Array.isArray(capabilities)
    ? capabilities.map((each) => (isPlainMap(each) ? each["name"] : null))
    : [];
  const mayOffer = [hyperv, cpuidEntries, cpuidWords].some((each) => each !== undefined);
  return mayOffer || enabled.some((name) => EXIT_CAPABILITIES.includes(String(name)));
}

/** Of a VM whose configuration stands; undefined: a call may come. */
export function unaskedHandlers(machine: Machine): string | undefined {
  const { architecture, description } = machine;
  const names = recordedHandlers(description).map(({ name }) => name);
  const control = machine.plainControl()["architecture"];
  const never = `--handler ${names.join(", ")} will never be asked`;
  if (architecture.name === "amd64") {
    if (names.length === 0 || asksVmm(description, control)) return undefined;
    return `${never}: nothing is left to the VMM (--hv all, --cap exit_hypercall=0x1000, --cap x86_user_space_msr=7, or --vmport on)`;
  }
  const items = architecture.contract?.items(control ?? null, description) ?? [];
  const hasFilter = items.some(isOfCalls);
  if (names.length === 0 || !hasFilter || items.some(forwards)) return undefined;
  return `${never}: nothing is forwarded (--smccc-filter BASE+COUNT=forward, or --policy arm.smccc.default=forward-unhandled)`;
}
