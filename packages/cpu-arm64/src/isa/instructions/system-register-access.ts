/**
 * MRS and MSR: one definition for each combination of home, access rule and trap that the table of system
 * registers has, so that most registers share their code.
 */
import { defineInstruction, type Instruction, type Stage, type Value } from "@hvjournal/engine";
import { assembly, hexImmediate, registerName } from "../assembly-text.js";
import { contextChanged, debugMaskChanged } from "../context.js";
import { operations } from "../engine-operations.js";
import { Daif, selectStack, systemRegisterTrap, undefinedException } from "../exceptions.js";
import { ExitCode } from "../exit-code.js";
import { readNzcv, setFlagsNzcv } from "../flags.js";
import { CCSIDR_VALUES, DCZID_EL0_VALUE } from "../id-registers.js";
import { destinationX, sourceX } from "../operands.js";
import {
  daif,
  exceptionLevel,
  fiqSignalled,
  fpcr,
  fpsr,
  irqSignalled,
  spInactive,
  stackSelect,
  trapPassed,
} from "../state.js";
import {
  type Access,
  csselrEl1,
  type DerivedView,
  type Home,
  isImplementationDefined,
  oslsrEl1,
  OSLSR_OSLK,
  Sctlr,
  sctlrEl1,
  selectorOf,
  syndromeOf,
  type SystemRegister,
  systemRegisterAt,
  systemRegisterName,
  systemRegisters,
  Trap,
  type TrapControl,
} from "../system-registers.js";

const READ_PATTERN = "110101010011 o0:1 op1:3 CRn:4 CRm:4 op2:3 Rt:5";
const WRITE_PATTERN = "110101010001 o0:1 op1:3 CRn:4 CRm:4 op2:3 Rt:5";
type SelectorFields = Readonly<Record<"o0" | "op1" | "CRn" | "CRm" | "op2", number>>;
type RegisterFields = SelectorFields & { readonly Rt: number };

function selectorIn(fields: SelectorFields): number {
  return selectorOf(2 + fields.o0, fields.op1, fields.CRn, fields.CRm, fields.op2);
}

/** The ISS of EC 0x18 in two operands: a record has no room for it beside a 64-bit constant. */
function syndromeOperands(isRead: boolean) {
  const iss = (fields: RegisterFields): number => syndromeOf(selectorIn(fields), fields.Rt, isRead);
  return {
    issLow: { u16: (fields: RegisterFields) => iss(fields) & 0xffff },
    issHigh: { u16: (fields: RegisterFields) => iss(fields) >>> 16 },
  };
}

interface Syndrome {
  readonly issLow: Value<32>;
  readonly issHigh: Value<32>;
}

function joinSyndrome(stage: Stage, { issLow, issHigh }: Syndrome): Value<32> {
  return stage.or(stage.shiftLeft(issHigh, 16), issLow);
}

/** What stands between the guest and a register: exception level, a control of EL1, a trap of the hypervisor. */
export interface Guard {
  readonly access: Access;
  readonly trap: TrapControl | undefined;
}

/** Raises for an access that the current exception level may not make. `iss` gives the syndrome of a trap to EL1. */
export function requireAccess(stage: Stage, access: Access, iss: () => Value<32>): void {
  const isEl0 = (): Value<32> => stage.isZero(stage.read(exceptionLevel));
  if (access.from === "EL1") {
    stage.if(isEl0(), () => {
      stage.raise(undefinedException);
    });
    return;
  }
  const control = access.el0Control;
  if (control === undefined) return;
  const bits = stage.and(stage.read(control.field), stage.constant64(control.bits));
  const refused = control.allowedWhen === "set" ? stage.isZero(bits) : stage.compare("ne", bits, stage.constant64(0));
  stage.if(stage.and(isEl0(), refused), () => {
    stage.raise(systemRegisterTrap, iss());
  });
}

