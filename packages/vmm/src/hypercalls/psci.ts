/**
 * PSCI in the VMM half, for a VM whose filter forwards its range: KVM's own rules, carried out through KVM's surface. CPU_ON is
 * KVM_ARM_VCPU_INIT, registers and KVM_SET_MP_STATE; CPU_SUSPEND is KVM_MP_STATE_SUSPENDED, which an interrupt ends.
 */
import { callPsci, isPsciFunction, type KvmVm, MpState, type PsciCaller } from "@hvjournal/cpu-arm64";
import { stopFor } from "../board/system-event.js";
import type { HypercallCall } from "./hypercall-call.js";
import { type HandlerAnswer, NOT_HANDLED } from "./answer-forms.js";

const PSCI_VERSION = "KVM_REG_ARM_PSCI_VERSION";
const SYSTEM_SUSPEND = "KVM_CAP_ARM_SYSTEM_SUSPEND";
const FEATURE_POWER_OFF = 1;
/** SCTLR_EL1.EE: a CPU comes up with the byte order of the one that turns it on. */
const SCTLR_EE = 1n << 25n;

export function answerPsci(call: HypercallCall, vm: KvmVm): HandlerAnswer {
  if (!isPsciFunction(call.nr)) return NOT_HANDLED;
  const outcome = callPsci(new VmmCaller(call, vm), call.nr);
  switch (outcome.kind) {
    case "return":
      return outcome.registers;
    case "wait":
      vm.vcpu(call.vcpu).setMpState(MpState.suspended);
      return outcome.registers;
    case "systemEvent": {
      const stop = stopFor(outcome.type, outcome.flags);
      if (stop !== undefined) vm.stop(stop);
      return undefined;
    }
    default:
      return outcome satisfies never;
  }
}

/** Asks KVM for what a call needs, when it does. */
class VmmCaller implements PsciCaller {
  readonly vcpu: number;
  readonly #call: HypercallCall;
  readonly #vm: KvmVm;

  constructor(call: HypercallCall, vm: KvmVm) {
    this.vcpu = call.vcpu;
    this.#call = call;
    this.#vm = vm;
  }

  get vcpuCount(): number {
    return this.#vm.vcpuCount;
  }

  argument(index: number): bigint {
    return this.#call.args[index] ?? 0n;
  }

  get firmware(): PsciCaller["firmware"] {
    return { psciVersion: this.#vm.vcpu(this.vcpu).getOneReg(PSCI_VERSION) };
  }

  get systemSuspendEnabled(): boolean {
    return this.#vm.isEnabled(SYSTEM_SUSPEND);
  }

  isOn(vcpu: number): boolean {
    return this.#vm.vcpu(vcpu).getMpState() !== MpState.stopped;
  }

  powerOn(vcpu: number, entry: bigint, context: bigint): void {
    powerOn(this.#vm, { caller: this.vcpu, vcpu, entry, context });
  }

  powerOff(vcpu: number): void {
    this.#vm.vcpu(vcpu).setMpState(MpState.stopped);
  }
}

interface PowerOn {
  readonly caller: number;
  readonly vcpu: number;
  readonly entry: bigint;
  readonly context: bigint;
}

function powerOn(vm: KvmVm, { caller, vcpu, entry, context }: PowerOn): void {
  const target = vm.vcpu(vcpu);
  target.vcpuInit(vm.features | FEATURE_POWER_OFF);
  target.setOneReg("pc", entry);
  target.setOneReg("x0", context);
  const byteOrder = vm.vcpu(caller).getOneReg("sctlr_el1") & SCTLR_EE;
  if (byteOrder !== 0n) target.setOneReg("sctlr_el1", target.getOneReg("sctlr_el1") | byteOrder);
  target.setMpState(MpState.runnable);
}
