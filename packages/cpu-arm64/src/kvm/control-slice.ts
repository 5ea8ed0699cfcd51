/**
 * The arm64 part of the control plane: SMCCC filter, firmware registers, capabilities. Commands:
 *
 *     {name: "smccc-filter", base, count, action}     action: 0 handle, 1 deny, 2 forward
 *     {name: "one-reg", register, value}              register: KVM's name, or the id in hex
 *     {name: "cap", capability, args}
 */
import {
  type ControlCommand,
  type ControlContext,
  type ControlEvent,
  type ControlSlice,
  type Decision,
  type EventKind,
  PayloadFields,
  type Refusal,
} from "@hvjournal/core";
import { produce } from "immer";
import {
  checkFirmwareWrite,
  FIRMWARE_REGISTERS,
  FIRMWARE_RESET,
  type FirmwareRegister,
  firmwareRegisterNamed,
  firmwareRegisterOf,
  type FirmwareRegisters,
  readFirmwareRegister,
  writtenFirmwareRegister,
} from "./smccc/firmware-registers.js";
import { routeCall } from "./smccc/routing.js";
import {
  checkFilterRequest,
  FILTER_ACTIONS,
  type FilterAction,
  type FilterRange,
  rangeText,
} from "./smccc/smccc-filter.js";

export interface EnabledCapability {
  readonly name: string;
  readonly args: readonly bigint[];
}

/** Plain data: it is saved with the control plane's state. */
export interface Arm64ControlState {
  /** In the order in which they were set. */
  readonly smcccFilter: readonly FilterRange[];
  readonly firmware: FirmwareRegisters;
  readonly capabilities: readonly EnabledCapability[];
}

export const CAP_ARM_SYSTEM_SUSPEND = "KVM_CAP_ARM_SYSTEM_SUSPEND";

const CAP_PREFIX = "KVM_CAP_";

/** KVM's name of a capability that is given with or without the prefix. */
function capabilityName(given: string): string {
  const name = given.toUpperCase();
  return name.startsWith(CAP_PREFIX) ? name : `${CAP_PREFIX}${name}`;
}

const ENABLE_CAP = "KVM_ENABLE_CAP";
const SET_ONE_REG = "KVM_SET_ONE_REG";
const PVTIME_CTRL = "KVM_ARM_VCPU_PVTIME_CTRL";

export const Arm64Kind = {
  smcccFilterSet: {
    name: "arm64.SmcccFilterSet",
    version: 1,
    role: "vmm output",
    fields: ["base", "count", "old", "new"],
  },
  oneRegSet: {
    name: "arm64.OneRegSet",
    version: 1,
    role: "vmm output",
    fields: ["name", "id", "requested", "old", "new"],
  },
  capEnabled: { name: "arm64.CapEnabled", version: 1, role: "vmm output", fields: ["name", "args", "old", "new"] },
} as const satisfies Record<string, EventKind>;

/** Why a capability that KVM has for a VM on arm64 can't be enabled here. */
const REFUSED_CAPABILITIES: Readonly<Record<string, string>> = {
  KVM_CAP_ARM_NISV_TO_USER: "accesses without a valid syndrome are completed piece by piece, so there is no such exit",
  KVM_CAP_ARM_MTE: "the CPU has no memory tagging",
  KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE: "RAM is mapped by pages, so there is nothing to split",
  KVM_CAP_ARM_WRITABLE_IMP_ID_REGS: "MIDR_EL1, REVIDR_EL1 and AIDR_EL1 are those of the CPU model",
  KVM_CAP_DIRTY_LOG_RING: "dirty pages are tracked without a ring",
  KVM_CAP_DIRTY_LOG_RING_ACQ_REL: "dirty pages are tracked without a ring",
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: "dirty pages are tracked without a log",
};

function refuse(errno: string, call: string, reason: string): { readonly refused: Refusal } {
  return { refused: { errno, call, reason } };
}

function event(kind: EventKind, payload: ControlEvent["payload"]): Decision {
  return { events: [{ kind: kind.name, version: kind.version, vcpu: -1, payload }] };
}

function decideFilter(state: Arm64ControlState, command: ControlCommand, context: ControlContext): Decision {
  const fields = new PayloadFields("smccc-filter", command);
  const request = { base: fields.number("base"), count: fields.number("count"), action: fields.number("action") };
  const refused = checkFilterRequest(state.smcccFilter, request, context.hasRun);
  if (refused !== undefined) return { refused };
  // No range is ever replaced: before, no entry held.
  return event(Arm64Kind.smcccFilterSet, {
    base: request.base,
    count: request.count,
    old: null,
    new: FILTER_ACTIONS[request.action] ?? null,
  });
}

