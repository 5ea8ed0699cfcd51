/** The page of Hyper-V's calls of a VM that finds itself on another host. */
import type { CodePatch } from "@hvjournal/core";
import { writeHostMsr } from "../host-msrs.js";
import type { Vm } from "../vm.js";
import { HypervMsr, type VmRegisters } from "./registers.js";

const ENABLED = 1n;
/** OR EAX, imm32 before the call, where Xen's calls are on as well. */
const OR_EAX = 0x0d;
const [CALL_BYTES, CALL_BYTES_BESIDE_XEN] = [4, 9];

/** Guest-physical address of the page; undefined: the guest has none. */
export function callPageOf({ guestOsId, hypercall }: Pick<VmRegisters, "guestOsId" | "hypercall">): number | undefined {
  return guestOsId === 0n || (hypercall & ENABLED) === 0n ? undefined : Number(hypercall & ~0xfffn);
}

/**
 * The MSRs are restored as by KVM_SET_MSRS once RAM is there: GUEST_OS_ID first, without which HYPERCALL is lost. That writes the
 * call of this host's vendor into the page. undefined: it was there already, or there is no page.
 */
export function restoreCallPage(vm: Vm): CodePatch | undefined {
  const { memory } = vm.engine;
  const page = callPageOf(vm.hyperv.vm);
  if (page === undefined) return undefined;
  const { guestOsId, hypercall } = vm.hyperv.vm;
  const old = Uint8Array.from(memory.read(page, CALL_BYTES_BESIDE_XEN));
  for (const [msr, value] of [
    [HypervMsr.HV_X64_MSR_GUEST_OS_ID, guestOsId],
    [HypervMsr.HV_X64_MSR_HYPERCALL, hypercall],
  ] as const)
    writeHostMsr(vm, 0, msr, value);
  const now = Uint8Array.from(memory.read(page, CALL_BYTES_BESIDE_XEN));
  if (now.every((byte, at) => byte === old[at])) return undefined;
  const bytes = now[0] === OR_EAX ? CALL_BYTES_BESIDE_XEN : CALL_BYTES;
  // It is no vCPU's doing.
  return { vcpu: -1, physical: page, before: old.slice(0, bytes), after: now.slice(0, bytes) };
}
