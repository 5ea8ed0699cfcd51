/** Registers of KVM_{GET,SET}_ONE_REG by id and by name: state of a vCPU, or configuration of the VM. */
import { accepted, KvmError, type VmmPort } from "@hvjournal/core";
import { CCSIDR_VALUES } from "../isa/id-registers.js";
import { systemRegisters } from "../isa/system-registers.js";
import { idRegisterOf, isInitialized, type Arm64ControlState } from "../kvm/control/control-state.js";
import { WRITABLE_ID_REGISTERS } from "../kvm/control/id-register-rules.js";
import { cacheSizeId, CORE_REGISTERS, isArm64, registerBits, systemRegisterId } from "../kvm/control/register-ids.js";
import { isWritableRegister, registerNames } from "../kvm/named-registers.js";
import {
  FIRMWARE_REGISTERS,
  type FirmwareRegister,
  firmwareRegisterNamed,
  readFirmwareRegister,
} from "../kvm/smccc/firmware-registers.js";
import { hasMode } from "../kvm/vcpu-state.js";

export interface OneRegister {
  readonly id: bigint;
  readonly bits: number;
  /** Lower case for state, as the kernel half names it; upper case for configuration. */
  readonly name: string;
  readonly kind: "state" | "firmware" | "identification" | "cache size";
  readonly isWritable: boolean;
  /** Of kind "firmware". */
  readonly firmware?: FirmwareRegister;
}

const PSTATE = "pstate";
const HALF_BITS = 64;
const CNTV_CVAL_EL0 = "CNTV_CVAL_EL0";
const CNTVCT_EL0 = "CNTVCT_EL0";
const known: ReadonlySet<string> = new Set(registerNames.map(({ name }) => name));
const writableIds: ReadonlySet<string> = new Set(WRITABLE_ID_REGISTERS.map(({ name }) => name));
/** In the core registers already. */
const IN_CORE: ReadonlySet<string> = new Set(["elr_el1", "spsr_el1", "sp_el0", "fpcr", "fpsr"]);

/** KVM's ids of these two have each the other's encoding, which has become ABI. */
function encodingOf(name: string, selector: number): number {
  const swapped = name === CNTV_CVAL_EL0 ? CNTVCT_EL0 : name === CNTVCT_EL0 ? CNTV_CVAL_EL0 : undefined;
  return swapped === undefined
    ? selector
    : (systemRegisters.find((each) => each.name === swapped)?.selector ?? selector);
}

function systemRegister({ name, selector }: { readonly name: string; readonly selector: number }): OneRegister[] {
  const lower = name.toLowerCase();
  if (!known.has(lower) || IN_CORE.has(lower)) return [];
  const isIdentification = writableIds.has(name);
  return [
    {
      id: systemRegisterId(encodingOf(name, selector)),
      bits: 64,
      name: isIdentification ? name : lower,
      kind: isIdentification ? "identification" : "state",
      isWritable: isIdentification || isWritableRegister(lower),
    },
  ];
}

const REGISTERS: readonly OneRegister[] = [
  ...CORE_REGISTERS.map(([id, name]): OneRegister => ({
    id,
    bits: registerBits(id),
    name,
    kind: "state",
    isWritable: true,
  })),
  ...systemRegisters.flatMap(systemRegister),
  ...CCSIDR_VALUES.flatMap((_, csselr): OneRegister[] => [
    { id: cacheSizeId(csselr), bits: 32, name: `ccsidr ${csselr}`, kind: "cache size", isWritable: false },
  ]),
  ...FIRMWARE_REGISTERS.map((firmware): OneRegister => ({
    id: firmware.id,
    bits: 64,
    name: firmware.name,
    kind: "firmware",
    isWritable: true,
    firmware,
  })),
];

const byId = new Map(REGISTERS.map((register) => [register.id, register] as const));
const byName = new Map(REGISTERS.map((register) => [register.name.toLowerCase(), register] as const));

/** KVM_GET_REG_LIST, in the order in which KVM has its groups: core, system, demultiplexed, firmware. */
export const REGISTER_LIST: readonly bigint[] = REGISTERS.map(({ id }) => id);

