/** What a running guest has made of its host's in its own memory: the page of calls, and calls that were written over. */
import type { ContractItem, HostReference, Observation, RunningGuest } from "@hvjournal/core";
import { hostModelOf } from "../host-model.js";
import { callPageOf } from "../hyperv/call-page.js";
import { HypervMsr } from "../hyperv/registers.js";
import { msrRegister } from "../named-registers.js";
import { CALL_OF } from "./contract-items.js";
import { callPageItem, isPatchedItem } from "./item-names.js";

const OPCODE = [0x0f, 0x01];
const INSTRUCTIONS: ReadonlyMap<number, string> = new Map([
  [0xc1, CALL_OF.intel],
  [0xd9, CALL_OF.amd],
]);
const OR_EAX = 0x0d;
const OR_BYTES = 5;

/** Of the bytes of a page of calls. */
function instructionIn(bytes: Uint8Array): string {
  const at = bytes[0] === OR_EAX ? OR_BYTES : 0;
  const isCall = OPCODE.every((byte, index) => bytes[at + index] === byte);
  return (isCall ? INSTRUCTIONS.get(bytes[at + OPCODE.length] ?? 0) : undefined) ?? "another instruction";
}

export function runningItems(guest: RunningGuest): ContractItem[] {
  const read = (msr: number): bigint => guest.readRegister(0, msrRegister(msr));
  const page = callPageOf({
    guestOsId: read(HypervMsr.HV_X64_MSR_GUEST_OS_ID),
    hypercall: read(HypervMsr.HV_X64_MSR_HYPERCALL),
  });
  if (page === undefined) return [];
  const value = `holds ${instructionIn(guest.memory.read(page, OR_BYTES + OPCODE.length + 1))}`;
  return [{ name: callPageItem(page), value, isObservable: false }];
}

/** Calls in the guest's text that hold the call of its host's vendor, since it was written over the other one's. */
export function patchedItems(observations: ReadonlyMap<string, Observation>, host: HostReference): ContractItem[] {
  const value = `holds ${CALL_OF[hostModelOf(host).vendor]}`;
  return [...observations.keys()].filter(isPatchedItem).map((name) => ({
    ...{ name, value, isObservable: true, askedAs: [{ name, did: "was patched" }] },
  }));
}
