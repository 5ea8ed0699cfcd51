/**
 * A VM as a VMM sees it through KVM: the ioctls of its file descriptor, and of its vCPUs. Names, scopes and errno are
 * KVM's (Documentation/virt/kvm/api.rst). Each call that changes something is a command, and an event of the journal
 * when the rules accept it. What upstream does not have lies in private numbers: capabilities from 0x10000, groups of
 * attributes from 0x100.
 */
import {
  accepted,
  capabilityName,
  GenericVm,
  isEnabled,
  KvmError,
  RoomError,
  type VmmPort,
  type WholeNumber,
  wholeNumber,
} from "@hvjournal/core";
import { CAPABILITY_NAMES, checkExtension } from "../kvm/capabilities.js";
import type { Arm64ControlState } from "../kvm/control/control-state.js";
import { policyTable } from "../kvm/control/policies.js";
import { filterExport } from "../kvm/smccc/filter-export.js";
import { handledFunctions } from "../kvm/smccc/routing.js";
import { FILTER_ACTIONS, RESERVED_RANGES } from "../kvm/smccc/smccc-filter.js";
import {
  decodeSmcccFilter,
  type DeviceAttribute,
  CONDUIT_CODES,
  HVJ_SMCCC_CTRL,
  HVJ_SMCCC_FILTER_CONDUIT,
  HVJ_SMCCC_FILTER_COUNT,
  HVJ_SMCCC_FILTER_EXPORT,
  HVJ_SMCCC_FILTER_RANGES,
  HVJ_SMCCC_HANDLED,
  HVJ_SMCCC_HANDLED_COUNT,
  ORIGIN_RESERVED,
  ORIGIN_USER,
  SMCCC_CTRL,
  SMCCC_FILTER,
  type ToldFilter,
} from "./device-attributes.js";
import { KvmVcpu, noAttribute } from "./kvm-vcpu.js";

const SET_DEVICE_ATTR = "KVM_SET_DEVICE_ATTR";
const GET_DEVICE_ATTR = "KVM_GET_DEVICE_ATTR";
const ENABLE_CAP = "KVM_ENABLE_CAP";

export interface EnableCap {
  /** KVM_CAP_*: its number, or its name. */
  readonly cap: number | string;
  readonly flags?: number;
  readonly args?: readonly bigint[];
}

export class KvmVm extends GenericVm<Arm64ControlState, KvmVcpu> {
  readonly #port: VmmPort;

  /** `port`: the one through which the VMM acts. */
  constructor(port: VmmPort) {
    super(port, (own, index) => new KvmVcpu(own, index));
    this.#port = port;
  }

  /** KVM_CHECK_EXTENSION: 0 for what there is not, never an error. */
  checkExtension(cap: number | string): number {
    if (policyTable.ofCapability(cap) !== undefined) return 1;
    const name = typeof cap === "number" ? CAPABILITY_NAMES.get(cap) : capabilityName(cap);
    return name === undefined ? 0 : checkExtension(name);
  }