/** Leaves for the hypervisor while the trap control is set and the access has not been let through. */
export function exitIfTrapped(
  stage: Stage,
  trap: TrapControl | undefined,
  iss: () => Value<32>,
  value: Value<64>,
): void {
  if (trap === undefined) return;
  const control = stage.truncate32(stage.extractBits(stage.read(trap.field), trap.bit, 1));
  stage.if(stage.and(control, stage.isZero(stage.read(trapPassed))), () => {
    stage.exitBefore(ExitCode.systemRegister, stage.zeroExtend64(iss()), value);
  });
}

/** Behind the last thing that can raise: the access is made, and the pass is used up. */
export function finishTrapped(stage: Stage, trap: TrapControl | undefined): void {
  if (trap !== undefined) stage.write(trapPassed, stage.constant32(0));
}

function check(stage: Stage, guard: Guard, syndrome: Syndrome, value: Value<64>): void {
  const iss = (): Value<32> => joinSyndrome(stage, syndrome);
  requireAccess(stage, guard.access, iss);
  exitIfTrapped(stage, guard.trap, iss, value);
}

/** Registers that share one definition, and what they share. */
interface RegisterClass {
  readonly title: string;
  readonly selectors: ReadonlySet<number>;
  readonly home: Home;
  readonly guard: Guard;
}

function mayUse({ selectors }: RegisterClass): (fields: SelectorFields) => boolean {
  return (fields) => selectors.has(selectorIn(fields));
}

const readText = (fields: RegisterFields): string =>
  assembly("mrs", registerName(1, fields.Rt), systemRegisterName(selectorIn(fields)));
const writeText = (fields: RegisterFields): string =>
  assembly("msr", systemRegisterName(selectorIn(fields)), registerName(1, fields.Rt));

const REFERENCE = "C4.1 System register move";

function homeAt(fields: SelectorFields): Home | undefined {
  return systemRegisterAt(selectorIn(fields))?.home;
}

function locationAt(fields: SelectorFields): number {
  const home = homeAt(fields);
  return home?.kind === "state" ? home.field.offset : 0;
}

function readStored(group: RegisterClass): Instruction {
  return defineInstruction({
    mnemonic: `MRS (${group.title})`,
    reference: REFERENCE,
    pattern: READ_PATTERN,
    formFields: [],
    where: mayUse(group),
    operands: { target: destinationX("Rt"), location: { u16: locationAt }, ...syndromeOperands(true) },
    text: readText,
    execute(_form, { target, location, ...syndrome }, stage) {
      check(stage, group.guard, syndrome, stage.constant64(0));
      stage.writeAt(target, stage.readAt(64, location));
      finishTrapped(stage, group.guard.trap);
    },
  });
}

function readConstant(group: RegisterClass): Instruction {
  const value = (fields: SelectorFields): bigint => {
    const home = homeAt(fields);
    return home?.kind === "constant" ? home.value : 0n;
  };
  return defineInstruction({
    mnemonic: `MRS (${group.title})`,
    reference: REFERENCE,
    pattern: READ_PATTERN,
    formFields: [],
    where: mayUse(group),
    operands: { target: destinationX("Rt"), value: { i64: value }, ...syndromeOperands(true) },
    text: readText,
    execute(_form, { target, value: known, ...syndrome }, stage) {
      check(stage, group.guard, syndrome, stage.constant64(0));
      stage.writeAt(target, known);
      finishTrapped(stage, group.guard.trap);
    },
  });
}

function readDerived(group: RegisterClass, view: DerivedView): Instruction {
  return defineInstruction({
    mnemonic: `MRS (${group.title})`,
    reference: REFERENCE,
    pattern: READ_PATTERN,
    formFields: [],
    where: mayUse(group),
    operands: { target: destinationX("Rt"), ...syndromeOperands(true) },
    text: readText,
    execute(_form, { target, ...syndrome }, stage) {
      check(stage, group.guard, syndrome, stage.constant64(0));
      stage.writeAt(target, readView(stage, view));
      finishTrapped(stage, group.guard.trap);
    },
  });
}

