export { refreshDerived } from "./isa/context.js";
export { longModeValues, x86Cpu } from "./isa/cpu.js";
export { ExitCode, NotSimulated } from "./isa/exit-code.js";
export { materializeFlags } from "./isa/flags.js";
export * as vcpuState from "./isa/state.js";
export { type Encoding, parseEncoding, undefinedFlagsOf } from "./isa/encoding.js";
export type { DecodedFields } from "./isa/fields.js";
export { amd64 } from "./kvm/architecture.js";
export { generalInstructions } from "./isa/instructions/general.js";
export { policyTable as amd64Policies } from "./kvm/control/policies.js";
export { amd64Code } from "./kvm/prepared-code.js";
export { exitModelsMarkdown } from "./kvm/exit-document.js";
export { hypervCallName, KVM_CALL_NAMES, kvmCallName, xenCallName } from "./kvm/call-names.js";
export {
  hypervCallTitle,
  type RecordedHypervCall,
  recordedHypervCall,
  recordedXenCall,
  xenCallTitle,
} from "./kvm/recorded-calls.js";
export { HypervExit } from "./kvm/hyperv/exit-types.js";
export { HypervMsr } from "./kvm/hyperv/registers.js";
export { xenCallInfo, xenParameters } from "./kvm/xen/exit-info.js";
export { MSR_ERROR } from "./kvm/named-registers.js";
export { inputOf as hypervInputOf } from "./kvm/hyperv/hypercall-input.js";
export { HvCall } from "./kvm/hyperv/call-codes.js";
export { HvStatus } from "./kvm/hyperv/status.js";
export { carriesXmm, outputBlock, outputRegister } from "./kvm/hyperv/xmm-output.js";
export { msrName } from "./kvm/msr-names.js";
export type { Amd64ControlState } from "./kvm/control-slice.js";
export type { EnableCap } from "./api/enable-cap.js";
export { bareMachine, KvmSession } from "./api/kvm-session.js";
export { KvmVcpu, type MsrEntry } from "./api/kvm-vcpu.js";
export { KvmSystem } from "./api/kvm-system.js";
export type { Dependency, SupportedHypervCpuid } from "./api/supported-cpuid.js";
export type { CpuidEntry } from "./kvm/cpuid-entry.js";
export type { KvmRegs, KvmSegment, KvmSregs } from "./api/regs.js";
export type { VcpuEvents } from "./api/vcpu-events.js";
export { KvmVm, type MsrFilterOptions, type XenHvmOptions } from "./api/kvm-vm.js";
export type * from "./api/kvm-run.js";
export { APIC_BUS_HZ } from "./kvm/irqchip/apic-timer.js";
export { TSC_HZ } from "./kvm/time-stamp-counter.js";
