/** The current vCPU as the kernel half's services see it. */
import { isEnabled } from "@hvjournal/core";
import { CAP_ARM_SYSTEM_SUSPEND } from "../capabilities.js";
import { pvTimeIpaOf } from "../control/control-state.js";
import type { Vm } from "../vm.js";
import type { Caller } from "./call.js";
import type { FirmwareRegisters } from "./firmware-registers.js";

/** What hardly any call asks for is found out when it does. */
export class KernelCaller implements Caller {
  readonly #vm: Vm;

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  get vcpu(): number {
    return this.#vm.current;
  }

  get vcpuCount(): number {
    return this.#vm.vcpuCount;
  }

  argument(index: number): bigint {
    return this.#vm.states.readX(index);
  }

  get firmware(): FirmwareRegisters {
    return this.#vm.control.firmware;
  }

  get systemSuspendEnabled(): boolean {
    return isEnabled(this.#vm.control, CAP_ARM_SYSTEM_SUSPEND);
  }

  get counter(): bigint {
    return BigInt(this.#vm.counter);
  }

  get wallClockNs(): bigint {
    return this.#vm.wallClockNs;
  }

  entropy(): bigint {
    return this.#vm.entropy();
  }

  get pvTimeIpa(): bigint | undefined {
    return pvTimeIpaOf(this.#vm.control, this.#vm.current);
  }

  writePvTime(ipa: bigint): void {
    const vm = this.#vm;
    vm.stolenTime.begin(vm.engine.memory, vm.current, ipa);
  }

  isOn(vcpu: number): boolean {
    return this.#vm.schedule.of(vcpu).isOn;
  }

  powerOn(vcpu: number, entry: bigint, context: bigint): void {
    this.#vm.powerOn(vcpu, entry, context);
  }

  powerOff(vcpu: number): void {
    this.#vm.powerOff(vcpu);
  }
}
