/** Registers by name, as gdb and the manuals write them in lower case. */
import type { RegisterName } from "@hvjournal/core";
import { elementOf, type StateField } from "@hvjournal/engine";
import { CCSIDR_VALUES } from "../isa/id-registers.js";
import { fpcr, fpsr, pc, sp, spInactive, stackSelect, v } from "../isa/state.js";
import { csselrEl1, type SystemRegister, systemRegisters } from "../isa/system-registers.js";
import { isSettable } from "./timers.js";
import type { VcpuStates } from "./vcpu-state.js";

/** What reads a register that the kernel half keeps; undefined when reading it would change something. */
export type ServiceReader = (vcpu: number, selector: number) => bigint | undefined;
/** Writes a register that the kernel half keeps. */
export type ServiceWriter = (vcpu: number, selector: number, value: bigint) => void;

interface NamedRegister extends RegisterName {
  readonly read: (states: VcpuStates, vcpu: number, service: ServiceReader) => bigint;
  readonly write?: (states: VcpuStates, value: bigint, vcpu: number, service: ServiceWriter) => void;
}

const U32_MASK = 0xffff_ffffn;
const VECTOR_HALVES = [0, 1] as const;

function generalRegisters(): NamedRegister[] {
  const numbered = Array.from({ length: 31 }, (_, index): NamedRegister => ({
    name: `x${index}`,
    bits: 64,
    group: "general",
    read: (states) => states.readX(index),
    write: (states, value) => {
      states.writeX(index, value);
    },
  }));
  const field = (name: string, place: typeof sp): NamedRegister => ({
    name,
    bits: 64,
    group: "general",
    read: (states) => states.engine.readField(place),
    write: (states, value) => {
      states.engine.writeField(place, value);
      states.stateWritten();
    },
  });
  const pstate: NamedRegister = {
    name: "pstate",
    bits: 32,
    group: "general",
    read: (states) => states.pstate,
    write: (states, value) => {
      states.pstate = value;
    },
  };
  return [...numbered, field("sp", sp), field("pc", pc), pstate];
}

function vectorRegisters(): NamedRegister[] {
  const numbered = Array.from({ length: 32 }, (_, index): NamedRegister => {
    const place = elementOf(v, index);
    return {
      name: `v${index}`,
      bits: 128,
      group: "vector",
      read: (states) => states.engine.readField(place),
      write: (states, value) => {
        states.engine.writeField(place, value);
      },
    };
  });
  const control = [
    { name: "fpcr", place: fpcr },
    { name: "fpsr", place: fpsr },
  ].map(({ name, place }): NamedRegister => ({
    name,
    bits: 32,
    group: "vector",
    read: (states) => states.engine.readField(place),
    write: (states, value) => {
      states.engine.writeField(place, value & U32_MASK);
    },
  }));
  return [...numbered, ...control];
}

/** V0.D[0] and V0.D[1]: a write of 128 bits is two events, for the values of events have 64. */
function vectorHalves(): (readonly [string, NamedRegister])[] {
  return Array.from({ length: 32 }, (_, index) => index).flatMap((index) => {
    const { offset } = elementOf(v, index);
    return VECTOR_HALVES.map((half): readonly [string, NamedRegister] => {
      const name = `v${index}.d[${half}]`;
      const place: StateField<64> = { name, width: 64, offset: offset + 8 * half };
      return [
        name,
        {
          name,
          bits: 64,
          group: "vector",
          read: (states) => states.engine.readField(place),
          write: (states, value) => {
            states.engine.writeField(place, value);
          },
        },
      ];
    });
  });
}

/** SP_EL0 and SP_EL1 whichever of them is the stack pointer in use. */
function stackPointers(): NamedRegister[] {
  return [0n, 1n].map((level): NamedRegister => {
    const place = (states: VcpuStates): typeof sp => (states.engine.readField(stackSelect) === level ? sp : spInactive);
    return {
      name: `sp_el${level}`,
      bits: 64,
      group: "system",
      read: (states) => states.engine.readField(place(states)),
      write: (states, value) => {
        states.engine.writeField(place(states), value);
        states.stateWritten();
      },
    };
  });
}

/** Registers that show parts of PSTATE or FPCR under another name, or can't be read at all. */
const SHOWN_ELSEWHERE: ReadonlySet<string> = new Set([
  "nzcv",
  "daif",
  "currentEl",
  "spsel",
  "spEl0",
  "fpcr",
  "fpsr",
  "isr",
  "oslar",
  "dczid",
]);

