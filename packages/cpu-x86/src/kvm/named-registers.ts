/** Registers by name, as gdb and the manuals write them in lower case. */
import type { RegisterName } from "@hvjournal/core";
import { elementOf, type StateArray, type StateField } from "@hvjournal/engine";
import {
  fcw,
  fdp,
  fip,
  fop,
  fpr,
  fpuTags,
  fsw,
  gdtBase,
  gdtLimit,
  gpr,
  idtBase,
  idtLimit,
  interruptPending,
  interruptVector,
  layout,
  mxcsr,
  rflags,
  rip,
  Segment,
  segmentAttributes,
  segmentBase,
  segmentLimit,
  segmentSelector,
  taskPriority,
  xmm,
} from "../isa/state.js";
import { msrs } from "../isa/msr.js";
import { OUTPUT_REGISTERS } from "./hyperv/xmm-output.js";
import type { VcpuStates } from "./vcpu-state.js";

interface NamedRegister extends RegisterName {
  readonly read: (states: VcpuStates) => bigint;
  readonly write?: (states: VcpuStates, value: bigint) => void;
}

const GENERAL = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] as const;
/** The order of gdb. */
const SHOWN = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"] as const;
const SHOWN_SEGMENTS = ["cs", "ss", "ds", "es", "fs", "gs"] as const;
const ALL_SEGMENTS = [...SHOWN_SEGMENTS, "ldtr", "tr"] as const;

function fieldRegister(name: string, field: StateField, group: RegisterName["group"]): NamedRegister {
  return {
    name,
    bits: field.width,
    group,
    read: (states) => states.engine.readField(field),
    write: (states, value) => {
      states.writeState(field, value);
    },
  };
}

const codeBase = elementOf(segmentBase, Segment.cs);

/** What the linear address at which code stands has more than RIP: nothing in 64-bit mode. */
function codeOffset({ engine, isLongMode }: VcpuStates): bigint {
  return isLongMode ? 0n : engine.readField(codeBase);
}

/** State has the linear address. */
const instructionPointer: NamedRegister = {
  name: "rip",
  bits: 64,
  group: "general",
  read: (states) => BigInt.asUintN(64, states.engine.readField(rip) - codeOffset(states)),
  write: (states, value) => {
    states.writeState(rip, BigInt.asUintN(64, value + codeOffset(states)));
  },
};

function generalRegisters(): NamedRegister[] {
  const numbered = Array.from({ length: 8 }, (_, index) => `r${index + 8}`);
  const general = [...SHOWN, ...numbered].map((name) => {
    const number = GENERAL.indexOf(name as never);
    return fieldRegister(name, elementOf(gpr, number < 0 ? Number(name.slice(1)) : number), "general");
  });
  const flags: NamedRegister = {
    name: "rflags",
    bits: 64,
    group: "general",
    read: (states) => states.readRflags(),
    write: (states, value) => {
      states.writeRflags(value);
    },
  };
  const selectors = SHOWN_SEGMENTS.map((name) =>
    fieldRegister(name, elementOf(segmentSelector, Segment[name]), "general"),
  );
  return [...general, instructionPointer, flags, ...selectors];
}

/** ST(0) to ST(7): which register each is follows from TOP. */
function stackRegisters(): NamedRegister[] {
  return Array.from({ length: fpr.count }, (_, index): NamedRegister => {
    const place = (states: VcpuStates): StateField => {
      const top = (states.engine.readWord(fsw.offset) >> 11) & 7;
      return elementOf(fpr, (top + index) & 7);
    };
    return {
      name: `st${index}`,
      bits: 128,
      group: "vector",
      read: (states) => states.engine.readField(place(states)),
      write: (states, value) => {
        states.engine.writeField(place(states), value);
      },
    };
  });
}

function elements(array: StateArray, prefix: string, group: RegisterName["group"]): NamedRegister[] {
  return Array.from({ length: array.count }, (_, index) =>
    fieldRegister(`${prefix}${index}`, elementOf(array, index), group),
  );
}

function vectorRegisters(): NamedRegister[] {
  const control = [fcw, fsw, fpuTags, fop, fip, fdp, mxcsr].map((field) =>
    fieldRegister(snakeCase(field.name), field, "vector"),
  );
  return [...elements(xmm, "xmm", "vector"), ...stackRegisters(), ...control];
}

/** What KVM_SET_SREGS sets: taken as it is, nothing is checked between two. */
function systemRegisters(): NamedRegister[] {
  const segments = ALL_SEGMENTS.flatMap((name) => {
    const number = Segment[name];
    const hidden = [
      fieldRegister(`${name}_base`, elementOf(segmentBase, number), "system"),
      fieldRegister(`${name}_limit`, elementOf(segmentLimit, number), "system"),
      fieldRegister(`${name}_attributes`, elementOf(segmentAttributes, number), "system"),
    ];
    const isShown = (SHOWN_SEGMENTS as readonly string[]).includes(name);
    return isShown ? hidden : [fieldRegister(name, elementOf(segmentSelector, number), "system"), ...hidden];
  });
  return [
    ...segments,
    fieldRegister("gdtr_base", gdtBase, "system"),
    fieldRegister("gdtr_limit", gdtLimit, "system"),
    fieldRegister("idtr_base", idtBase, "system"),
    fieldRegister("idtr_limit", idtLimit, "system"),
    fieldRegister("cr8", taskPriority, "system"),
  ];
}

