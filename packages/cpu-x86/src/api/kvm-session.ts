/** KVM_RUN on x86, and a program around it: `GenericSession` with what is x86's own. */
import {
  type ArchitectureApi,
  createRecorder,
  describeBareMachine,
  GenericSession,
  KvmError,
  type MachineDescription,
  type Recorder,
  resumeRecorder,
  type SessionOptions,
  type VmOptions,
} from "@hvjournal/core";
import { amd64 } from "../kvm/architecture.js";
import { CPU_MODEL } from "../kvm/cpu-model.js";
import { kvmAmd, kvmIntel } from "../kvm/exit-model.js";
import { hostNamed } from "../kvm/host-model.js";
import { MpState } from "../kvm/schedule.js";
import { describeRun, type X86Run } from "./kvm-run.js";
import { KvmVm } from "./kvm-vm.js";
import type { KvmRegs, KvmSregs } from "./regs.js";
import type { VcpuEvents } from "./vcpu-events.js";

/** Vectors of `kvm_run.debug.arch.exception`. */
const DEBUG_EXCEPTION = 1;
/** DR6 of a step, and of the first breakpoint; bits 11 to 4 and 31 to 16 are always set. */
const DR6_STEP = 0xffff_4ff0n;
const DR6_BREAKPOINT = 0xffff_0ff1n;

/** What a machine without a board is described as, for the header of its recording. */
export function bareMachine(options: VmOptions & { readonly host?: string }): MachineDescription {
  const host = hostNamed(options.host ?? "intel");
  const machine = describeBareMachine(amd64, host.vendor === "amd" ? kvmAmd : kvmIntel, {
    ...options,
    cpuModel: options.cpuModel ?? CPU_MODEL,
    memoryBase: options.memoryBase ?? 0,
  });
  const { name, version } = host;
  return options.host === undefined && host.vendor === "intel" ? machine : { ...machine, host: { name, version } };
}

const X86_API: ArchitectureApi<KvmVm, X86Run> = {
  architecture: amd64,

  vmOf: (port) => new KvmVm(port),

  checkRunnable(vm) {
    if (vm.vcpus.some((vcpu) => vcpu.getMpState() !== MpState.uninitialized)) return;
    throw new KvmError({ errno: "EAGAIN", call: "KVM_RUN", reason: "no vCPU has had its INIT" });
  },

  blockedBy: () => undefined,

  describe: describeRun,

  describeDebug: ({ vcpu, pc, isStep }) => ({
    exitReason: "DEBUG",
    vcpu,
    exitNumber: 0,
    debug: { exception: DEBUG_EXCEPTION, pc, dr6: isStep ? DR6_STEP : DR6_BREAKPOINT },
  }),
};

const SYNC_REGS = 1;
const SYNC_SREGS = 2;
const SYNC_EVENTS = 4;
const SYNC_ALL = SYNC_REGS | SYNC_SREGS | SYNC_EVENTS;

/** KVM_CAP_SYNC_REGS: `kvm_run`'s fields of one vCPU. */
export interface SyncedRegs {
  readonly vcpu?: number;
  /** What is to be told after the run: 1 registers, 2 system registers, 4 events. */
  readonly validRegs?: number;
  /** What of `given` is taken before it. */
  readonly dirtyRegs?: number;
  readonly given?: TakenRegs;
}

export interface TakenRegs {
  readonly regs?: KvmRegs;
  readonly sregs?: KvmSregs;
  readonly events?: VcpuEvents;
}

/** With what a program does between KVM_CREATE_VM and the first KVM_CREATE_VCPU. */
export interface CreateOptions extends SessionOptions {
  readonly beforeVcpus?: (vm: Pick<KvmVm, "checkExtension" | "enableCap">) => void;
}

export class KvmSession extends GenericSession<KvmVm, X86Run> {
  /**
   * KVM_RUN with `kvm_valid_regs` and `kvm_dirty_regs`: takes what is dirty, runs, and tells what is valid. Throws KvmError:
   * EINVAL for bits that there are not, and what KVM_RUN and the ioctls have.
   */
  runSynced(
    { vcpu: index = 0, validRegs = 0, dirtyRegs = 0, given = {} }: SyncedRegs,
    options?: Parameters<KvmSession["run"]>[0],
  ): { readonly run: ReturnType<KvmSession["run"]>; readonly synced: TakenRegs } {
    const unknown = (validRegs | dirtyRegs) & ~SYNC_ALL;
    if (unknown !== 0)
      throw new KvmError({
        errno: "EINVAL",
        call: "KVM_RUN",
        reason: `bits ${unknown} of the registers are not known`,
      });
    const vcpu = this.vm.vcpu(index);
    if ((dirtyRegs & SYNC_REGS) !== 0 && given.regs !== undefined) vcpu.setRegs(given.regs);
    if ((dirtyRegs & SYNC_SREGS) !== 0 && given.sregs !== undefined) vcpu.setSregs(given.sregs);
    if ((dirtyRegs & SYNC_EVENTS) !== 0 && given.events !== undefined) vcpu.setVcpuEvents(given.events);
    const run = this.run(options);
    return {
      run,
      synced: {
        ...((validRegs & SYNC_REGS) === 0 ? {} : { regs: vcpu.getRegs() }),
        ...((validRegs & SYNC_SREGS) === 0 ? {} : { sregs: vcpu.getSregs() }),
        ...((validRegs & SYNC_EVENTS) === 0 ? {} : { events: vcpu.getVcpuEvents() }),
      },
    };
  }

  /** KVM_CREATE_VM, KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2 and KVM_CREATE_VCPU. All vCPUs but the first wait for INIT and SIPI. */
  static create({ beforeVcpus, ...options }: CreateOptions): KvmSession {
    const { recorder, half } = createRecorder(amd64, {
      ...options,
      ...(beforeVcpus && { beforeVcpus: (port) => beforeVcpus(new KvmVm(port)) }),
    });
    return new KvmSession(X86_API, recorder, half);
  }

  /** Goes on with a VM that another program has left, from a full snapshot. */
  static resume(options: SessionOptions, snapshot: Parameters<typeof Recorder.resume>[1]): KvmSession {
    const { recorder, half } = resumeRecorder(amd64, options, snapshot);
    return new KvmSession(X86_API, recorder, half);
  }
}