function registerOf(text: string): FirmwareRegister | undefined {
  return (
    firmwareRegisterNamed(text) ?? (/^0x[0-9a-fA-F]{1,16}$/.test(text) ? firmwareRegisterOf(BigInt(text)) : undefined)
  );
}

function decideOneReg(state: Arm64ControlState, command: ControlCommand, context: ControlContext): Decision {
  const fields = new PayloadFields("one-reg", command);
  const register = registerOf(fields.string("register"));
  if (register === undefined)
    return refuse("ENOENT", SET_ONE_REG, `${fields.string("register")} is no firmware register`);
  const value = fields.bigint("value");
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn)
    return refuse("EINVAL", SET_ONE_REG, `${register.name}=${hex(value)} does not fit into 64 bits`);
  const refused = checkFirmwareWrite(state.firmware, register, value, context.hasRun);
  if (refused !== undefined) return { refused };
  return event(Arm64Kind.oneRegSet, {
    name: register.name,
    id: register.id,
    requested: value,
    old: readFirmwareRegister(state.firmware, register),
    new: readFirmwareRegister(writtenFirmwareRegister(state.firmware, register, value), register),
  });
}

function decideCapability(state: Arm64ControlState, command: ControlCommand): Decision {
  const fields = new PayloadFields("cap", command);
  const name = fields.string("capability");
  const args = fields.array("args").map((arg) => BigInt(typeof arg === "bigint" || typeof arg === "number" ? arg : 0));
  const reason = REFUSED_CAPABILITIES[name];
  if (reason !== undefined) return refuse("EINVAL", ENABLE_CAP, `${name}: ${reason}`);
  if (name !== CAP_ARM_SYSTEM_SUSPEND)
    return refuse("EINVAL", ENABLE_CAP, `${name} can't be enabled for a VM on arm64; ${CAP_ARM_SYSTEM_SUSPEND} can`);
  return event(Arm64Kind.capEnabled, { name, args, old: isEnabled(state, name), new: true });
}

export function isEnabled(state: Arm64ControlState, capability: string): boolean {
  return state.capabilities.some((each) => each.name === capability);
}

/** 1 or 0 for a capability that a VM on arm64 has, undefined for any other. */
function queryCapability(state: Arm64ControlState, name: string | bigint): bigint | undefined {
  if (typeof name !== "string") return undefined;
  const capability = capabilityName(name);
  if (capability !== CAP_ARM_SYSTEM_SUSPEND && !Object.hasOwn(REFUSED_CAPABILITIES, capability)) return undefined;
  return isEnabled(state, capability) ? 1n : 0n;
}

/** What becomes of a call, as the number of a filter's action, whatever decides: filter, default rule, firmware register. */
function queryCall(state: Arm64ControlState, id: string | bigint): bigint | undefined {
  if (typeof id !== "bigint" || id < 0n || id > 0xffff_ffffn) return undefined;
  return BigInt(FILTER_ACTIONS.indexOf(routeCall(state.smcccFilter, state.firmware, Number(id)).action));
}

