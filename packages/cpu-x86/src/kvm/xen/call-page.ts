/** The page of calls that a guest of Xen's interface gets by WRMSR (arch/x86/kvm/xen.c, kvm_xen_write_hypercall_page). */
import { PAGE_BYTES } from "@hvjournal/core";
import { efer } from "../../isa/state.js";
import { HOST_CALL } from "../hypercall-patching.js";
import type { MsrAccess } from "../msr-access.js";
import { isInRam } from "../paravirtual.js";
import type { Vm } from "../vm.js";
import { interceptsXenCalls } from "./xen-config.js";

const ENTRY_BYTES = 32;
const MOV_EAX = 0xb8;
const RET = 0xc3;
const INT3 = 0xcc;
const CALL_AT = 5;
const RET_AT = 8;
const PAGE_MASK = BigInt(PAGE_BYTES - 1);
const LONG_MODE_ACTIVE = 1n << 10n;

/** An entry for each number: MOV EAX, number; the host's call; RET. */
function interceptedCalls({ hostVendor }: Vm): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES).fill(INT3);
  const view = new DataView(page.buffer);
  for (let at = 0; at < PAGE_BYTES; at += ENTRY_BYTES) {
    page[at] = MOV_EAX;
    view.setUint32(at + 1, at / ENTRY_BYTES, true);
    page.set(HOST_CALL[hostVendor], at + CALL_AT);
    page[at + RET_AT] = RET;
  }
  return page;
}

/** undefined: there is no page of that number. */
function pageOf(vm: Vm, number: number): Uint8Array | undefined {
  const config = vm.control.xenHvm;
  if (interceptsXenCalls(config)) return number === 0 ? interceptedCalls(vm) : undefined;
  const isLongMode = (vm.engine.readField(efer) & LONG_MODE_ACTIVE) !== 0n;
  const blob = (isLongMode ? config?.blob64 : config?.blob32) ?? new Uint8Array(0);
  const first = number * PAGE_BYTES;
  return first < blob.length ? blob.subarray(first, first + PAGE_BYTES) : undefined;
}

/** The value is the page's address, and in the low 12 bits which page it is to be. */
const xenPage: MsrAccess = {
  read: () => undefined,
  accepts: (vm, value) =>
    isInRam(vm.engine.memory, value & ~PAGE_MASK, PAGE_BYTES) && pageOf(vm, Number(value & PAGE_MASK)) !== undefined,
  write(vm, value) {
    const { memory } = vm.engine;
    const [address, page] = [value & ~PAGE_MASK, pageOf(vm, Number(value & PAGE_MASK))];
    if (page === undefined || !isInRam(memory, address, PAGE_BYTES)) return false;
    memory.write(Number(address), page);
    return true;
  },
};

/** Of a guest's write. undefined: it is another register. */
export function xenPageAccess({ control: { xenHvm } }: Vm, msr: number): MsrAccess | undefined {
  return xenHvm !== undefined && xenHvm.msr !== 0 && msr === xenHvm.msr ? xenPage : undefined;
}
