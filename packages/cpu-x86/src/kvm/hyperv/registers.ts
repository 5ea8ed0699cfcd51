/** Numbers of Hyper-V's MSRs, and what the VM and its vCPUs keep of them. Hypervisor Top-Level Functional Specification. */
import { PayloadFields, type PlainValue } from "@hvjournal/core";

export const HypervMsr = {
  HV_X64_MSR_GUEST_OS_ID: 0x4000_0000,
  HV_X64_MSR_HYPERCALL: 0x4000_0001,
  HV_X64_MSR_VP_INDEX: 0x4000_0002,
  HV_X64_MSR_RESET: 0x4000_0003,
  HV_X64_MSR_VP_RUNTIME: 0x4000_0010,
  HV_X64_MSR_TIME_REF_COUNT: 0x4000_0020,
  HV_X64_MSR_REFERENCE_TSC: 0x4000_0021,
  HV_X64_MSR_TSC_FREQUENCY: 0x4000_0022,
  HV_X64_MSR_APIC_FREQUENCY: 0x4000_0023,
  HV_X64_MSR_EOI: 0x4000_0070,
  HV_X64_MSR_ICR: 0x4000_0071,
  HV_X64_MSR_TPR: 0x4000_0072,
  HV_X64_MSR_VP_ASSIST_PAGE: 0x4000_0073,
  HV_X64_MSR_SCONTROL: 0x4000_0080,
  HV_X64_MSR_SVERSION: 0x4000_0081,
  HV_X64_MSR_SIEFP: 0x4000_0082,
  HV_X64_MSR_SIMP: 0x4000_0083,
  HV_X64_MSR_EOM: 0x4000_0084,
  HV_X64_MSR_SINT0: 0x4000_0090,
  HV_X64_MSR_STIMER0_CONFIG: 0x4000_00b0,
  HV_X64_MSR_STIMER0_COUNT: 0x4000_00b1,
  HV_X64_MSR_SYNDBG_CONTROL: 0x4000_00f1,
  HV_X64_MSR_SYNDBG_STATUS: 0x4000_00f2,
  HV_X64_MSR_SYNDBG_SEND_BUFFER: 0x4000_00f3,
  HV_X64_MSR_SYNDBG_RECV_BUFFER: 0x4000_00f4,
  HV_X64_MSR_SYNDBG_PENDING_BUFFER: 0x4000_00f5,
  HV_X64_MSR_SYNDBG_OPTIONS: 0x4000_00ff,
  HV_X64_MSR_CRASH_P0: 0x4000_0100,
  HV_X64_MSR_CRASH_CTL: 0x4000_0105,
  HV_X64_MSR_REENLIGHTENMENT_CONTROL: 0x4000_0106,
  HV_X64_MSR_TSC_EMULATION_CONTROL: 0x4000_0107,
  HV_X64_MSR_TSC_EMULATION_STATUS: 0x4000_0108,
  HV_X64_MSR_TSC_INVARIANT_CONTROL: 0x4000_0118,
} as const;

export const SINT_COUNT = 16;
export const STIMER_COUNT = 4;
export const CRASH_PARAMETERS = 5;
export const SINT_MASKED = 0x1_0000n;

/** Of the VM, whichever vCPU accesses it. */
export interface VmRegisters {
  guestOsId: bigint;
  hypercall: bigint;
  referenceTsc: bigint;
  readonly crash: bigint[];
  crashControl: bigint;
  reenlightenment: bigint;
  tscEmulationControl: bigint;
  tscEmulationStatus: bigint;
  invariantTsc: bigint;
  // Of the synthetic debugger.
  debugControl: bigint;
  debugStatus: bigint;
  debugSendPage: bigint;
  debugReceivePage: bigint;
  debugPendingPage: bigint;
  debugOptions: bigint;
  /** How far KVM's clock had been moved when the reference TSC page was filled, in nanoseconds. */
  referenceClockNs: bigint;
}

export interface SyntheticTimer {
  config: bigint;
  count: bigint;
  /** Guest time of its next expiry; -1: it is not armed. */
  nextNs: number;
  /** A message of it waits for its slot. */
  isPending: boolean;
}

export interface VcpuRegisters {
  /** Undefined: its number. */
  vpIndex: bigint | undefined;
  assistPage: bigint;
  control: bigint;
  eventPage: bigint;
  messagePage: bigint;
  readonly sints: bigint[];
  readonly timers: SyntheticTimer[];
}

