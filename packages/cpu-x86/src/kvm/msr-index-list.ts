/**
 * KVM_GET_MSR_INDEX_LIST: what a VMM saves (arch/x86/kvm/x86.c, msrs_to_save_all and emulated_msrs_all). Of Hyper-V's it names
 * some of each kind: SIEFP, SIMP, the SINTs and all synthetic timers but the first a VMM has to add itself.
 */
import { HypervMsr as H } from "./hyperv/registers.js";
import { KEPT_MSRS } from "./kept-msrs.js";
import { Msr } from "./msr-names.js";

const CRASH_PARAMETERS = 5;
/** FS and GS are in KVM_GET_SREGS. */
const IN_SREGS: ReadonlySet<number> = new Set([0xc000_0100, 0xc000_0101, 0xc000_0080]);

const HYPERV: readonly number[] = [
  ...[H.HV_X64_MSR_GUEST_OS_ID, H.HV_X64_MSR_HYPERCALL, H.HV_X64_MSR_TIME_REF_COUNT, H.HV_X64_MSR_REFERENCE_TSC],
  ...[H.HV_X64_MSR_TSC_FREQUENCY, H.HV_X64_MSR_APIC_FREQUENCY],
  ...Array.from({ length: CRASH_PARAMETERS }, (_, index) => H.HV_X64_MSR_CRASH_P0 + index),
  ...[H.HV_X64_MSR_CRASH_CTL, H.HV_X64_MSR_RESET, H.HV_X64_MSR_VP_INDEX, H.HV_X64_MSR_VP_RUNTIME],
  ...[H.HV_X64_MSR_SCONTROL, H.HV_X64_MSR_STIMER0_CONFIG, H.HV_X64_MSR_VP_ASSIST_PAGE],
  ...[H.HV_X64_MSR_REENLIGHTENMENT_CONTROL, H.HV_X64_MSR_TSC_EMULATION_CONTROL, H.HV_X64_MSR_TSC_EMULATION_STATUS],
  H.HV_X64_MSR_TSC_INVARIANT_CONTROL,
];

export const MSR_INDEX_LIST: readonly number[] = [
  Msr.IA32_TIME_STAMP_COUNTER,
  ...KEPT_MSRS.map(([msr]) => msr).filter((msr) => !IN_SREGS.has(msr)),
  ...[Msr.IA32_TSC_ADJUST, Msr.IA32_TSC_DEADLINE, Msr.IA32_MISC_ENABLE, Msr.IA32_MCG_STATUS, Msr.IA32_BIOS_SIGN_ID],
  ...[Msr.MSR_KVM_WALL_CLOCK_NEW, Msr.MSR_KVM_SYSTEM_TIME_NEW, Msr.MSR_KVM_STEAL_TIME],
  Msr.MSR_KVM_EOI_EN,
  ...HYPERV,
];
