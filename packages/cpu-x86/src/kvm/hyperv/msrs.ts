/**
 * Hyper-V's MSRs as KVM has them (arch/x86/kvm/hyperv.c). Which a guest may use follows from its CPUID only where
 * KVM_CAP_HYPERV_ENFORCE_CPUID asks for it.
 */
import { CAP_HYPERV_ENFORCE_CPUID, CAP_HYPERV_SYNIC, CAP_HYPERV_SYNIC2 } from "../capabilities.js";
import { isEnabled, isSwitchedOn } from "../control/control-state.js";
import { hypervOffer } from "../cpuid.js";
import { HOST_CALL } from "../hypercall-patching.js";
import { APIC_BUS_HZ } from "../irqchip/apic-timer.js";
import { ApicRegister } from "../irqchip/apic-registers.js";
import type { MsrAccess } from "../msr-access.js";
import { isInRam, writeEoiPlace } from "../paravirtual.js";
import { TSC_HZ } from "../time-stamp-counter.js";
import type { Vm } from "../vm.js";
import { interceptsXenCalls } from "../xen/xen-config.js";
import { Feature, Privilege } from "./features.js";
import type { HypervOffer } from "./leaves.js";
import { referenceTime, tellReferenceTime, UNIT_NS } from "./reference-time.js";
import {
  CRASH_PARAMETERS,
  HypervMsr,
  SINT_COUNT,
  STIMER_COUNT,
  type VcpuRegisters,
  type VmRegisters,
} from "./registers.js";
import { deliverPending, isDirect, timerOf, writeSint, writeTimerConfig, writeTimerCount } from "./synic.js";

const M = HypervMsr;
const ENABLED = 1n;
const PAGE_BYTES = 4096;
const SYNIC_VERSION = 1n;
/** KVM_MAX_VCPUS. */
const VP_INDEX_END = 1024n;
const RUNTIME_MAX: bigint = BigInt(Number.MAX_SAFE_INTEGER) / BigInt(UNIT_NS);
const CRASH_NOTIFY = 1n << 63n;

const DEBUGGER = [
  [M.HV_X64_MSR_SYNDBG_CONTROL, "debugControl"],
  [M.HV_X64_MSR_SYNDBG_STATUS, "debugStatus"],
  [M.HV_X64_MSR_SYNDBG_SEND_BUFFER, "debugSendPage"],
  [M.HV_X64_MSR_SYNDBG_RECV_BUFFER, "debugReceivePage"],
  [M.HV_X64_MSR_SYNDBG_PENDING_BUFFER, "debugPendingPage"],
  [M.HV_X64_MSR_SYNDBG_OPTIONS, "debugOptions"],
] as const;

/** OR EAX, 0x80000000: tells a call from Xen's, where those are on as well. */
const OF_HYPERV = [0x0d, 0x00, 0x00, 0x00, 0x80] as const;
const RET = 0xc3;

type VmName = Exclude<keyof VmRegisters, "crash">;
type VcpuName = Exclude<keyof VcpuRegisters, "sints" | "timers" | "vpIndex">;

const readOnly = (read: (vm: Vm) => bigint): MsrAccess => ({ read, write: () => false });

/** The VMM's writes are taken, and change nothing: it follows from something else. */
const derived = (read: (vm: Vm) => bigint): MsrAccess => ({ ...readOnly(read), hostWrite: () => true });

function vmRegister(
  name: VmName,
  write?: (vm: Vm, value: bigint) => boolean,
): Required<Pick<MsrAccess, "read" | "write">> {
  return {
    read: ({ hyperv }) => hyperv.vm[name],
    write(vm, value) {
      if (write?.(vm, value) === false) return false;
      vm.hyperv.vm[name] = value;
      return true;
    },
  };
}

function vcpuRegister(name: VcpuName, after?: (vm: Vm, value: bigint) => void): MsrAccess {
  return {
    read: ({ hyperv, current }) => hyperv.of(current)[name],
    write(vm, value) {
      vm.hyperv.of(vm.current)[name] = value;
      after?.(vm, value);
      return true;
    },
  };
}

/** Writing 0 disables the page of calls. */
const guestOsId: MsrAccess = {
  read: ({ hyperv }) => hyperv.vm.guestOsId,
  write({ hyperv }, value) {
    hyperv.vm.guestOsId = value;
    if (value === 0n) hyperv.vm.hypercall &= ~ENABLED;
    return true;
  },
};

