/** Which vCPU runs next, and for how long: several vCPUs run in turn on one thread. */
import type { EntropyStream } from "@hvjournal/core";

/** A slice is this many units plus a drawn number below `SLICE_UNITS_SPREAD`: 16 to 82 us of guest time. */
const SLICE_UNITS_MIN = 8192;
const SLICE_UNITS_SPREAD = 32768n;

export interface VcpuRunState {
  /** KVM_MP_STATE_RUNNABLE; else STOPPED. */
  isOn: boolean;
  /** In WFI, until an interrupt is signalled to it. */
  isWaiting: boolean;
  /** KVM_MP_STATE_SUSPENDED: does not run, and an interrupt makes it leave with KVM_SYSTEM_EVENT_WAKEUP. */
  isSuspended: boolean;
}

/** Whether a vCPU goes on when it has its turn, whatever happens. */
export function isReady({ isOn, isWaiting, isSuspended }: VcpuRunState): boolean {
  return isOn && !isWaiting && !isSuspended;
}

export class Schedule {
  readonly vcpus: readonly VcpuRunState[];
  current = 0;
  /** What is left of the slice; with one vCPU there are no slices, and it stays 0. */
  sliceLeft = 0;
  readonly #stream: EntropyStream;

  constructor(vcpuCount: number, stream: EntropyStream) {
    // As QEMU starts them: all but the first wait for PSCI CPU_ON.
    this.vcpus = Array.from({ length: vcpuCount }, (_, vcpu) => ({
      isOn: vcpu === 0,
      isWaiting: false,
      isSuspended: false,
    }));
    this.#stream = stream;
  }

  get hasSlices(): boolean {
    return this.vcpus.length > 1;
  }

  of(vcpu: number): VcpuRunState {
    const found = this.vcpus[vcpu];
    if (found === undefined) throw new RangeError(`vcpu${vcpu} of ${this.vcpus.length}`);
    return found;
  }

  get currentState(): VcpuRunState {
    return this.of(this.current);
  }

  /** The current vCPU is in guest mode, or on its way there. */
  get isRunning(): boolean {
    const { isWaiting, isSuspended } = this.currentState;
    return !isWaiting && !isSuspended;
  }

  /** The current vCPU goes on without a choice. */
  get mayGoOn(): boolean {
    return isReady(this.currentState) && (!this.hasSlices || this.sliceLeft > 0);
  }

  /** The next vCPU in turn that is on and does not wait any more; undefined: there is none. The current one comes last. */
  next(wakes: (vcpu: number) => boolean): number | undefined {
    const count = this.vcpus.length;
    for (let step = 1; step <= count; step++) {
      const vcpu = (this.current + step) % count;
      const state = this.of(vcpu);
      if (isReady(state) || (state.isOn && wakes(vcpu))) return vcpu;
    }
    return undefined;
  }

  /** Starts a slice of `vcpu`. */
  begin(vcpu: number): void {
    this.current = vcpu;
    this.of(vcpu).isWaiting = false;
    if (this.hasSlices) this.sliceLeft = SLICE_UNITS_MIN + Number(this.#stream.next() % SLICE_UNITS_SPREAD);
  }

  /** The rest of the slice is given up. */
  endSlice(): void {
    this.sliceLeft = 0;
  }

  spend(units: number): void {
    if (this.hasSlices) this.sliceLeft = Math.max(0, this.sliceLeft - units);
  }

  get allOff(): boolean {
    return this.vcpus.every((state) => !state.isOn);
  }

  isAlone(vcpu: number): boolean {
    return this.vcpus.every((state, index) => index === vcpu || !state.isOn);
  }
}