function readElsewhere(group: RegisterClass): Instruction {
  return defineInstruction({
    mnemonic: `MRS (${group.title})`,
    reference: REFERENCE,
    pattern: READ_PATTERN,
    formFields: [],
    where: mayUse(group),
    operands: syndromeOperands(true),
    text: readText,
    execute(_form, syndrome, stage) {
      check(stage, group.guard, syndrome, stage.constant64(0));
      endElsewhere(stage, group.home, syndrome, stage.constant64(0));
    },
  });
}

/** A register of the kernel half is its exit; one that is nowhere is undefined. */
function endElsewhere(stage: Stage, home: Home, syndrome: Syndrome, value: Value<64>): void {
  if (home.kind === "service") {
    stage.exitBefore(ExitCode.systemRegister, stage.zeroExtend64(joinSyndrome(stage, syndrome)), value);
  } else stage.raise(undefinedException);
}

/** A write that would enable what is not simulated leaves, by name, and never comes back. */
function refuseUnsimulated(stage: Stage, bits: bigint | undefined, syndrome: Syndrome, value: Value<64>): void {
  if (bits === undefined) return;
  const refused = stage.compare("ne", stage.and(value, stage.constant64(bits)), stage.constant64(0));
  stage.if(refused, () => {
    stage.exitBefore(ExitCode.notSimulated, stage.zeroExtend64(joinSyndrome(stage, syndrome)), value);
  });
}

function writeStored(group: RegisterClass, home: Home & { readonly kind: "state" }): Instruction {
  return defineInstruction({
    mnemonic: `MSR (${group.title})`,
    reference: REFERENCE,
    pattern: WRITE_PATTERN,
    formFields: [],
    where: mayUse(group),
    operands: { source: sourceX("Rt"), location: { u16: locationAt }, ...syndromeOperands(false) },
    text: writeText,
    execute(_form, { source, location, ...syndrome }, stage) {
      const value = stage.readAt(64, source);
      check(stage, group.guard, syndrome, value);
      refuseUnsimulated(stage, home.notSimulated, syndrome, value);
      const masked = stage.and(value, stage.constant64(home.writable));
      stage.writeAt(location, stage.or(masked, stage.constant64(home.ones)));
      finishTrapped(stage, group.guard.trap);
      if (home.effect?.includes("translation") === true) operations.translationChanged(stage);
      if (home.effect?.includes("context") === true) contextChanged(stage);
      if (home.effect !== undefined) stage.endBlock(home.effect);
    },
  });
}

function writeDerived(group: RegisterClass, view: DerivedView): Instruction {
  return defineInstruction({
    mnemonic: `MSR (${group.title})`,
    reference: REFERENCE,
    pattern: WRITE_PATTERN,
    formFields: [],
    where: mayUse(group),
    operands: { source: sourceX("Rt"), ...syndromeOperands(false) },
    text: writeText,
    execute(_form, { source, ...syndrome }, stage) {
      const value = stage.readAt(64, source);
      check(stage, group.guard, syndrome, value);
      if (view === "spEl0") requireOtherStack(stage);
      finishTrapped(stage, group.guard.trap);
      writeView(stage, view, value);
    },
  });
}

/** Registers in the kernel half, absent ones, and constants, whose writes are ignored. */
function writeElsewhere(group: RegisterClass): Instruction {
  return defineInstruction({
    mnemonic: `MSR (${group.title})`,
    reference: REFERENCE,
    pattern: WRITE_PATTERN,
    formFields: [],
    where: mayUse(group),
    operands: { source: sourceX("Rt"), ...syndromeOperands(false) },
    text: writeText,
    execute(_form, { source, ...syndrome }, stage) {
      const value = stage.readAt(64, source);
      check(stage, group.guard, syndrome, value);
      if (group.home.kind === "constant") finishTrapped(stage, group.guard.trap);
      else endElsewhere(stage, group.home, syndrome, value);
    },
  });
}

/** SP_EL0 has no name of its own while it is the stack pointer in use: undefined. */
function requireOtherStack(stage: Stage): void {
  stage.if(stage.isZero(stage.read(stackSelect)), () => {
    stage.raise(undefinedException);
  });
}