function callPage({ control, hostVendor }: Vm): Uint8Array {
  return Uint8Array.of(...(interceptsXenCalls(control.xenHvm) ? OF_HYPERV : []), ...HOST_CALL[hostVendor], RET);
}

/** Without an identity a write is lost. The page holds the call of the host's vendor. */
const hypercall: MsrAccess = {
  read: ({ hyperv }) => hyperv.vm.hypercall,
  write(vm, value) {
    const { memory } = vm.engine;
    if (vm.hyperv.vm.guestOsId === 0n) return true;
    if ((value & ENABLED) !== 0n) {
      const page = value & ~0xfffn;
      if (!isInRam(memory, page, PAGE_BYTES)) return false;
      memory.write(Number(page), callPage(vm));
    }
    vm.hyperv.vm.hypercall = value;
    return true;
  },
};

/** Of the page only the first word is cleared: it is the guest's state, and moves with it. */
const assistPage: MsrAccess = {
  read: ({ hyperv, current }) => hyperv.of(current).assistPage,
  write(vm, value) {
    const { memory } = vm.engine;
    if ((value & ENABLED) !== 0n) {
      const page = value & ~0xfffn;
      if (!isInRam(memory, page, PAGE_BYTES)) return false;
      memory.write(Number(page), new Uint8Array(4));
    }
    vm.hyperv.of(vm.current).assistPage = value;
    return writeEoiPlace(vm, (value & ENABLED) === 0n ? 0n : value & ~0xffen);
  },
};

function clearPage(vm: Vm, value: bigint): void {
  const page = value & ~0xfffn;
  // SYNIC2 leaves the pages as they are.
  const clears =
    isEnabled(vm.control, CAP_HYPERV_SYNIC, vm.current) && !isEnabled(vm.control, CAP_HYPERV_SYNIC2, vm.current);
  if ((value & ENABLED) === 0n || !clears || !isInRam(vm.engine.memory, page, PAGE_BYTES)) return;
  vm.engine.memory.write(Number(page), new Uint8Array(PAGE_BYTES));
}

const endOfMessage: MsrAccess = {
  read: () => 0n,
  write(vm) {
    deliverPending(vm, vm.current);
    return true;
  },
};

function apicRegister(offset: number, isReadable: boolean): MsrAccess {
  return {
    read: (vm) => (isReadable ? BigInt(vm.irqchip.apicOf(vm.current).read(offset, vm.guestTimeNs) ?? 0) : undefined),
    write: (vm, value) => vm.irqchip.apicOf(vm.current).write(offset, Number(value & 0xffff_ffffn), vm.guestTimeNs),
  };
}

/** ICR of 64 bits: the destination in bits 63 to 56, or in the upper half where the APIC is an x2APIC. */
const interruptCommand: MsrAccess = {
  read: (vm) => vm.irqchip.apicOf(vm.current).commandValue,
  write(vm, value) {
    const apic = vm.irqchip.apicOf(vm.current);
    apic.command(Number(value & 0xffff_ffffn), Number(value >> (apic.isX2apic ? 32n : 56n)));
    return true;
  },
};

/** A timer in direct mode is refused where that is not offered. */
function writeGuestTimer(vm: Vm, index: number, value: bigint): boolean {
  const isRefused =
    isDirect(value) && isEnforced(vm) && ((hypervOffer(vm, vm.current)?.features ?? 0) & Feature.directTimers) === 0;
  return !isRefused && writeTimerConfig(vm, index, value);
}

function synicRegisters(): (readonly [number, MsrAccess])[] {
  const sints = Array.from({ length: SINT_COUNT }, (_, index): readonly [number, MsrAccess] => [
    M.HV_X64_MSR_SINT0 + index,
    {
      read: ({ hyperv, current }) => hyperv.of(current).sints[index],
      write: (vm, value) => writeSint(vm, index, value),
      hostWrite(vm, value) {
        vm.hyperv.of(vm.current).sints[index] = value;
        return true;
      },
    },
  ]);
  const timers = Array.from({ length: 2 * STIMER_COUNT }, (_, at): readonly [number, MsrAccess] => {
    const msr = M.HV_X64_MSR_STIMER0_CONFIG + at;
    const { index = 0, isConfig = true } = timerOf(msr) ?? {};
    return [
      msr,
      {
        read: ({ hyperv, current }) => hyperv.of(current).timers[index]?.[isConfig ? "config" : "count"],
        write: (vm, value) => (isConfig ? writeGuestTimer(vm, index, value) : writeTimerCount(vm, index, value, true)),
        hostWrite: (vm, value) =>
          isConfig ? writeTimerConfig(vm, index, value) : writeTimerCount(vm, index, value, false),
      },
    ];
  });
  return [
    [M.HV_X64_MSR_SCONTROL, vcpuRegister("control")],
    [M.HV_X64_MSR_SVERSION, readOnly(() => SYNIC_VERSION)],
    [M.HV_X64_MSR_SIEFP, vcpuRegister("eventPage", clearPage)],
    [M.HV_X64_MSR_SIMP, vcpuRegister("messagePage", clearPage)],
    [M.HV_X64_MSR_EOM, endOfMessage],
    ...sints,
    ...timers,
  ];
}

