/**
 * A VM as a VMM sees it through KVM on x86: the ioctls of its file descriptor, and of its vCPUs. Names, scopes and errno are
 * KVM's (Documentation/virt/kvm/api.rst). Each call that changes something is a command, and an event of the journal
 * when the rules accept it. What upstream does not have lies in private numbers: capabilities from 0x10000.
 */
import {
  accepted,
  GenericVm,
  KvmError,
  type VmmPort,
  type WholeNumber,
  wholeNumber,
  wideNumber,
} from "@hvjournal/core";
import { type Amd64ControlState, amd64ControlSlice } from "../kvm/control-slice.js";
import type { GsiRoute, Irqfd } from "../kvm/gsi-routes.js";
import { hostUnder } from "../kvm/host-model.js";
import { checkCapability, type EnableCap, enableCapability } from "./enable-cap.js";
import { KvmSystem } from "./kvm-system.js";
import { KVM_CLOCK } from "../kvm/named-registers.js";
import { KvmVcpu } from "./kvm-vcpu.js";

/** `struct kvm_msr_filter`. */
export interface MsrFilterOptions {
  /** KVM_MSR_FILTER_DEFAULT_DENY: 1. */
  readonly flags: number;
  readonly ranges: readonly {
    /** KVM_MSR_FILTER_READ: 1, KVM_MSR_FILTER_WRITE: 2. */
    readonly flags: number;
    readonly nmsrs: number;
    readonly base: number;
    /** A bit for each, least significant first: 1 allows. */
    readonly bitmap: Uint8Array;
  }[];
}

/** `struct kvm_xen_hvm_config`. */
export interface XenHvmOptions {
  /** KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL: 2. */
  readonly flags?: number;
  /** By a write of which the guest gets its page of calls; 0: by none. */
  readonly msr: number;
  /** Whole pages, for a guest outside long mode, and in it; with flag 2 KVM makes the page. */
  readonly blob32?: Uint8Array;
  readonly blob64?: Uint8Array;
}

const NO_BLOB = new Uint8Array(0);

export class KvmVm extends GenericVm<Amd64ControlState, KvmVcpu> {
  readonly #port: VmmPort;

  /** `port`: the one through which the VMM acts. */
  constructor(port: VmmPort) {
    super(port, (own, index) => new KvmVcpu(own, index));
    this.#port = port;
  }

  /** /dev/kvm of the host that the VM is on. */
  get system(): KvmSystem {
    return new KvmSystem(hostUnder(this.controlState), this.controlState);
  }

  /** KVM_CHECK_EXTENSION: 0 for what there is not, never an error. */
  checkExtension(cap: number | string): number {
    return checkCapability(cap, this.controlState);
  }

  /** Not an ioctl of a VM: /dev/kvm and vCPUs have it. Throws KvmError: ENOTTY. */
  getSupportedHvCpuid(): never {
    const reason = "a VM has no such ioctl; /dev/kvm and vCPUs have";
    throw new KvmError({ errno: "ENOTTY", call: "KVM_GET_SUPPORTED_HV_CPUID", reason });
  }

  /** KVM_ENABLE_CAP on the VM. Throws KvmError: EINVAL, EBUSY. */
  enableCap(capability: EnableCap): void {
    enableCapability(this.#port, capability);
  }

  /**
   * Not an ioctl: a word of the command line and its text, as `record` and `ctl` take them: ("hv", "all"). Throws KvmError: what
   * the rules refuse; RangeError: the text is wrong.
   */
  configure(word: string, text: string): void {
    const command = amd64ControlSlice.parse(word, text);
    if (typeof command === "string") throw new RangeError(`${word} ${text}: ${command}`);
    accepted(this.#port.control(command));
  }

  /** KVM_HYPERV_EVENTFD. Throws KvmError: EINVAL, EBADF, EEXIST, ENOENT. */
  hypervEventfd({
    connId,
    fd,
    flags = 0,
  }: {
    readonly connId: number;
    readonly fd: number;
    readonly flags?: number;
  }): void {
    accepted(this.#port.control({ name: "hv-eventfd", connectionId: connId, fd, flags }));
  }

  /** KVM_X86_SET_MSR_FILTER: takes the place of the one that there is. Throws KvmError: EINVAL. */
  setMsrFilter({ flags, ranges }: MsrFilterOptions): void {
    const plain = ranges.map(({ flags: own, nmsrs, base, bitmap }) => ({ flags: own, base, count: nmsrs, bitmap }));
    accepted(this.#port.control({ name: "msr-filter", flags, ranges: plain }));
  }

  /** KVM_XEN_HVM_CONFIG: takes the place of the one that there is. Throws KvmError: EINVAL. */
  xenHvmConfig({ flags = 0, msr, blob32 = NO_BLOB, blob64 = NO_BLOB }: XenHvmOptions): void {
    accepted(this.#port.control({ name: "xen", flags, msr, blob32, blob64 }));
  }

  /** KVM_SET_BOOT_CPU_ID: EBUSY, for vCPUs come with the VM. */
  setBootCpuId(id: number): never {
    const reason = `${id}: there are vCPUs`;
    throw new KvmError({ errno: "EBUSY", call: "KVM_SET_BOOT_CPU_ID", reason });
  }

  /** KVM_GET_CLOCK: nanoseconds. */
  getClock(): bigint {
    return this.#port.readRegister(0, KVM_CLOCK);
  }

  /** KVM_SET_CLOCK: nanoseconds. */
  setClock(ns: WholeNumber): void {
    this.#port.setRegister(0, KVM_CLOCK, wideNumber("setClock: ns", ns));
  }

  /** KVM_SIGNAL_MSI: by the message's address and data. */
  signalMsi({ address, data }: { readonly address: WholeNumber; readonly data: WholeNumber }): void {
    this.#port.sendMsi(wideNumber("signalMsi: address", address), wholeNumber("signalMsi: data", data));
  }

  /**
   * KVM_SET_GSI_ROUTING of GSIs from 24 on, in the place of what there was: messages, and SINTs of Hyper-V's SynIC. Pins are
   * wired as on a PC. Throws KvmError: EINVAL.
   */
  setGsiRouting(routes: readonly GsiRoute[]): void {
    accepted(this.#port.control({ name: "gsi-routing", routes: routes.map((route) => ({ ...route })) }));
  }

  /** KVM_IRQFD; flags: 1 DEASSIGN. Throws KvmError: EINVAL, EBADF, EBUSY. */
  irqfd({ fd, gsi, flags = 0 }: Irqfd & { readonly flags?: number }): void {
    accepted(this.#port.control({ name: "irqfd", fd, gsi, flags }));
  }

  /** write(2) of an eventfd that KVM_IRQFD has bound: its GSI is raised. Throws KvmError: EBADF for any other. */
  signalIrqfd(fd: number): void {
    const bound = this.controlState.irqfds?.find((each) => each.fd === fd);
    if (bound === undefined)
      throw new KvmError({ errno: "EBADF", call: "write", reason: `eventfd ${fd} is bound to no GSI` });
    this.#port.setIrqLine(bound.gsi, 1);
    this.#port.setIrqLine(bound.gsi, 0);
  }

  /** KVM_IRQ_LINE of a GSI. */
  setIrqLine(gsi: WholeNumber, level: 0 | 1): void {
    this.#port.setIrqLine(wholeNumber("setIrqLine: gsi", gsi), level);
  }
}
