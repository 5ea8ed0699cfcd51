/** KVM_RUN on arm64, and a program around it: `GenericSession` with what is arm64's own. */
import {
  type ArchitectureApi,
  completeRead,
  createRecorder,
  describeBareMachine,
  GenericSession,
  KvmError,
  type MachineDescription,
  type Recorder,
  resumeRecorder,
  type SessionOptions,
  type ToldExit,
  type VmOptions,
} from "@hvjournal/core";
import { arm64 } from "../kvm/architecture.js";
import { isInitialized } from "../kvm/control/control-state.js";
import { MpState } from "../kvm/control/vcpu-part.js";
import { kvmArm64 } from "../kvm/exit-model.js";
import { type ArmRun, describeRun } from "./kvm-run.js";
import { KvmVm } from "./kvm-vm.js";

/** ESR_EL2.EC of a software step and of a breakpoint, from a lower exception level, with IL. */
const HSR_STEP = 0xca00_0022;
const HSR_BREAKPOINT = 0xc200_0022;

/** What a machine without a board is described as, for the header of its recording. */
export function bareMachine(options: VmOptions): MachineDescription {
  return describeBareMachine(arm64, kvmArm64, {
    ...options,
    cpuModel: options.cpuModel ?? "cortex-a57",
    memoryBase: options.memoryBase ?? 0x4000_0000,
  });
}

const ARM64_API: ArchitectureApi<KvmVm, ArmRun> = {
  architecture: arm64,

  vmOf: (port) => new KvmVm(port),

  checkRunnable(vm) {
    for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++)
      if (!isInitialized(vm.controlState, vcpu))
        throw new KvmError({
          errno: "ENOEXEC",
          call: "KVM_RUN",
          reason: `vcpu${vcpu} has had no KVM_ARM_VCPU_INIT`,
        });
  },

  /** A vCPU that is stopped blocks in KVM_RUN until somebody starts it: here nobody is left to. */
  blockedBy: (vm) =>
    vm.vcpus.some((vcpu) => vcpu.getMpState() !== MpState.stopped) ? undefined : "every vCPU is stopped",

  describe(vm, frame, exitNumber): ToldExit<ArmRun> {
    const run = describeRun(vm, frame, exitNumber);
    if (run.exitReason !== "MMIO" || run.mmio.isWrite) return { run };
    return { run, answer: (port) => completeRead(port, run.mmio), isRestarted: true };
  },

  describeDebug: ({ vcpu, pc, isStep }) => ({
    exitReason: "DEBUG",
    vcpu,
    exitNumber: 0,
    debug: { hsr: isStep ? HSR_STEP : HSR_BREAKPOINT, far: pc },
  }),
};

export class KvmSession extends GenericSession<KvmVm, ArmRun> {
  /** KVM_CREATE_VM and KVM_CREATE_VCPU: the vCPUs wait for their KVM_ARM_VCPU_INIT. */
  static create(options: SessionOptions): KvmSession {
    const { recorder, half } = createRecorder(arm64, options);
    return new KvmSession(ARM64_API, recorder, half);
  }

  /** Goes on with a VM that another program has left, from a full snapshot. */
  static resume(options: SessionOptions, snapshot: Parameters<typeof Recorder.resume>[1]): KvmSession {
    const { recorder, half } = resumeRecorder(arm64, options, snapshot);
    return new KvmSession(ARM64_API, recorder, half);
  }
}
