/** A guest under test whose control plane is arm64's own, with several vCPUs. */
import type { ControlCommand, ControlContext, Refusal } from "@hvjournal/core";
import { type Arm64ControlState, arm64ControlSlice, MpState } from "@hvjournal/cpu-arm64";
import { TestGuest } from "./test-guest.js";

const MP_STATE = "mp_state";

export class ConfiguredGuest extends TestGuest {
  readonly #vcpuCount: number;

  constructor(vcpuCount: number) {
    super();
    this.#vcpuCount = vcpuCount;
    this.configuration = arm64ControlSlice.initialState();
    for (let vcpu = 0; vcpu < vcpuCount; vcpu++)
      this.control({ name: "vcpu-init", vcpu, features: vcpu === 0 ? PSCI_0_2 : PSCI_0_2 | POWER_OFF });
    this.events.length = 0;
  }

  override get context(): ControlContext {
    return { ...super.context, vcpuCount: this.#vcpuCount };
  }

  override control(command: ControlCommand): Refusal | undefined {
    const state = this.configuration as Arm64ControlState;
    const decision = arm64ControlSlice.decide(state, command, this.context);
    if ("refused" in decision) return decision.refused;
    for (const event of decision.events) {
      this.configuration = arm64ControlSlice.evolve(state, event, this.events.length + 1);
      this.events.push(`${event.kind} ${arm64ControlSlice.describe(event)}`);
    }
    const { name, vcpu = 0, state: mpState, features } = command;
    if (name === "mp-state") this.registers.set(`vcpu${String(vcpu)} ${MP_STATE}`, BigInt(Number(mpState)));
    if (name === "vcpu-init") {
      const isOff = (Number(features) & POWER_OFF) !== 0;
      this.registers.set(`vcpu${String(vcpu)} ${MP_STATE}`, BigInt(isOff ? MpState.stopped : MpState.runnable));
    }
    return undefined;
  }
}

const POWER_OFF = 1;
const PSCI_0_2 = 4;
