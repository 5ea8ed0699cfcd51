/** A vCPU as a VMM sees it through KVM: the ioctls of its file descriptor. */
import { accepted, KvmError, RoomError, type VmmPort, type WholeNumber, wideNumber } from "@hvjournal/core";
import { pvTimeIpaOf, type Arm64ControlState } from "../kvm/control/control-state.js";
import { featureMask, SVE } from "../kvm/control/vcpu-features.js";
import { MP_STATE } from "../kvm/named-registers.js";
import type { DeviceAttribute } from "./device-attributes.js";
import { getOneReg, REGISTER_LIST, setOneReg } from "./one-reg.js";

/** KVM_ARM_VCPU_PVTIME_CTRL and its one attribute, KVM_ARM_VCPU_PVTIME_IPA. */
const PVTIME_CTRL = 2;
const PVTIME_IPA = 0;

/** E2BIG of KVM_GET_REG_LIST, with the count that it has written back. */
export class RegisterListError extends RoomError {
  constructor(n: number, given: number) {
    super("KVM_GET_REG_LIST", { n, given, what: "ids" });
  }
}

export class KvmVcpu {
  readonly index: number;
  readonly #port: VmmPort;

  constructor(port: VmmPort, index: number) {
    this.#port = port;
    this.index = index;
  }

  get #state(): Arm64ControlState {
    return this.#port.configuration as Arm64ControlState;
  }

  /** KVM_ARM_VCPU_INIT: features by name or as a mask. Throws KvmError: ENOENT, EINVAL. */
  vcpuInit(features: readonly string[] | number): void {
    const mask = typeof features === "number" ? features : featureMask(features);
    if (mask === undefined) {
      const reason = `one of ${String(features)} is no feature`;
      throw new KvmError({ errno: "ENOENT", call: "KVM_ARM_VCPU_INIT", reason });
    }
    accepted(this.#port.control({ name: "vcpu-init", vcpu: this.index, features: mask }));
  }

  /** KVM_ARM_VCPU_FINALIZE: for features that need it, of which this CPU has none. Throws KvmError: EINVAL. */
  vcpuFinalize(feature: number): never {
    const reason = 2 ** feature === SVE ? "vCPUs of this CPU have no SVE" : `feature ${feature} needs no finalizing`;
    throw new KvmError({ errno: "EINVAL", call: "KVM_ARM_VCPU_FINALIZE", reason });
  }

  /** KVM_GET_ONE_REG, by id or by name. Throws KvmError: ENOENT, ENOEXEC. */
  getOneReg(register: bigint | string): bigint {
    return getOneReg(this.#port, this.index, register);
  }

  /** KVM_SET_ONE_REG. Throws KvmError: ENOENT, ENOEXEC, EINVAL, EBUSY. */
  setOneReg(register: bigint | string, value: WholeNumber): void {
    setOneReg(this.#port, this.index, register, wideNumber("setOneReg: value", value));
  }

  /** KVM_GET_REG_LIST into room for `n` ids. Throws KvmError: ENOEXEC; RegisterListError: E2BIG. */
  getRegList(n = Infinity): readonly bigint[] {
    this.getOneReg("pc");
    if (n < REGISTER_LIST.length) throw new RegisterListError(REGISTER_LIST.length, n);
    return REGISTER_LIST;
  }

  /** KVM_GET_MP_STATE. */
  getMpState(): number {
    return Number(this.#port.readRegister(this.index, MP_STATE));
  }

  /** KVM_SET_MP_STATE. Throws KvmError: EINVAL, ENOEXEC. */
  setMpState(state: number): void {
    accepted(this.#port.control({ name: "mp-state", vcpu: this.index, state }));
  }

  /** KVM_HAS_DEVICE_ATTR. Throws KvmError: ENXIO. */
  hasDeviceAttr({ group, attr }: DeviceAttribute): void {
    if (group === PVTIME_CTRL && attr === PVTIME_IPA) return;
    throw noAttribute("KVM_HAS_DEVICE_ATTR", { group, attr });
  }

  /** KVM_SET_DEVICE_ATTR: the address of the stolen-time structure. Throws KvmError: ENXIO, EINVAL, EEXIST. */
  setDeviceAttr({ group, attr }: DeviceAttribute, value: WholeNumber): void {
    if (group !== PVTIME_CTRL || attr !== PVTIME_IPA) throw noAttribute("KVM_SET_DEVICE_ATTR", { group, attr });
    accepted(
      this.#port.control({ name: "pvtime-ipa", vcpu: this.index, ipa: wideNumber("setDeviceAttr: value", value) }),
    );
  }

  /** KVM_GET_DEVICE_ATTR. All ones: no address has been set. Throws KvmError: ENXIO. */
  getDeviceAttr({ group, attr }: DeviceAttribute): bigint {
    if (group !== PVTIME_CTRL || attr !== PVTIME_IPA) throw noAttribute("KVM_GET_DEVICE_ATTR", { group, attr });
    return pvTimeIpaOf(this.#state, this.index) ?? 0xffff_ffff_ffff_ffffn;
  }
}

export function noAttribute(call: string, { group, attr }: DeviceAttribute): KvmError {
  return new KvmError({ errno: "ENXIO", call, reason: `there is no attribute ${attr} in group ${group}` });
}