const crashParameters = Array.from({ length: CRASH_PARAMETERS }, (_, index): readonly [number, MsrAccess] => [
  M.HV_X64_MSR_CRASH_P0 + index,
  {
    read: ({ hyperv }) => hyperv.vm.crash[index],
    write({ hyperv }, value) {
      hyperv.vm.crash[index] = value;
      return true;
    },
  },
]);

const registers: ReadonlyMap<number, MsrAccess> = new Map<number, MsrAccess>([
  [M.HV_X64_MSR_GUEST_OS_ID, guestOsId],
  [M.HV_X64_MSR_HYPERCALL, hypercall],
  [
    M.HV_X64_MSR_VP_INDEX,
    {
      ...readOnly(({ hyperv, current }) => BigInt(hyperv.vpIndexOf(current))),
      hostWrite({ hyperv, current }, value) {
        if (value >= VP_INDEX_END) return false;
        hyperv.of(current).vpIndex = value === BigInt(current) ? undefined : value;
        return true;
      },
    },
  ],
  // A write of 1 is the VMM's: see `routeMsr`.
  [M.HV_X64_MSR_RESET, { read: () => 0n, write: () => true }],
  [
    M.HV_X64_MSR_VP_RUNTIME,
    {
      ...readOnly((vm) => BigInt(Math.floor(vm.schedule.currentState.ranNs / UNIT_NS))),
      hostWrite(vm, value) {
        if (value > RUNTIME_MAX) return false;
        vm.schedule.currentState.ranNs = Number(value) * UNIT_NS;
        return true;
      },
    },
  ],
  [M.HV_X64_MSR_TIME_REF_COUNT, derived(referenceTime)],
  [
    M.HV_X64_MSR_REFERENCE_TSC,
    {
      read: ({ hyperv }) => hyperv.vm.referenceTsc,
      write(vm, value) {
        vm.hyperv.vm.referenceTsc = value;
        vm.hyperv.vm.referenceClockNs = 0n;
        tellReferenceTime(vm);
        return true;
      },
    },
  ],
  [M.HV_X64_MSR_TSC_FREQUENCY, derived(() => BigInt(TSC_HZ))],
  [M.HV_X64_MSR_APIC_FREQUENCY, derived(() => BigInt(APIC_BUS_HZ))],
  [M.HV_X64_MSR_EOI, apicRegister(ApicRegister.endOfInterrupt, false)],
  [M.HV_X64_MSR_ICR, interruptCommand],
  [M.HV_X64_MSR_TPR, apicRegister(ApicRegister.taskPriority, true)],
  [M.HV_X64_MSR_VP_ASSIST_PAGE, assistPage],
  ...synicRegisters(),
  ...crashParameters,
  ...DEBUGGER.map(([msr, name]): readonly [number, MsrAccess] => [msr, vmRegister(name)]),
  // A write of a guest is the VMM's, and changes nothing; the VMM says whether it takes crashes.
  [
    M.HV_X64_MSR_CRASH_CTL,
    {
      read: ({ hyperv }) => hyperv.vm.crashControl,
      write: () => true,
      hostWrite({ hyperv }, value) {
        hyperv.vm.crashControl = value & CRASH_NOTIFY;
        return true;
      },
    },
  ],
  [M.HV_X64_MSR_REENLIGHTENMENT_CONTROL, vmRegister("reenlightenment")],
  [M.HV_X64_MSR_TSC_EMULATION_CONTROL, vmRegister("tscEmulationControl")],
  [
    M.HV_X64_MSR_TSC_EMULATION_STATUS,
    {
      ...vmRegister("tscEmulationStatus", (_vm, value) => value === 0n),
      hostWrite: vmRegister("tscEmulationStatus").write,
    },
  ],
  [
    M.HV_X64_MSR_TSC_INVARIANT_CONTROL,
    {
      ...vmRegister("invariantTsc", ({ hyperv }, value) => value <= 1n && value >= hyperv.vm.invariantTsc),
      hostWrite: vmRegister("invariantTsc", (_vm, value) => value <= 1n).write,
    },
  ],
]);

