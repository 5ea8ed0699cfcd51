/** What a running guest has made of its host's in its own memory: the page of calls, and calls that were written over. */
import type { ContractItem, Observation, RunningGuest } from "@hvjournal/core";
import { callPageOf } from "../hyperv/call-page.js";
import { HypervMsr } from "../hyperv/registers.js";
import { msrRegister } from "../named-registers.js";
import { CALL_OF } from "./contract-items.js";
import { callPageItem, isPatchedItem, patchedPlace } from "./item-names.js";

const OPCODE = [0x0f, 0x01];
const INSTRUCTIONS: ReadonlyMap<number, string> = new Map([
  [0xc1, CALL_OF.intel],
  [0xd9, CALL_OF.amd],
]);
const OR_EAX = 0x0d;
const OR_BYTES = 5;

/** Of the bytes of a page of calls. */
function instructionIn(bytes: Uint8Array): string | undefined {
  const at = bytes[0] === OR_EAX ? OR_BYTES : 0;
  const isCall = OPCODE.every((byte, index) => bytes[at + index] === byte);
  return isCall ? INSTRUCTIONS.get(bytes[at + OPCODE.length] ?? 0) : undefined;
}

/** `asked`: the calls that were written over are among it. */
export function runningItems(guest: RunningGuest, asked: ReadonlyMap<string, Observation>): ContractItem[] {
  return [...callPageItems(guest), ...patchedItems(guest, asked)];
}

function callPageItems(guest: RunningGuest): ContractItem[] {
  const read = (msr: number): bigint => guest.readRegister(0, msrRegister(msr));
  const page = callPageOf({
    guestOsId: read(HypervMsr.HV_X64_MSR_GUEST_OS_ID),
    hypercall: read(HypervMsr.HV_X64_MSR_HYPERCALL),
  });
  if (page === undefined) return [];
  const value = `holds ${instructionIn(guest.memory.read(page, OR_BYTES + OPCODE.length + 1)) ?? "something else"}`;
  return [{ name: callPageItem(page), value, isObservable: false }];
}

/** Calls in the guest's text that a host has written over; where the guest has written others since, they are its own. */
function patchedItems({ memory }: RunningGuest, asked: ReadonlyMap<string, Observation>): ContractItem[] {
  return [...asked.keys()].filter(isPatchedItem).flatMap((name) => {
    const instruction = instructionIn(memory.read(patchedPlace(name), OPCODE.length + 1));
    if (instruction === undefined) return [];
    const askedAs = [{ name, did: "was patched" }];
    return [{ name, value: `holds ${instruction}`, isObservable: true, askedAs }];
  });
}