function readView(stage: Stage, view: DerivedView): Value<64> {
  switch (view) {
    case "nzcv":
      return stage.zeroExtend64(stage.shiftLeft(readNzcv(stage), 28));
    case "daif":
      return stage.zeroExtend64(stage.read(daif));
    case "currentEl":
      return stage.zeroExtend64(stage.shiftLeft(stage.read(exceptionLevel), 2));
    case "spsel":
      return stage.zeroExtend64(stage.read(stackSelect));
    case "spEl0":
      requireOtherStack(stage);
      return stage.read(spInactive);
    case "fpcr":
      return stage.zeroExtend64(stage.read(fpcr));
    case "fpsr":
      return stage.zeroExtend64(stage.read(fpsr));
    case "isr":
      return stage.zeroExtend64(signalledInterrupts(stage));
    case "ccsidr":
      return cacheSize(stage);
    case "dczid":
      return zeroBlockSize(stage);
    case "oslar":
      throw new Error("OSLAR_EL1 can't be read");
    default:
      return view satisfies never;
  }
}

/** ISR_EL1: I and F in the places of DAIF. */
function signalledInterrupts(stage: Stage): Value<32> {
  const none = stage.constant32(0);
  const irq = stage.select(stage.read(irqSignalled), stage.constant32(Daif.I), none);
  return stage.or(irq, stage.select(stage.read(fiqSignalled), stage.constant32(Daif.F), none));
}

/** CCSIDR_EL1 of the cache that CSSELR_EL1 selects; 0 for one that is not there. */
function cacheSize(stage: Stage): Value<64> {
  const selected = stage.read(csselrEl1);
  return CCSIDR_VALUES.reduce(
    (rest, value, index) =>
      stage.select(stage.compare("eq", selected, stage.constant64(index)), stage.constant64(value), rest),
    stage.constant64(0),
  );
}

/** DCZID_EL0, whose bit 4 says that EL0 may not use DC ZVA. */
function zeroBlockSize(stage: Stage): Value<64> {
  const allowed = stage.truncate32(stage.extractBits(stage.read(sctlrEl1), Sctlr.DZE, 1));
  const prohibited = stage.isZero(stage.or(allowed, stage.read(exceptionLevel)));
  return stage.or(stage.constant64(DCZID_EL0_VALUE), stage.shiftLeft(stage.zeroExtend64(prohibited), 4));
}

/** AHP, DN, FZ, RMode: the trap enables are not implemented, the AArch32 fields not there. */
const FPCR_WRITABLE = 0x07c0_0000;
/** QC and the cumulative exception bits. */
const FPSR_WRITABLE = 0x0800_009f;
const DAIF_WRITABLE = Daif.D | Daif.A | Daif.I | Daif.F;

function writeView(stage: Stage, view: DerivedView, value: Value<64>): void {
  const word = stage.truncate32(value);
  const masked = (mask: number): Value<32> => stage.and(word, stage.constant32(mask));
  switch (view) {
    case "nzcv":
      return setFlagsNzcv(stage, stage.shiftRight(word, 28));
    case "daif":
      stage.write(daif, masked(DAIF_WRITABLE));
      debugMaskChanged(stage);
      return stage.endBlock("interrupt mask");
    case "spsel":
      selectStack(stage, masked(1));
      contextChanged(stage);
      return stage.endBlock("context");
    case "spEl0":
      return stage.write(spInactive, value);
    case "fpcr":
      return stage.write(fpcr, masked(FPCR_WRITABLE));
    case "fpsr":
      return stage.write(fpsr, masked(FPSR_WRITABLE));
    case "oslar": {
      const others = stage.and(stage.read(oslsrEl1), stage.constant64(~(1n << BigInt(OSLSR_OSLK))));
      const lock = stage.shiftLeft(stage.zeroExtend64(masked(1)), OSLSR_OSLK);
      stage.write(oslsrEl1, stage.or(others, lock));
      contextChanged(stage);
      return stage.endBlock("context");
    }
    case "currentEl":
    case "isr":
    case "ccsidr":
    case "dczid":
      throw new Error(`${view} can't be written`);
    default:
      return view satisfies never;
  }
}

