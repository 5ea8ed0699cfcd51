/**
 * KVM_SET_ONE_REG of registers that are configuration: firmware pseudo-registers and identification registers.
 * Command: {name: "one-reg", register, value, vcpu?}; register is a name or an id in hex. General registers are state,
 * and are set as such.
 */
import {
  type ControlCommand,
  type ControlContext,
  type Decision,
  type EventKind,
  meantHint,
  type PayloadFields,
} from "@hvjournal/core";
import {
  checkFirmwareWrite,
  FIRMWARE_PREFIX,
  FIRMWARE_REGISTERS,
  type FirmwareRegister,
  firmwareRegisterNamed,
  firmwareRegisterOf,
  readFirmwareRegister,
  writtenFirmwareRegister,
} from "../smccc/firmware-registers.js";
import { decided, type ControlPart, hex, NUMBER, refuse } from "./control-part.js";
import { type Arm64ControlState, idRegisterOf, isInitialized } from "./control-state.js";
import { checkIdRegister, WRITABLE_ID_REGISTERS, type WritableIdRegister } from "./id-register-rules.js";
import { systemRegisterId } from "./register-ids.js";

const SET_ONE_REG = "KVM_SET_ONE_REG";
const U64_MAX = 0xffff_ffff_ffff_ffffn;

const oneRegSet: EventKind = {
  name: "arm64.OneRegSet",
  version: 1,
  role: "vmm output",
  fields: ["name", "id", "requested", "old", "new"],
};

function isHex(text: string): boolean {
  return /^0x[0-9a-fA-F]{1,16}$/.test(text);
}

function firmwareRegister(text: string): FirmwareRegister | undefined {
  return firmwareRegisterNamed(text) ?? (isHex(text) ? firmwareRegisterOf(BigInt(text)) : undefined);
}

function idRegister(text: string): WritableIdRegister | undefined {
  const wanted = text.toUpperCase();
  return WRITABLE_ID_REGISTERS.find(
    ({ name, selector }) => name === wanted || (isHex(text) && systemRegisterId(selector) === BigInt(text)),
  );
}

function decideOneReg(state: Arm64ControlState, fields: PayloadFields, context: ControlContext): Decision {
  const text = fields.string("register");
  const value = fields.bigint("value");
  if (fields.has("vcpu") && !isInitialized(state, fields.number("vcpu")))
    return refuse("ENOEXEC", SET_ONE_REG, `vcpu${fields.number("vcpu")} has had no KVM_ARM_VCPU_INIT`);
  const firmware = firmwareRegister(text);
  const id = firmware === undefined ? idRegister(text) : undefined;
  const name = firmware?.name ?? id?.name;
  if (name === undefined) return refuse("ENOENT", SET_ONE_REG, `${text} is no register of the configuration`);
  if (value < 0n || value > U64_MAX)
    return refuse("EINVAL", SET_ONE_REG, `${name}=${hex(value)} does not fit into 64 bits`);
  if (firmware !== undefined) return decideFirmware(state, firmware, value, context);
  return id === undefined ? { events: [] } : decideIdRegister(state, id, value, context);
}

function decideFirmware(
  state: Arm64ControlState,
  register: FirmwareRegister,
  value: bigint,
  { hasRun }: ControlContext,
): Decision {
  const refused = checkFirmwareWrite(state, register, value, hasRun);
  if (refused !== undefined) return { refused };
  return decided(oneRegSet, {
    name: register.name,
    id: register.id,
    requested: value,
    old: readFirmwareRegister(state.firmware, register),
    new: readFirmwareRegister(writtenFirmwareRegister(state.firmware, register, value), register),
  });
}

function decideIdRegister(
  state: Arm64ControlState,
  register: WritableIdRegister,
  value: bigint,
  { hasRun }: ControlContext,
): Decision {
  const { name, selector, host } = register;
  const old = idRegisterOf(state, selector) ?? host;
  // KVM takes the value that it has at any time.
  if (hasRun && value !== old)
    return refuse("EBUSY", SET_ONE_REG, `${name}=${hex(value)}: a vCPU has run, and it is ${hex(old)}`);
  const wrong = checkIdRegister(register, value);
  if (wrong !== undefined) return refuse("EINVAL", SET_ONE_REG, `${name}=${hex(value)}: ${wrong}`);
  return decided(oneRegSet, { name, id: systemRegisterId(selector), requested: value, old, new: value });
}

function evolveOneReg(state: Arm64ControlState, fields: PayloadFields): Arm64ControlState {
  const name = fields.string("name");
  const value = fields.bigint("new");
  const firmware = firmwareRegisterNamed(name);
  if (firmware !== undefined) return { ...state, firmware: writtenFirmwareRegister(state.firmware, firmware, value) };
  const register = idRegister(name);
  if (register === undefined) throw new RangeError(`${name} is no register of the configuration`);
  const { selector } = register;
  const others = (state.idRegisters ?? []).filter((each) => each.selector !== selector);
  return { ...state, idRegisters: [...others, { name, selector, value }] };
}

function describeOneReg(fields: PayloadFields): string {
  const [requested, old, now] = [fields.bigint("requested"), fields.bigint("old"), fields.bigint("new")];
  const kept = requested === now ? "" : ` (${hex(requested)} asked for)`;
  return `${fields.string("name")}  ${hex(old)} -> ${hex(now)}${kept}`;
}

const REGISTER_NAMES = [...FIRMWARE_REGISTERS, ...WRITABLE_ID_REGISTERS].map(({ name }) => name);

/** By the short names: all have the same prefix, which would make any two of them alike. */
function registerHint(given: string): string {
  const short = (name: string): string => name.replace(FIRMWARE_PREFIX, "");
  return meantHint(short(given.toUpperCase()), REGISTER_NAMES.map(short));
}

function parseOneReg(text: string): ControlCommand | string {
  const [, given = "", value = ""] = /^(\w+)=(.*)$/.exec(text) ?? [];
  if (given === "") return "expected NAME=VALUE";
  const register = given.startsWith("0x") ? given : (firmwareRegisterNamed(given)?.name ?? idRegister(given)?.name);
  if (register === undefined) return `${given} is none of ${REGISTER_NAMES.join(", ")}${registerHint(given)}`;
  if (!new RegExp(`^${NUMBER}$`).test(value)) return `'${value}' is no number: decimal, or hexadecimal behind 0x`;
  return { name: "one-reg", register, value: BigInt(value) };
}

export const registerPart: ControlPart = {
  decide: { "one-reg": decideOneReg },
  events: [{ kind: oneRegSet, evolve: evolveOneReg, describe: describeOneReg }],
  parse: { "one-reg": parseOneReg, "firmware-reg": parseOneReg },
};