function isOfDebugger(msr: number): boolean {
  return msr >= M.HV_X64_MSR_SYNDBG_CONTROL && msr <= M.HV_X64_MSR_SYNDBG_OPTIONS;
}

const FIRST = 0x4000_0000;
const LAST = 0x4000_01ff;

export function isHypervMsr(msr: number): boolean {
  return msr >= FIRST && msr <= LAST;
}

/** What CPUID must offer for each: bits of EAX or EDX of leaf 0x40000003. */
function isOffered(bits: HypervOffer, msr: number): boolean {
  const needs = (privilege: number): boolean => (bits.privileges & privilege) !== 0;
  const has = (feature: number): boolean => (bits.features & feature) !== 0;
  if (msr <= M.HV_X64_MSR_HYPERCALL) return needs(Privilege.hypercall);
  if (msr === M.HV_X64_MSR_VP_INDEX) return needs(Privilege.vpIndex);
  if (msr === M.HV_X64_MSR_RESET) return needs(Privilege.reset);
  if (msr === M.HV_X64_MSR_VP_RUNTIME) return needs(Privilege.vpRuntime);
  if (msr === M.HV_X64_MSR_TIME_REF_COUNT) return needs(Privilege.timeReferenceCount);
  if (msr === M.HV_X64_MSR_REFERENCE_TSC) return needs(Privilege.referenceTsc);
  if (msr <= M.HV_X64_MSR_APIC_FREQUENCY) return needs(Privilege.frequency);
  if (msr <= M.HV_X64_MSR_VP_ASSIST_PAGE) return needs(Privilege.apic);
  if (msr < M.HV_X64_MSR_STIMER0_CONFIG) return needs(Privilege.synic);
  if (msr < M.HV_X64_MSR_SYNDBG_CONTROL) return needs(Privilege.syntheticTimers);
  if (msr < M.HV_X64_MSR_CRASH_P0) return has(Feature.debugMsrs);
  if (msr <= M.HV_X64_MSR_CRASH_CTL) return has(Feature.crash);
  if (msr === M.HV_X64_MSR_TSC_INVARIANT_CONTROL) return needs(Privilege.invariantTsc);
  return needs(Privilege.reenlightenment);
}

function needsSynic(msr: number): boolean {
  return msr >= M.HV_X64_MSR_SCONTROL && msr < M.HV_X64_MSR_SYNDBG_CONTROL;
}

/** The SynIC is there where a vCPU has the capability; the command line's list of features enables it too. */
export function hasSynic({ control, current }: Vm): boolean {
  const byCapability = isEnabled(control, CAP_HYPERV_SYNIC, current) || isEnabled(control, CAP_HYPERV_SYNIC2, current);
  return byCapability || control.hypervPassthrough === true || control.hyperv?.features.includes("synic") === true;
}

function isEnforced(vm: Vm): boolean {
  return isSwitchedOn(vm.control, CAP_HYPERV_ENFORCE_CPUID, vm.current);
}

/** Of the current vCPU's guest. undefined: #GP. */
export function hypervMsrOf(vm: Vm, msr: number): MsrAccess | undefined {
  const access = registers.get(msr);
  const offer = hypervOffer(vm, vm.current);
  if (access === undefined || offer === undefined) return undefined;
  if (isEnforced(vm) && !isOffered(offer, msr)) return undefined;
  if (isOfDebugger(msr) && !offer.allowsDebugging) return undefined;
  return needsSynic(msr) && !hasSynic(vm) ? undefined : access;
}

/** Of the VMM, whatever CPUID offers the guest. undefined: there is none of this number. */
export function hostHypervMsrOf(vm: Vm, msr: number): MsrAccess | undefined {
  const access = registers.get(msr);
  if (access === undefined || !needsSynic(msr) || hasSynic(vm)) return access;
  // What was saved can be restored once the SynIC has been enabled; nothing to restore never fails.
  return { read: access.read, write: (_vm, value) => value === 0n };
}
