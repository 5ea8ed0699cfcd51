/** Which vCPU runs next, and for how long: several vCPUs run in turn on one thread. */
import { type EntropyStream, GUEST_NANOSECONDS_PER_UNIT } from "@hvjournal/core";

/** A slice is this many units plus a drawn number below `SLICE_UNITS_SPREAD`: 16 to 82 us of guest time. */
const SLICE_UNITS_MIN = 8192;
const SLICE_UNITS_SPREAD = 32768n;

/** KVM_MP_STATE_*. */
export const MpState = { runnable: 0, uninitialized: 1, initReceived: 2, halted: 3, sipiReceived: 4 } as const;

export interface VcpuRunState {
  /** One of `MpState`. */
  mpState: number;
  /** How long it has run. */
  ranNs: number;
  /** KVM_HC_KICK_CPU has ended its HLT, or will end its next one. */
  isUnhalted: boolean;
  /** It waits in an HLT that did not leave guest mode: to KVM it runs. */
  isHaltedInGuest: boolean;
}

/** Whether a vCPU goes on when it has its turn, whatever happens. */
export function isReady({ mpState, isHaltedInGuest }: VcpuRunState): boolean {
  return mpState === MpState.runnable && !isHaltedInGuest;
}

/** Whether it has been started: it runs, or waits in HLT. */
export function isOn({ mpState }: VcpuRunState): boolean {
  return mpState === MpState.runnable || mpState === MpState.halted;
}

export class Schedule {
  readonly vcpus: readonly VcpuRunState[];
  current = 0;
  /** What is left of the slice; with one vCPU there are no slices, and it stays 0. */
  sliceLeft = 0;
  readonly #stream: EntropyStream;

  constructor(vcpuCount: number, stream: EntropyStream) {
    // All but the first wait for INIT and SIPI.
    this.vcpus = Array.from({ length: vcpuCount }, (_, vcpu) => ({
      mpState: vcpu === 0 ? MpState.runnable : MpState.uninitialized,
      ranNs: 0,
      isUnhalted: false,
      isHaltedInGuest: false,
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

  /** The current vCPU goes on without a choice. */
  get mayGoOn(): boolean {
    return isReady(this.currentState) && (!this.hasSlices || this.sliceLeft > 0);
  }

  /** The next vCPU in turn that runs, or whose HLT an event ends; undefined: there is none. The current one comes last. */
  next(wakes: (vcpu: number) => boolean): number | undefined {
    const count = this.vcpus.length;
    for (let step = 1; step <= count; step++) {
      const vcpu = (this.current + step) % count;
      const state = this.of(vcpu);
      if (isReady(state) || (isOn(state) && wakes(vcpu))) return vcpu;
    }
    return undefined;
  }

  /** Starts a slice of `vcpu`. */
  begin(vcpu: number): void {
    const state = this.of(vcpu);
    this.current = vcpu;
    if (state.mpState === MpState.halted) state.isUnhalted = false;
    state.mpState = MpState.runnable;
    state.isHaltedInGuest = false;
    if (this.hasSlices) this.sliceLeft = SLICE_UNITS_MIN + Number(this.#stream.next() % SLICE_UNITS_SPREAD);
  }

  /** The rest of the slice is given up. */
  endSlice(): void {
    this.sliceLeft = 0;
  }

  spend(units: number): void {
    this.currentState.ranNs += units * GUEST_NANOSECONDS_PER_UNIT;
    if (this.hasSlices) this.sliceLeft = Math.max(0, this.sliceLeft - units);
  }

  isAlone(vcpu: number): boolean {
    return this.vcpus.every((state, index) => index === vcpu || !isOn(state));
  }
}