function zeros(count: number): bigint[] {
  return Array.from({ length: count }, () => 0n);
}

export function newTimer(): SyntheticTimer {
  return { config: 0n, count: 0n, nextNs: -1, isPending: false };
}

export class HypervRegisters {
  readonly vm: VmRegisters = {
    ...{ guestOsId: 0n, hypercall: 0n, referenceTsc: 0n, crashControl: 0n, reenlightenment: 0n },
    ...{ tscEmulationControl: 0n, tscEmulationStatus: 0n, invariantTsc: 0n, crash: zeros(CRASH_PARAMETERS) },
    ...{ debugControl: 0n, debugStatus: 0n, debugSendPage: 0n, debugReceivePage: 0n, debugPendingPage: 0n },
    ...{ debugOptions: 0n, referenceClockNs: 0n },
  };
  readonly vcpus: readonly VcpuRegisters[];

  constructor(vcpuCount: number) {
    this.vcpus = Array.from({ length: vcpuCount }, () => ({
      ...{ vpIndex: undefined, assistPage: 0n, control: 0n, eventPage: 0n, messagePage: 0n },
      sints: Array.from({ length: SINT_COUNT }, () => SINT_MASKED),
      timers: Array.from({ length: STIMER_COUNT }, newTimer),
    }));
  }

  of(vcpu: number): VcpuRegisters {
    const found = this.vcpus[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpus.length}`);
    return found;
  }

  vpIndexOf(vcpu: number): number {
    return Number(this.of(vcpu).vpIndex ?? vcpu);
  }

  plain(): PlainValue {
    const { crash, ...vm } = this.vm;
    const seldom = SELDOM_NAMES.filter((name) => vm[name] !== 0n).map((name) => [name, vm[name]] as const);
    return {
      vm: {
        ...Object.fromEntries(VM_NAMES.map((name) => [name, vm[name]] as const)),
        ...Object.fromEntries(seldom),
        crash: [...crash],
      },
      vcpus: this.vcpus.map(({ sints, timers, vpIndex, ...pages }) => ({
        ...pages,
        ...(vpIndex === undefined ? {} : { vpIndex }),
        sints: [...sints],
        timers: timers.map((timer) => ({ ...timer })),
      })),
    };
  }

  restore(fields: PayloadFields): void {
    const vm = new PayloadFields("hyperv.vm", fields.map("vm"));
    for (const name of VM_NAMES) this.vm[name] = vm.bigint(name);
    for (const name of SELDOM_NAMES) this.vm[name] = vm.has(name) ? vm.bigint(name) : 0n;
    copyInto(this.vm.crash, vm.array("crash"));
    fields.array("vcpus").forEach((each, vcpu) => {
      this.#restoreVcpu(this.of(vcpu), new PayloadFields(`hyperv.vcpu${vcpu}`, each as never));
    });
  }

  #restoreVcpu(registers: VcpuRegisters, fields: PayloadFields): void {
    for (const name of VCPU_NAMES) registers[name] = fields.bigint(name);
    registers.vpIndex = fields.has("vpIndex") ? fields.bigint("vpIndex") : undefined;
    copyInto(registers.sints, fields.array("sints"));
    fields.array("timers").forEach((each, index) => {
      const saved = new PayloadFields("timer", each as never);
      const timer = registers.timers[index];
      if (timer === undefined) throw new RangeError(`timer ${index} of ${STIMER_COUNT}`);
      timer.config = saved.bigint("config");
      timer.count = saved.bigint("count");
      timer.nextNs = saved.number("nextNs");
      timer.isPending = saved.boolean("isPending");
    });
  }
}

const VM_NAMES = [
  "guestOsId",
  "hypercall",
  "referenceTsc",
  "crashControl",
  "reenlightenment",
  "tscEmulationControl",
  "tscEmulationStatus",
  "invariantTsc",
] as const;
/** Saved where they are not 0. */
const SELDOM_NAMES = [
  ...([
    "debugControl",
    "debugStatus",
    "debugSendPage",
    "debugReceivePage",
    "debugPendingPage",
    "debugOptions",
  ] as const),
  "referenceClockNs",
] as const;
const VCPU_NAMES = ["assistPage", "control", "eventPage", "messagePage"] as const;

function copyInto(target: bigint[], values: readonly unknown[]): void {
  values.forEach((value, index) => {
    target[index] = BigInt(value as bigint | number);
  });
}