  /** KVM_ENABLE_CAP on the VM. Throws KvmError: EINVAL, EBUSY. */
  enableCap({ cap, flags = 0, args = [] }: EnableCap): void {
    if (flags !== 0) throw new KvmError({ errno: "EINVAL", call: ENABLE_CAP, reason: `flags ${flags}: must be 0` });
    const policy = policyTable.ofCapability(cap);
    if (policy !== undefined) {
      // The index of a value, and never one by itself: arm.smccc.args has a value "4", and no fifth one.
      const value = policy.values[Number(args[0] ?? 0n)] ?? `argument ${args[0]}`;
      return accepted(this.#port.control({ name: "policy", policy: policy.name, value }));
    }
    const capability =
      typeof cap === "number" ? (CAPABILITY_NAMES.get(cap) ?? `capability ${cap}`) : capabilityName(cap);
    accepted(this.#port.control({ name: "cap", capability, args: [...args] }));
  }

  /** KVM_HAS_DEVICE_ATTR. Throws KvmError: ENXIO. */
  hasDeviceAttr({ group, attr }: DeviceAttribute): void {
    const isUpstream = group === SMCCC_CTRL && attr === SMCCC_FILTER;
    const isPrivate = group === HVJ_SMCCC_CTRL && attr >= HVJ_SMCCC_FILTER_COUNT && attr <= HVJ_SMCCC_FILTER_CONDUIT;
    if (!isUpstream && !isPrivate) throw noAttribute("KVM_HAS_DEVICE_ATTR", { group, attr });
  }

  /**
   * KVM_SET_DEVICE_ATTR of the SMCCC filter: `memory` is what the user's pointer points to, a `struct kvm_smccc_filter`;
   * undefined: it points to nothing. HVJ_SMCCC_FILTER_EXPORT takes a whole filter, as it was read from another VM.
   * HVJ_SMCCC_FILTER_CONDUIT sets a range that holds for one conduit: the first byte of the padding says which. Throws
   * KvmError: ENXIO, EFAULT, EINVAL, EBUSY, EEXIST.
   */
  setDeviceAttr({ group, attr }: DeviceAttribute, memory: Uint8Array | undefined): void {
    if (group === HVJ_SMCCC_CTRL && attr === HVJ_SMCCC_FILTER_EXPORT) return this.#importFilter(memory);
    const isLimited = group === HVJ_SMCCC_CTRL && attr === HVJ_SMCCC_FILTER_CONDUIT;
    if (!isLimited && (group !== SMCCC_CTRL || attr !== SMCCC_FILTER))
      throw noAttribute(SET_DEVICE_ATTR, { group, attr });
    const filter = memory === undefined ? undefined : decodeSmcccFilter(memory);
    if (filter === undefined)
      throw new KvmError({ errno: "EFAULT", call: SET_DEVICE_ATTR, reason: "no struct kvm_smccc_filter is there" });
    const { base, nrFunctions: count, action, pad } = filter;
    const conduits = isLimited ? CONDUIT_CODES.get(pad[0] ?? 0) : undefined;
    if (isLimited && conduits === undefined)
      throw new KvmError({ errno: "EINVAL", call: SET_DEVICE_ATTR, reason: `${pad[0]} is no conduit: 1 HVC, 2 SMC` });
    if (pad.some((byte, index) => byte !== 0 && !(isLimited && index === 0)))
      throw new KvmError({ errno: "EINVAL", call: SET_DEVICE_ATTR, reason: "the padding is not zero" });
    accepted(this.#port.control({ name: "smccc-filter", base, count, action, ...(conduits && { conduits }) }));
  }

  #importFilter(blob: Uint8Array | undefined): void {
    if (blob === undefined)
      throw new KvmError({ errno: "EFAULT", call: SET_DEVICE_ATTR, reason: "no export of a filter is there" });
    accepted(this.#port.control({ name: "smccc-filter-import", blob }));
  }

  /**
   * KVM_GET_DEVICE_ATTR. Upstream reads nothing back (EINVAL); the private group tells the filter and what the kernel half
   * handles, in two steps: a count, and an array into room for `n`. Throws KvmError: EINVAL, ENXIO; RoomError: E2BIG.
   */
  getDeviceAttr(attribute: DeviceAttribute, n = Infinity): number | ToldFilter | readonly number[] | Uint8Array {
    const { group, attr } = attribute;
    if (group !== HVJ_SMCCC_CTRL)
      throw new KvmError({ errno: "EINVAL", call: GET_DEVICE_ATTR, reason: "the VM's attributes can't be read" });
    switch (attr) {
      case HVJ_SMCCC_FILTER_COUNT:
        return this.#ranges().length;
      case HVJ_SMCCC_FILTER_RANGES:
        return fitting(this.#ranges(), n);
      case HVJ_SMCCC_HANDLED_COUNT:
        return handledFunctions(this.controlState).length;
      case HVJ_SMCCC_HANDLED:
        return fitting(handledFunctions(this.controlState), n);
      case HVJ_SMCCC_FILTER_EXPORT:
        return filterExport(this.controlState.smcccFilter);
      default:
        throw noAttribute(GET_DEVICE_ATTR, attribute);
    }
  }

  /** Those reserved for the architecture come with the first one set, as in KVM. */
  #ranges(): ToldFilter {
    const { smcccFilter } = this.controlState;
    if (smcccFilter.length === 0) return [];
    const reserved = RESERVED_RANGES.map(({ base, last }) => ({
      base,
      nrFunctions: last - base + 1,
      action: 0,
      origin: ORIGIN_RESERVED,
    }));
    const set = smcccFilter.map(({ base, count, action, conduits }) => ({
      base,
      nrFunctions: count,
      action: FILTER_ACTIONS.indexOf(action),
      origin: ORIGIN_USER,
      ...(conduits === undefined ? {} : { conduits }),
    }));
    return [...reserved, ...set].sort((a, b) => a.base - b.base);
  }

  /** KVM_IRQ_LINE of an SPI, by its number from 0. */
  setIrqLine(spi: WholeNumber, level: 0 | 1): void {
    this.#port.setIrqLine(wholeNumber("setIrqLine: spi", spi), level);
  }

  /** Whether KVM_ENABLE_CAP has enabled a capability, by its name. */
  isEnabled(cap: string): boolean {
    return isEnabled(this.controlState, capabilityName(cap));
  }

  /** The features of KVM_ARM_VCPU_INIT that all vCPUs have: a mask; 0 before the first. */
  get features(): number {
    return this.controlState.features ?? 0;
  }
}

function fitting<Item>(items: readonly Item[], n: number): readonly Item[] {
  if (items.length > n) throw new RoomError(GET_DEVICE_ATTR, { n: items.length, given: n, what: "items" });
  return items;
}