/** By the name as it was written, once it has been understood. */
const byWriting = new Map<string, OneRegister>();

function named(name: string): OneRegister | undefined {
  const known = byWriting.get(name);
  if (known !== undefined) return known;
  const found = byName.get(name.toLowerCase()) ?? byName.get(firmwareRegisterNamed(name)?.name.toLowerCase() ?? "");
  if (found !== undefined) byWriting.set(name, found);
  return found;
}

function find(call: string, register: bigint | string): OneRegister {
  const found = typeof register === "bigint" ? byId.get(register) : named(register);
  if (found !== undefined) return found;
  if (typeof register === "bigint" && !isArm64(register))
    throw new KvmError({ errno: "EINVAL", call, reason: `0x${register.toString(16)} is no id of KVM_REG_ARM64` });
  const text = typeof register === "bigint" ? `0x${register.toString(16)}` : register;
  throw new KvmError({ errno: "ENOENT", call, reason: `there is no register ${text}` });
}

function checkInitialized(port: VmmPort, call: string, vcpu: number): void {
  if (isInitialized(port.configuration as Arm64ControlState, vcpu)) return;
  throw new KvmError({ errno: "ENOEXEC", call, reason: `vcpu${vcpu} has had no KVM_ARM_VCPU_INIT` });
}

/** KVM_GET_ONE_REG. Throws KvmError: ENOENT, ENOEXEC, EINVAL for an id of another architecture. */
export function getOneReg(port: VmmPort, vcpu: number, id: bigint | string): bigint {
  const call = "KVM_GET_ONE_REG";
  checkInitialized(port, call, vcpu);
  const register = find(call, id);
  const state = port.configuration as Arm64ControlState;
  switch (register.kind) {
    case "state":
      return port.readRegister(vcpu, register.name);
    case "identification": {
      const row = WRITABLE_ID_REGISTERS.find(({ name }) => name === register.name);
      return row === undefined ? 0n : (idRegisterOf(state, row.selector) ?? row.host);
    }
    case "cache size":
      return CCSIDR_VALUES[Number(register.id & 0xffn)] ?? 0n;
    case "firmware":
      return register.firmware === undefined ? 0n : readFirmwareRegister(state.firmware, register.firmware);
    default:
      return register.kind satisfies never;
  }
}

/** KVM_SET_ONE_REG. Throws KvmError: ENOENT, ENOEXEC, EINVAL, EBUSY. */
export function setOneReg(port: VmmPort, vcpu: number, id: bigint | string, value: bigint): void {
  const call = "KVM_SET_ONE_REG";
  checkInitialized(port, call, vcpu);
  const register = find(call, id);
  if (value < 0n || value >= 1n << BigInt(register.bits))
    throw new KvmError({ errno: "EINVAL", call, reason: `${register.name} has ${register.bits} bits: ${value}` });
  if (register.kind === "firmware" || register.kind === "identification")
    return accepted(port.control({ name: "one-reg", register: register.name, value, vcpu }));
  if (register.name === PSTATE && !hasMode(value))
    throw new KvmError({
      errno: "EINVAL",
      call,
      reason: `pstate 0x${value.toString(16)}: modes are EL0t, EL1t and EL1h`,
    });
  if (register.isWritable) return setState(port, vcpu, register, value);
  // As for every invariant register: the value that it has is taken.
  if (value === getOneReg(port, vcpu, id)) return;
  throw new KvmError({ errno: "EINVAL", call, reason: `${register.name} is the CPU's` });
}

/** A vector register by its halves, D[0] and D[1]. */
function setState(port: VmmPort, vcpu: number, { name, bits }: OneRegister, value: bigint): void {
  if (bits <= HALF_BITS) return port.setRegister(vcpu, name, value);
  port.setRegister(vcpu, `${name}.d[0]`, BigInt.asUintN(HALF_BITS, value));
  port.setRegister(vcpu, `${name}.d[1]`, value >> BigInt(HALF_BITS));
}