/** What is named above, or follows from the irqchip. */
const NAMED_FIELDS: ReadonlySet<string> = new Set(
  [
    ...[rip, rflags, gdtBase, gdtLimit, idtBase, idtLimit, taskPriority],
    ...[fcw, fsw, fpuTags, fop, fip, fdp, mxcsr, interruptPending, interruptVector],
    ...[gpr, xmm, fpr, segmentSelector, segmentBase, segmentLimit, segmentAttributes],
  ].map(({ name }) => name),
);

/** All the rest of the state: each part of it can be seen. */
function otherRegisters(): NamedRegister[] {
  const fields = layout.fields.filter(({ name }) => !NAMED_FIELDS.has(name));
  const msrNames = new Map(msrs.map(({ name, field }) => [field.name, name.toLowerCase()]));
  const arrays = layout.arrays.filter(({ name }) => !NAMED_FIELDS.has(name));
  return [
    ...fields.map((field) => fieldRegister(msrNames.get(field.name) ?? snakeCase(field.name), field, "system")),
    ...arrays.flatMap((array) => elements(array, snakeCase(array.name), "system")),
  ];
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const registers: readonly NamedRegister[] = [
  ...generalRegisters(),
  ...vectorRegisters(),
  ...systemRegisters(),
  ...otherRegisters(),
];

/** A write of 128 bits is two events, for the values of events have 64. */
function vectorHalves(): (readonly [string, NamedRegister])[] {
  return Array.from({ length: xmm.count }, (_, index) => index).flatMap((index) =>
    [0, 1].map((half): readonly [string, NamedRegister] => {
      const name = `xmm${index}.q[${half}]`;
      const field: StateField<64> = { name, width: 64, offset: elementOf(xmm, index).offset + 8 * half };
      return [name, fieldRegister(name, field, "vector")];
    }),
  );
}

/** The lower halves of the general registers, and gdb's name for RFLAGS. */
function aliasesOf(): (readonly [string, NamedRegister])[] {
  const find = (name: string): NamedRegister => {
    const register = registers.find((each) => each.name === name);
    if (register === undefined) throw new RangeError(`amd64 has no register ${name}`);
    return register;
  };
  const half = (alias: string, name: string): readonly [string, NamedRegister] => [
    alias,
    { name: alias, bits: 32, group: "general", read: (states) => BigInt.asUintN(32, find(name).read(states)) },
  ];
  return [
    ...GENERAL.map((name) => half(`e${name.slice(1)}`, name)),
    ...Array.from({ length: 8 }, (_, index) => half(`r${index + 8}d`, `r${index + 8}`)),
    half("eip", "rip"),
    half("eflags", "rflags"),
    // Where code stands, whatever CS.
    ["pc", fieldRegister("pc", rip, "general")],
    ["sp", find("rsp")],
    ["fp", find("rbp")],
    ["efer", find("ia32_efer")],
  ];
}

const aliases = aliasesOf();
const byName: ReadonlyMap<string, NamedRegister> = new Map([
  ...registers.map((register) => [register.name, register] as const),
  ...aliases,
  ...vectorHalves(),
]);

/** Of a vCPU, but no register: KVM_MP_STATE_*. */
export const MP_STATE = "mp_state";

/** `kvm_run.msr.error`, of an MSR exit that is pending: not 0 makes the access #GP. */
export const MSR_ERROR = "msr_error";

/** KVM_SET_CLOCK, KVM_GET_CLOCK of the VM, by any vCPU: nanoseconds. */
export const KVM_CLOCK = "kvm_clock";

const MSR_PREFIX = "msr_0x";

/** Any MSR of KVM_GET_MSRS by its number. */
export function msrRegister(msr: number): string {
  return `${MSR_PREFIX}${msr.toString(16)}`;
}

/** The number in such a name; undefined: it is none. */
export function msrNumberOf(name: string): number | undefined {
  if (!name.startsWith(MSR_PREFIX)) return undefined;
  const digits = name.slice(MSR_PREFIX.length);
  return /^[0-9a-f]{1,8}$/.test(digits) ? Number.parseInt(digits, 16) : undefined;
}

export const registerAliases: readonly string[] = [
  ...aliases.map(([alias]) => alias),
  MP_STATE,
  MSR_ERROR,
  KVM_CLOCK,
  ...OUTPUT_REGISTERS,
];

export const registerNames: readonly RegisterName[] = registers.map(({ name, bits, group }) => ({ name, bits, group }));

function named(name: string): NamedRegister {
  const register = byName.get(name);
  if (register === undefined) throw new RangeError(`amd64 has no register ${name}`);
  return register;
}

export function readNamedRegister(states: VcpuStates, vcpu: number, name: string): bigint {
  const register = named(name);
  return states.with(vcpu, () => register.read(states));
}

export function writeNamedRegister(states: VcpuStates, vcpu: number, name: string, value: bigint): void {
  const register = named(name);
  if (value < 0n || value >> BigInt(register.bits) !== 0n)
    throw new RangeError(`${name} has ${register.bits} bits, ${value} does not fit`);
  const { write } = register;
  if (write === undefined) throw new RangeError(`${name} can't be written`);
  states.with(vcpu, () => {
    write(states, value);
  });
}