function queryRegister(state: Arm64ControlState, name: string | bigint): bigint | undefined {
  const register = typeof name === "bigint" ? firmwareRegisterOf(name) : firmwareRegisterNamed(name);
  return register === undefined ? undefined : readFirmwareRegister(state.firmware, register);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function describe(control: ControlEvent): string {
  const fields = new PayloadFields(control.kind, control.payload);
  switch (control.kind) {
    case Arm64Kind.smcccFilterSet.name:
      return `${rangeText(fields.number("base"), fields.number("count"))} ${fields.string("new")}`;
    case Arm64Kind.oneRegSet.name: {
      const kept =
        fields.bigint("requested") === fields.bigint("new") ? "" : ` (${hex(fields.bigint("requested"))} asked for)`;
      return `${fields.string("name")}  ${hex(fields.bigint("old"))} -> ${hex(fields.bigint("new"))}${kept}`;
    }
    case Arm64Kind.capEnabled.name: {
      const args = fields.array("args").map(String);
      return args.length === 0 ? fields.string("name") : `${fields.string("name")}=${args.join(",")}`;
    }
    default:
      throw new RangeError(`${control.kind} is no control event of arm64`);
  }
}

const NUMBER = "(0x[0-9a-fA-F]+|[0-9]+)";

function parseFilter(text: string): ControlCommand | string {
  const match = new RegExp(`^${NUMBER}\\+${NUMBER}=(\\w+)$`).exec(text);
  const action = FILTER_ACTIONS.indexOf((match?.[3] ?? "") as FilterAction);
  if (match === null || action < 0) return `expected BASE+COUNT=handle|deny|forward`;
  return { name: "smccc-filter", base: Number(match[1]), count: Number(match[2]), action };
}

function parseOneReg(text: string): ControlCommand | string {
  const [, given = "", value = ""] = /^(\w+)=(.*)$/.exec(text) ?? [];
  if (given === "") return "expected NAME=VALUE";
  const register = given.startsWith("0x") ? given : firmwareRegisterNamed(given)?.name;
  if (register === undefined) return `${given} is none of ${FIRMWARE_REGISTERS.map((each) => each.name).join(", ")}`;
  if (!new RegExp(`^${NUMBER}$`).test(value)) return `'${value}' is no number: decimal, or hexadecimal behind 0x`;
  return { name: "one-reg", register, value: BigInt(value) };
}

function parseCapability(text: string): ControlCommand | string {
  const match = new RegExp(`^(\\w+)(?:=(${NUMBER}(?:,${NUMBER})*))?$`).exec(text);
  if (match === null) return "expected NAME or NAME=NUMBER,...";
  const args = match[2] === undefined ? [] : match[2].split(",").map(BigInt);
  return { name: "cap", capability: capabilityName(match[1] ?? ""), args };
}

export const arm64ControlSlice: ControlSlice<Arm64ControlState> = {
  kinds: Object.values(Arm64Kind),

  initialState: () => ({ smcccFilter: [], firmware: FIRMWARE_RESET, capabilities: [] }),

  decide(state, command, context) {
    switch (command.name) {
      case "smccc-filter":
        return decideFilter(state, command, context);
      case "one-reg":
        return decideOneReg(state, command, context);
      case "cap":
        return decideCapability(state, command);
      case "pvtime-ipa":
        return refuse("ENXIO", PVTIME_CTRL, "stolen time is not accounted");
      default:
        return refuse("ENOTTY", command.name, `arm64 has no command ${command.name}: smccc-filter, one-reg, cap`);
    }
  },

  evolve: (state, control, seq) =>
    produce(state, (draft) => {
      const fields = new PayloadFields(control.kind, control.payload);
      switch (control.kind) {
        case Arm64Kind.smcccFilterSet.name:
          draft.smcccFilter.push({
            base: fields.number("base"),
            count: fields.number("count"),
            action: actionOf(fields.string("new")),
            seq,
          });
          break;
        case Arm64Kind.oneRegSet.name: {
          const register = firmwareRegisterNamed(fields.string("name"));
          if (register === undefined) throw new RangeError(`${fields.string("name")} is no firmware register`);
          draft.firmware = writtenFirmwareRegister(draft.firmware, register, fields.bigint("new"));
          break;
        }
        case Arm64Kind.capEnabled.name: {
          const name = fields.string("name");
          const args = fields
            .array("args")
            .map((arg) => BigInt(typeof arg === "bigint" || typeof arg === "number" ? arg : 0));
          draft.capabilities = [...draft.capabilities.filter((each) => each.name !== name), { name, args }];
          break;
        }
        default:
          throw new RangeError(`${control.kind} is no control event of arm64`);
      }
    }),

  query(state, what, name) {
    switch (what) {
      case "cap":
        return queryCapability(state, name);
      case "smccc":
        return queryCall(state, name);
      case "reg":
        return queryRegister(state, name);
      default:
        return what satisfies never;
    }
  },

  describe,

  describeRule({ smcccFilter }, seq) {
    const range = smcccFilter.find((each) => each.seq === seq);
    return range === undefined ? undefined : `${rangeText(range.base, range.count)} ${range.action}`;
  },

  parse(word, text) {
    switch (word) {
      case "smccc-filter":
        return parseFilter(text);
      case "one-reg":
      case "firmware-reg":
        return parseOneReg(text);
      case "cap":
        return parseCapability(text);
      default:
        return `arm64 has no ${word}: smccc-filter, one-reg, cap`;
    }
  },
};

function actionOf(text: string): FilterAction {
  const found = FILTER_ACTIONS.find((action) => action === text);
  if (found === undefined) throw new RangeError(`${text} is no action of a filter: ${FILTER_ACTIONS.join(", ")}`);
  return found;
}