function serviceAccess(selector: number): Pick<NamedRegister, "read" | "write"> {
  const read: NamedRegister["read"] = (_states, vcpu, service) => service(vcpu, selector) ?? 0n;
  if (!isSettable(selector)) return { read };
  return {
    read,
    write: (_states, value, vcpu, service) => {
      service(vcpu, selector, value);
    },
  };
}

function systemRegisterOf(register: SystemRegister): NamedRegister[] {
  const { home } = register;
  const common = { name: register.name.toLowerCase(), bits: 64, group: "system" } as const;
  switch (home.kind) {
    case "state":
      return [
        {
          ...common,
          read: (states) => states.engine.readField(home.field),
          write: (states, value) => {
            states.engine.writeField(home.field, (value & home.writable) | home.ones);
            states.stateWritten();
          },
        },
      ];
    case "constant":
      return register.read === undefined
        ? []
        : [
            {
              ...common,
              isConstant: true,
              read: (_states, vcpu, service) => service(vcpu, register.selector) ?? home.value,
            },
          ];
    case "service":
      return register.read === undefined ? [] : [{ ...common, ...serviceAccess(register.selector) }];
    case "derived":
      if (SHOWN_ELSEWHERE.has(home.view)) return [];
      return [{ ...common, read: (states) => CCSIDR_VALUES[Number(states.engine.readField(csselrEl1))] ?? 0n }];
    case "absent":
      return [];
    default:
      return home satisfies never;
  }
}

/** Reading these acknowledges an interrupt, so they are not shown. */
function isReadable(register: SystemRegister): boolean {
  return !register.name.startsWith("ICC_IAR");
}

const registers: readonly NamedRegister[] = [
  ...generalRegisters(),
  ...vectorRegisters(),
  ...stackPointers(),
  ...systemRegisters.filter(isReadable).flatMap(systemRegisterOf),
];

/** The lower halves of the general registers. */
const words = Array.from({ length: 31 }, (_, index): readonly [string, NamedRegister] => [
  `w${index}`,
  { name: `w${index}`, bits: 32, group: "general", read: (states) => states.readX(index) & U32_MASK },
]);

const aliases: readonly (readonly [string, NamedRegister])[] = [
  ...words,
  // gdb's name for PSTATE, and the ABI's for two general registers.
  ...[
    ["cpsr", "pstate"],
    ["fp", "x29"],
    ["lr", "x30"],
  ].flatMap(([alias = "", name]) =>
    registers.filter((register) => register.name === name).map((register) => [alias, register] as const),
  ),
];

const byName: ReadonlyMap<string, NamedRegister> = new Map([
  ...registers.map((register) => [register.name, register] as const),
  ...aliases,
  ...vectorHalves(),
]);

/** Of a vCPU, but no register: KVM_MP_STATE_*. */
export const MP_STATE = "mp_state";

export const registerAliases: readonly string[] = [...aliases.map(([alias]) => alias), MP_STATE];

export function isWritableRegister(name: string): boolean {
  return byName.get(name)?.write !== undefined;
}

export const registerNames: readonly RegisterName[] = registers.map(({ name, bits, group, isConstant = false }) => ({
  name,
  bits,
  group,
  isConstant,
}));

function named(name: string): NamedRegister {
  const register = byName.get(name);
  if (register === undefined) throw new RangeError(`arm64 has no register ${name}`);
  return register;
}

export function readNamedRegister(states: VcpuStates, vcpu: number, name: string, service: ServiceReader): bigint {
  const register = named(name);
  return states.with(vcpu, () => register.read(states, vcpu, service));
}

/** Of the general registers, which the VMM half writes for each call that it answers. */
const generalIndexes: ReadonlyMap<string, number> = new Map(
  Array.from({ length: 31 }, (_, index) => [`x${index}`, index] as const),
);

export function writeNamedRegister(
  states: VcpuStates,
  vcpu: number,
  { name, value }: { readonly name: string; readonly value: bigint },
  service: ServiceWriter,
): void {
  const general = generalIndexes.get(name);
  if (general !== undefined && vcpu === states.engine.currentVcpu && BigInt.asUintN(64, value) === value) {
    states.writeX(general, value);
    return;
  }
  const register = named(name);
  if (BigInt.asUintN(register.bits, value) !== value)
    throw new RangeError(`${name} has ${register.bits} bits, ${value} does not fit`);
  if (register.write === undefined) throw new RangeError(`${name} can't be written`);
  const { write } = register;
  states.with(vcpu, () => {
    write(states, value, vcpu, service);
  });
}
