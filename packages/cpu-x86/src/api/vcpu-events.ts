/** `struct kvm_vcpu_events` of x86: KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS (Documentation/virt/kvm/api.rst, 4.31, 4.32). */
import { KvmError, type VmmPort } from "@hvjournal/core";
import { EventKind } from "../isa/state.js";

/** KVM_VCPUEVENT_VALID_*. Without SMM, KVM_CAP_EXCEPTION_PAYLOAD and KVM_CAP_X86_TRIPLE_FAULT_EVENT, their flags are not known. */
export const VcpuEventFlag = { nmiPending: 1, sipiVector: 2, shadow: 4 } as const;
const KNOWN_FLAGS = VcpuEventFlag.nmiPending | VcpuEventFlag.sipiVector | VcpuEventFlag.shadow;
const NMI_VECTOR = 2;
const HIGHEST_EXCEPTION = 31;
const SHADOWS = 3;

export interface VcpuEvents {
  readonly exception: {
    readonly injected: boolean;
    readonly nr: number;
    readonly hasErrorCode: boolean;
    readonly errorCode: number;
  };
  readonly interrupt: {
    readonly injected: boolean;
    readonly nr: number;
    readonly soft: boolean;
    readonly shadow: number;
  };
  readonly nmi: { readonly injected: boolean; readonly pending: boolean; readonly masked: boolean };
  /** Which of the fields that need one are there: `VcpuEventFlag`. */
  readonly flags: number;
}

/** Exceptions that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC. */
const WITH_ERROR_CODE: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17]);

export function readVcpuEvents(port: VmmPort, vcpu: number): VcpuEvents {
  const read = (name: string): number => Number(port.readRegister(vcpu, name));
  const kind = read("exception_pending");
  const nr = read("exception_vector");
  const isException = kind === EventKind.exception || kind === EventKind.trap;
  return {
    exception: {
      injected: isException,
      nr: isException ? nr : 0,
      hasErrorCode: isException && WITH_ERROR_CODE.has(nr),
      errorCode: isException ? read("exception_error_code") : 0,
    },
    // Interrupts are the irqchip's until the guest takes them.
    interrupt: { injected: false, nr: 0, soft: false, shadow: read("interrupt_shadow") },
    nmi: { injected: false, pending: read("nmi_pending") !== 0, masked: read("nmi_blocked") !== 0 },
    flags: VcpuEventFlag.nmiPending | VcpuEventFlag.shadow,
  };
}

function brokenRule({ exception, interrupt, nmi, flags }: VcpuEvents): string | undefined {
  if ((flags & ~KNOWN_FLAGS) !== 0) return `flags 0x${(flags & ~KNOWN_FLAGS).toString(16)} are not known`;
  if (exception.injected && (exception.nr > HIGHEST_EXCEPTION || exception.nr === NMI_VECTOR))
    return `${exception.nr} is no exception`;
  if (interrupt.shadow > SHADOWS) return `there is no shadow ${interrupt.shadow}`;
  if (interrupt.injected) return "interrupts come from the irqchip alone";
  return nmi.injected ? "an NMI is pending, or it has been delivered" : undefined;
}

/** Throws KvmError: EINVAL, and nothing has changed. */
export function writeVcpuEvents(port: VmmPort, vcpu: number, events: VcpuEvents): void {
  const broken = brokenRule(events);
  if (broken !== undefined) throw new KvmError({ errno: "EINVAL", call: "KVM_SET_VCPU_EVENTS", reason: broken });
  const { exception, interrupt, nmi, flags } = events;
  const write = (name: string, value: number): void => {
    port.setRegister(vcpu, name, BigInt(value));
  };
  write("exception_pending", exception.injected ? EventKind.exception : EventKind.none);
  if (exception.injected) {
    write("exception_vector", exception.nr);
    write("exception_error_code", exception.hasErrorCode ? exception.errorCode >>> 0 : 0);
  }
  if ((flags & VcpuEventFlag.shadow) !== 0) write("interrupt_shadow", interrupt.shadow);
  if ((flags & VcpuEventFlag.nmiPending) !== 0) write("nmi_pending", nmi.pending ? 1 : 0);
  write("nmi_blocked", nmi.masked ? 1 : 0);
}