type Direction = "read" | "write";

/** One class per distinct combination, named after its only register or after what its registers share. */
function classesOf(rows: readonly SystemRegister[], direction: Direction): RegisterClass[] {
  const groups = new Map<
    string,
    { readonly first: SystemRegister; readonly guard: Guard; readonly selectors: Set<number> }
  >();
  for (const row of rows) {
    const access = row[direction];
    if (access === undefined) continue;
    const guard: Guard = { access, trap: direction === "read" ? row.readTrap : row.writeTrap };
    const key = shared(row.home, direction, guard);
    const group = groups.get(key) ?? { first: row, guard, selectors: new Set<number>() };
    group.selectors.add(row.selector);
    groups.set(key, group);
  }
  return [...groups].map(([key, { first, guard, selectors }]) => ({
    title: selectors.size === 1 ? first.name : key,
    selectors,
    home: first.home,
    guard,
  }));
}

function shared(home: Home, direction: Direction, { access, trap }: Guard): string {
  const parts: string[] = [home.kind];
  if (home.kind === "derived") parts.push(home.view);
  if (home.kind === "state" && direction === "write") {
    parts.push(
      home.notSimulated === undefined ? "" : "not simulated",
      home.effect ?? "",
      `mask ${hexImmediate(home.writable)}`,
      home.ones === 0n ? "" : hexImmediate(home.ones),
    );
  }
  parts.push(access.from, access.el0Control?.name ?? "", trap?.name ?? "");
  return parts.filter((part) => part !== "").join(", ");
}

function readDefinition(group: RegisterClass): Instruction {
  const { home } = group;
  if (home.kind === "state") return readStored(group);
  if (home.kind === "constant") return readConstant(group);
  if (home.kind === "derived") return readDerived(group, home.view);
  return readElsewhere(group);
}

function writeDefinition(group: RegisterClass): Instruction {
  const { home } = group;
  if (home.kind === "state") return writeStored(group, home);
  if (home.kind === "derived") return writeDerived(group, home.view);
  return writeElsewhere(group);
}

function definitionsOf(rows: readonly SystemRegister[]): Instruction[] {
  return [...classesOf(rows, "read").map(readDefinition), ...classesOf(rows, "write").map(writeDefinition)];
}

/** Encodings of the host CPU's own registers: they exit while HCR_EL2.TIDCP is set, from EL1. */
const implementationDefined: readonly Instruction[] = (["read", "write"] as const).map((direction) =>
  defineInstruction({
    mnemonic: `${direction === "read" ? "MRS" : "MSR"} (IMPLEMENTATION DEFINED)`,
    reference: REFERENCE,
    pattern: direction === "read" ? READ_PATTERN : WRITE_PATTERN,
    formFields: [],
    where: (fields) => isImplementationDefined(selectorIn(fields)),
    operands: { source: sourceX("Rt"), ...syndromeOperands(direction === "read") },
    text: direction === "read" ? readText : writeText,
    execute(_form, { source, ...syndrome }, stage) {
      const value = direction === "read" ? stage.constant64(0) : stage.readAt(64, source);
      check(stage, { access: { from: "EL1" }, trap: Trap.TIDCP }, syndrome, value);
      stage.raise(undefinedException);
    },
  }),
);

function isFloatControl({ home }: SystemRegister): boolean {
  return home.kind === "derived" && (home.view === "fpcr" || home.view === "fpsr");
}

/** FPCR and FPSR, which CPACR_EL1.FPEN traps as it does SIMD and FP instructions. */
export const floatControlAccesses: readonly Instruction[] = definitionsOf(systemRegisters.filter(isFloatControl));

export const systemRegisterAccesses: readonly Instruction[] = [
  ...definitionsOf(systemRegisters.filter((row) => !isFloatControl(row))),
  ...implementationDefined,
];
