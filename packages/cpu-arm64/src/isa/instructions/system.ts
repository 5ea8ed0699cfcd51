/** Exception generation and return, hints, barriers, PSTATE, and the SYS space: Arm ARM C4.1, C5, C6.2. */
import {
  AccessKind,
  defineInstruction,
  type Instruction,
  type Routine,
  type Stage,
  type Value,
} from "@hvjournal/engine";
import { assembly, hexImmediate, registerName } from "../assembly-text.js";
import { contextChanged, debugMaskChanged } from "../context.js";
import { operations } from "../engine-operations.js";
import {
  maintenanceFault,
  returnFromException,
  selectStack,
  softwareBreakpoint,
  supervisorCall,
  undefinedException,
  waitForEventTrap,
  waitForInterruptTrap,
} from "../exceptions.js";
import { ExitCode } from "../exit-code.js";
import { ZERO_BLOCK_BYTES } from "../id-registers.js";
import { sourceX } from "../operands.js";
import {
  daif,
  eventRegister,
  exceptionLevel,
  exclusiveBytes,
  fiqSignalled,
  irqSignalled,
  pc,
  yieldExits,
} from "../state.js";
import {
  type Access,
  el0Cache,
  el0InterruptMask,
  el0Zero,
  isImplementationDefined,
  mairEl1,
  parEl1,
  Sctlr,
  sctlrEl1,
  selectorOf,
  syndromeOf,
  Trap,
  type TrapControl,
} from "../system-registers.js";
import { FAULT, FaultStatus, translate, translatedDescriptor } from "../translation.js";
import {
  exitIfTrapped,
  finishTrapped,
  floatControlAccesses,
  requireAccess,
  systemRegisterAccesses,
} from "./system-register-access.js";

const fromEl1: Access = { from: "EL1" };

function raiseAtEl0(stage: Stage): void {
  requireAccess(stage, fromEl1, () => stage.constant32(0));
}

// Exception generation and return

const immediate = { i32: (fields: { readonly imm16: number }) => fields.imm16 };
const immediateText =
  (mnemonic: string) =>
  (fields: { readonly imm16: number }): string =>
    assembly(mnemonic, hexImmediate(fields.imm16));

const exceptionGeneration: readonly Instruction[] = [
  defineInstruction({
    mnemonic: "SVC",
    reference: "C4.1 Exception generation",
    pattern: "11010100000 imm16:16 00001",
    formFields: [],
    operands: { immediate },
    text: immediateText("svc"),
    execute(_form, operands, stage) {
      stage.raise(supervisorCall, operands.immediate);
    },
  }),
  defineInstruction({
    mnemonic: "HVC",
    reference: "C4.1 Exception generation",
    pattern: "11010100000 imm16:16 00010",
    formFields: [],
    operands: { immediate },
    text: immediateText("hvc"),
    execute(_form, operands, stage) {
      raiseAtEl0(stage);
      stage.exitAfter(ExitCode.hypervisorCall, stage.zeroExtend64(operands.immediate));
    },
  }),
  defineInstruction({
    mnemonic: "SMC",
    reference: "C4.1 Exception generation",
    pattern: "11010100000 imm16:16 00011",
    formFields: [],
    operands: { immediate },
    text: immediateText("smc"),
    execute(_form, operands, stage) {
      raiseAtEl0(stage);
      stage.exitBefore(ExitCode.secureMonitorCall, stage.zeroExtend64(operands.immediate));
    },
  }),
  defineInstruction({
    mnemonic: "BRK",
    reference: "C4.1 Exception generation",
    pattern: "11010100001 imm16:16 00000",
    formFields: [],
    operands: { immediate },
    text: immediateText("brk"),
    execute(_form, operands, stage) {
      stage.raise(softwareBreakpoint, operands.immediate);
    },
  }),
  // Halting debug is disabled, and the vCPU is never in Debug state.
  undefinedDefinition("HLT", "C4.1 Exception generation", "11010100010 imm16:16 00000", (fields) =>
    hexImmediate(fields["imm16"] ?? 0),
  ),
  undefinedDefinition("DCPS1", "C4.1 Exception generation", "11010100101 imm16:16 00001", dcpsText),
  undefinedDefinition("DCPS2", "C4.1 Exception generation", "11010100101 imm16:16 00010", dcpsText),
  undefinedDefinition("DCPS3", "C4.1 Exception generation", "11010100101 imm16:16 00011", dcpsText),
  undefinedDefinition("DRPS", "C4.1 Unconditional branch (register)", "11010110101111110000001111100000", () => ""),
  defineInstruction({
    mnemonic: "ERET",
    reference: "C4.1 Unconditional branch (register)",
    pattern: "11010110100111110000001111100000",
    formFields: [],
    operands: {},
    text: () => "eret",
    execute(_form, _operands, stage) {
      raiseAtEl0(stage);
      stage.jump(returnFromException(stage), { contextChanged: true });
    },
  }),
];

function dcpsText(fields: Readonly<Record<string, number>>): string {
  const value = fields["imm16"] ?? 0;
  return value === 0 ? "" : hexImmediate(value);
}

/** An allocated encoding that is always undefined here, so that it is not counted as unknown. */
function undefinedDefinition(
  mnemonic: string,
  reference: string,
  pattern: string,
  operandText: (fields: Readonly<Record<string, number>>) => string,
): Instruction {
  return {
    mnemonic,
    reference,
    pattern,
    formFields: [],
    operands: {},
    text: (fields) => assembly(mnemonic.toLowerCase(), operandText(fields)).trimEnd(),
    execute(_form, _operands, stage) {
      stage.raise(undefinedException);
    },
  };
}

// Hints

function hint(mnemonic: string, crmOp2: string, execute: (stage: Stage) => void): Instruction {
  return {
    mnemonic,
    reference: "C4.1 Hints",
    pattern: `11010101000000110010 ${crmOp2} 11111`,
    formFields: [],
    operands: {},
    text: () => mnemonic.toLowerCase(),
    execute: (_form, _operands, stage) => {
      execute(stage);
    },
  };
}

/** A wait at EL0 traps to EL1 while its SCTLR_EL1 bit is clear. */
function trapWaitAtEl0(stage: Stage, control: number, routine: typeof waitForInterruptTrap): void {
  const allowed = stage.truncate32(stage.extractBits(stage.read(sctlrEl1), control, 1));
  stage.if(stage.isZero(stage.or(stage.read(exceptionLevel), allowed)), () => {
    stage.raise(routine);
  });
}

function isSignalled(stage: Stage): Value<32> {
  return stage.or(stage.read(irqSignalled), stage.read(fiqSignalled));
}

/** Hints by number, CRm:op2, with names; the others of the hint space do nothing and are printed by number. */
const HINT_NAMES: ReadonlyMap<number, string> = new Map([
  [0x06, "dgh"],
  [0x07, "xpaclri"],
  [0x08, "pacia1716"],
  [0x0a, "pacib1716"],
  [0x0c, "autia1716"],
  [0x0e, "autib1716"],
  [0x10, "esb"],
  [0x11, "psb csync"],
  [0x12, "tsb csync"],
  [0x14, "csdb"],
  [0x18, "paciaz"],
  [0x19, "paciasp"],
  [0x1a, "pacibz"],
  [0x1b, "pacibsp"],
  [0x1c, "autiaz"],
  [0x1d, "autiasp"],
  [0x1e, "autibz"],
  [0x1f, "autibsp"],
  [0x20, "bti"],
  [0x22, "bti c"],
  [0x24, "bti j"],
  [0x26, "bti jc"],
]);

const hints: readonly Instruction[] = [
  hint("NOP", "0000 000", () => undefined),
  hint("YIELD", "0000 001", (stage) => {
    stage.if(stage.read(yieldExits), () => {
      stage.exitAfter(ExitCode.yield);
    });
  }),
  hint("WFE", "0000 010", (stage) => {
    stage.if(
      stage.read(eventRegister),
      () => {
        stage.write(eventRegister, stage.constant32(0));
      },
      () => {
        trapWaitAtEl0(stage, Sctlr.nTWE, waitForEventTrap);
        stage.exitAfter(ExitCode.waitForEvent);
      },
    );
  }),
  // An interrupt that is signalled ends the wait at once, masked or not.
  hint("WFI", "0000 011", (stage) => {
    stage.if(stage.isZero(isSignalled(stage)), () => {
      trapWaitAtEl0(stage, Sctlr.nTWI, waitForInterruptTrap);
      stage.exitAfter(ExitCode.waitForInterrupt);
    });
  }),
  hint("SEV", "0000 100", (stage) => {
    stage.write(eventRegister, stage.constant32(1));
    stage.if(stage.read(yieldExits), () => {
      stage.exitAfter(ExitCode.sendEvent);
    });
  }),
  hint("SEVL", "0000 101", (stage) => {
    stage.write(eventRegister, stage.constant32(1));
  }),
  defineInstruction({
    mnemonic: "HINT",
    reference: "C4.1 Hints",
    pattern: "11010101000000110010 CRm:4 op2:3 11111",
    formFields: [],
    operands: {},
    text(fields) {
      const number = fields.CRm * 8 + fields.op2;
      return HINT_NAMES.get(number) ?? assembly("hint", hexImmediate(number));
    },
    execute: () => undefined,
  }),
];

// Barriers and the monitor. There is one order of memory accesses, the program's.

const BARRIER_OPTIONS: readonly (string | undefined)[] = [
  undefined,
  "oshld",
  "oshst",
  "osh",
  undefined,
  "nshld",
  "nshst",
  "nsh",
  undefined,
  "ishld",
  "ishst",
  "ish",
  undefined,
  "ld",
  "st",
  "sy",
];

function barrierText(mnemonic: string): (fields: { readonly CRm: number }) => string {
  return ({ CRm }) => assembly(mnemonic, BARRIER_OPTIONS[CRm] ?? `#0x${CRm.toString(16).padStart(2, "0")}`);
}

const barriers: readonly Instruction[] = [
  defineInstruction({
    mnemonic: "CLREX",
    reference: "C4.1 Barriers",
    pattern: "11010101000000110011 CRm:4 010 11111",
    formFields: [],
    operands: {},
    text: ({ CRm }) => (CRm === 15 ? "clrex" : assembly("clrex", hexImmediate(CRm))),
    execute(_form, _operands, stage) {
      stage.write(exclusiveBytes, stage.constant32(0));
    },
  }),
  defineInstruction({
    mnemonic: "DSB",
    reference: "C4.1 Barriers",
    pattern: "11010101000000110011 CRm:4 100 11111",
    formFields: [],
    operands: {},
    text: ({ CRm }) => (CRm === 0 ? "ssbb" : CRm === 4 ? "pssbb" : barrierText("dsb")({ CRm })),
    execute: () => undefined,
  }),
  defineInstruction({
    mnemonic: "DMB",
    reference: "C4.1 Barriers",
    pattern: "11010101000000110011 CRm:4 101 11111",
    formFields: [],
    operands: {},
    text: barrierText("dmb"),
    execute: () => undefined,
  }),
  defineInstruction({
    mnemonic: "ISB",
    reference: "C4.1 Barriers",
    pattern: "11010101000000110011 CRm:4 110 11111",
    formFields: [],
    operands: {},
    text: ({ CRm }) => (CRm === 15 ? "isb" : assembly("isb", hexImmediate(CRm))),
    execute: () => undefined,
  }),
];

// MSR (immediate)

const DAIF_SHIFT = 6;

/** DAIFSet and DAIFClr: the immediate has D, A, I, F in bits 3 to 0. */
function interruptMask(name: "DAIFSet" | "DAIFClr", op2: "110" | "111"): Instruction {
  const iss = (crm: number): number => syndromeOf(selectorOf(0, 3, 4, crm, Number.parseInt(op2, 2)), 31, false);
  return defineInstruction({
    mnemonic: `MSR (${name})`,
    reference: "C4.1 PSTATE",
    pattern: `1101010100000 011 0100 CRm:4 ${op2} 11111`,
    formFields: [],
    operands: {
      mask: { u16: (fields) => fields.CRm << DAIF_SHIFT },
      iss: { i32: (fields) => iss(fields.CRm) },
    },
    text: ({ CRm }) => assembly("msr", name.toLowerCase(), hexImmediate(CRm)),
    execute(_form, { mask, iss: syndrome }, stage) {
      requireAccess(stage, el0InterruptMask, () => syndrome);
      const masks = stage.read(daif);
      stage.write(daif, name === "DAIFSet" ? stage.or(masks, mask) : stage.and(masks, stage.not(mask)));
      debugMaskChanged(stage);
      if (name === "DAIFClr") stage.endBlock("interrupt mask");
    },
  });
}

const processState: readonly Instruction[] = [
  defineInstruction({
    mnemonic: "MSR (SPSel, immediate)",
    reference: "C4.1 PSTATE",
    pattern: "1101010100000 000 0100 CRm:4 101 11111",
    formFields: [],
    operands: { selected: { u16: (fields) => fields.CRm & 1 } },
    text: ({ CRm }) => assembly("msr", "spsel", hexImmediate(CRm)),
    execute(_form, { selected }, stage) {
      raiseAtEl0(stage);
      selectStack(stage, selected);
      contextChanged(stage);
      stage.endBlock("context");
    },
  }),
  interruptMask("DAIFSet", "110"),
  interruptMask("DAIFClr", "111"),
];

// SYS: cache, TLB and address translation instructions

const SYSTEM_PATTERN = "1101010100001 op1:3 CRn:4 CRm:4 op2:3 Rt:5";
type SystemFields = Readonly<Record<"op1" | "CRn" | "CRm" | "op2" | "Rt", number>>;

interface SystemOperation {
  readonly name: string;
  readonly encoding: readonly [op1: number, crn: number, crm: number, op2: number];
  readonly takesRegister: boolean;
}

function selectorIn(fields: Omit<SystemFields, "Rt">): number {
  return selectorOf(1, fields.op1, fields.CRn, fields.CRm, fields.op2);
}

function operation(name: string, ...encoding: SystemOperation["encoding"]): SystemOperation {
  return { name, encoding, takesRegister: !/iallu|vmalle1/.test(name) };
}

/** One definition for operations that do the same. */
function systemDefinition(
  mnemonic: string,
  rows: readonly SystemOperation[],
  access: Access,
  execute: (stage: Stage, address: Value<64>, iss: Value<32>) => void,
): Instruction {
  const bySelector = new Map(rows.map((row) => [selectorOf(1, ...row.encoding), row] as const));
  return defineInstruction({
    mnemonic,
    reference: "C4.1 System instructions",
    pattern: SYSTEM_PATTERN,
    formFields: [],
    where: (fields) => bySelector.has(selectorIn(fields)),
    operands: {
      source: sourceX("Rt"),
      iss: { i32: (fields) => syndromeOf(selectorIn(fields), fields.Rt, false) },
    },
    text(fields) {
      const row = bySelector.get(selectorIn(fields));
      if (row === undefined) return "";
      return row.takesRegister ? `${row.name}, ${registerName(1, fields.Rt)}` : row.name;
    },
    execute(_form, { source, iss }, stage) {
      requireAccess(stage, access, () => iss);
      execute(stage, stage.readAt(64, source), iss);
    },
  });
}

const TLBI_NAMES: ReadonlyMap<number, string> = new Map([
  [0, "vmalle1"],
  [1, "vae1"],
  [2, "aside1"],
  [3, "vaae1"],
  [5, "vale1"],
  [7, "vaale1"],
]);

/** TLBs are invisible and the instruction side is coherent, so these have nothing to do. */
const invisibleMaintenance: readonly SystemOperation[] = [
  operation("ic ialluis", 0, 7, 1, 0),
  operation("ic iallu", 0, 7, 5, 0),
  ...[...TLBI_NAMES].flatMap(([op2, name]) => [
    operation(`tlbi ${name}is`, 0, 8, 3, op2),
    operation(`tlbi ${name}`, 0, 8, 7, op2),
  ]),
];

/**
 * (address, `AccessKind`): cache maintenance by address. Nothing is cached, but the address is translated: a fault is
 * raised, else the instruction is done. It is the routine of a `raise` because translation is a call, behind
 * which no instruction may raise.
 */
const maintainByAddress: Routine & { readonly result: undefined } = {
  name: "maintainByAddress",
  parameters: [64, 32],
  result: undefined,
  body(stage, [address, kind]) {
    const virtual = address as Value<64>;
    const code = stage.call(translate, virtual, kind as Value<32>, stage.read(exceptionLevel));
    stage.if(
      code,
      () => {
        stage.call(maintenanceFault, code, virtual);
      },
      () => {
        retire(stage);
      },
    );
  },
};

function retire(stage: Stage): void {
  stage.write(pc, stage.add(stage.read(pc), stage.constant64(4)));
}

/** PAR_EL1: F, FST from bit 1, SH from bit 7, RES1 bit 11, ATTR from bit 56. */
const PAR_FAULT = 1n;
const PAR_RES1 = 1n << 11n;
const PAR_ADDRESS_MASK = 0x0000_ffff_ffff_f000n;
const SHAREABILITY_OUTER = 2;
/** Normal memory, Inner and Outer Non-cacheable, in MAIR_EL1. */
const ATTRIBUTE_NON_CACHEABLE = 0x44;

/** (address, `AccessKind`, privilege): AT. Done through a `raise` for the same reason. */
const translateAddress: Routine & { readonly result: undefined } = {
  name: "translateAddress",
  parameters: [64, 32, 32],
  result: undefined,
  body(stage, [address, kind, privilege]) {
    const virtual = address as Value<64>;
    const code = stage.call(translate, virtual, kind as Value<32>, privilege as Value<32>);
    // Only a walk that meets no memory is an exception of AT itself.
    const walkAborted = stage.compare(
      "eq",
      stage.and(code, stage.constant32(~3)),
      stage.constant32(FAULT | FaultStatus.externalOnWalk),
    );
    stage.if(walkAborted, () => {
      stage.call(maintenanceFault, code, virtual);
      stage.return();
    });
    const status = stage.shiftLeft(stage.zeroExtend64(stage.extractBits(code, 0, 6)), 1);
    const failed = stage.or(status, stage.constant64(PAR_FAULT | PAR_RES1));
    stage.write(parEl1, stage.select(code, failed, successfulTranslation(stage)));
    retire(stage);
  },
};

function successfulTranslation(stage: Stage): Value<64> {
  const descriptor = stage.read(translatedDescriptor);
  const index = stage.shiftLeft(stage.extractBits(descriptor, 2, 3), 3);
  const attribute = stage.extractBits(stage.binary("shr_u", stage.read(mairEl1), index), 0, 8);
  // With the MMU off there is no descriptor: Device-nGnRnE.
  const mapped = stage.truncate32(stage.extractBits(descriptor, 0, 1));
  const effective = stage.select(mapped, attribute, stage.constant64(0));
  const isDevice = stage.compare("lt_u", effective, stage.constant64(0x10));
  const isNonCacheable = stage.compare("eq", effective, stage.constant64(ATTRIBUTE_NON_CACHEABLE));
  const shareability = stage.select(
    stage.or(isDevice, isNonCacheable),
    stage.constant64(SHAREABILITY_OUTER),
    stage.extractBits(descriptor, 8, 2),
  );
  const page = stage.and(stage.read(operations.fields.translatedPhysical), stage.constant64(PAR_ADDRESS_MASK));
  const attributes = stage.or(stage.shiftLeft(effective, 56), stage.shiftLeft(shareability, 7));
  return stage.or(stage.or(page, attributes), stage.constant64(PAR_RES1));
}

function setWayDefinition(trap: TrapControl): Instruction {
  const rows = [operation("dc isw", 0, 7, 6, 2), operation("dc csw", 0, 7, 10, 2), operation("dc cisw", 0, 7, 14, 2)];
  return systemDefinition("DC (set/way)", rows, fromEl1, (stage, value, iss) => {
    exitIfTrapped(stage, trap, () => iss, value);
    finishTrapped(stage, trap);
  });
}

function translateDefinition(name: string, op2: number, kind: number, privilege: 0 | 1): Instruction {
  return systemDefinition(
    `AT ${name}`,
    [operation(`at ${name.toLowerCase()}`, 0, 7, 8, op2)],
    fromEl1,
    (stage, address) => {
      stage.raise(translateAddress, address, stage.constant32(kind), stage.constant32(privilege));
    },
  );
}

const systemOperations: readonly Instruction[] = [
  systemDefinition("IC and TLBI", invisibleMaintenance, fromEl1, () => undefined),
  systemDefinition(
    "IC and DC (by address)",
    [
      operation("ic ivau", 3, 7, 5, 1),
      operation("dc cvac", 3, 7, 10, 1),
      operation("dc cvau", 3, 7, 11, 1),
      operation("dc civac", 3, 7, 14, 1),
    ],
    el0Cache,
    (stage, address) => {
      stage.raise(maintainByAddress, address, stage.constant32(AccessKind.read));
    },
  ),
  // Invalidation needs the right to write.
  systemDefinition("DC IVAC", [operation("dc ivac", 0, 7, 6, 1)], fromEl1, (stage, address) => {
    stage.raise(maintainByAddress, address, stage.constant32(AccessKind.write));
  }),
  setWayDefinition(Trap.TSW),
  systemDefinition("DC ZVA", [operation("dc zva", 3, 7, 4, 1)], el0Zero, (stage, address) => {
    const block = stage.and(address, stage.constant64(-ZERO_BLOCK_BYTES));
    // A fault shows the address as given, not the block's: its own byte comes first.
    const given = stage.access(address, 1, "write");
    const handle = stage.access(block, ZERO_BLOCK_BYTES, "write");
    stage.store(given, 0, 8, stage.constant32(0));
    for (let offset = 0; offset < ZERO_BLOCK_BYTES; offset += 8) stage.store(handle, offset, 64, stage.constant64(0));
  }),
  translateDefinition("S1E1R", 0, AccessKind.read, 1),
  translateDefinition("S1E1W", 1, AccessKind.write, 1),
  translateDefinition("S1E0R", 2, AccessKind.read, 0),
  translateDefinition("S1E0W", 3, AccessKind.write, 0),
  ...([false, true] as const).map(implementationDefinedOperation),
];

/** SYS and SYSL of CRn 11 and 15 are the host CPU's own: they exit from EL1 while HCR_EL2.TIDCP is set. */
function implementationDefinedOperation(isRead: boolean): Instruction {
  return defineInstruction({
    mnemonic: `${isRead ? "SYSL" : "SYS"} (IMPLEMENTATION DEFINED)`,
    reference: "C4.1 System instructions",
    pattern: isRead ? "1101010100101 op1:3 CRn:4 CRm:4 op2:3 Rt:5" : SYSTEM_PATTERN,
    formFields: [],
    where: (fields) => isImplementationDefined(selectorIn(fields)),
    operands: { source: sourceX("Rt"), iss: { i32: (fields) => syndromeOf(selectorIn(fields), fields.Rt, isRead) } },
    text({ op1, CRn, CRm, op2, Rt }) {
      const place = [`#${op1}`, `C${CRn}`, `C${CRm}`, `#${op2}`];
      const register = registerName(1, Rt);
      return isRead ? assembly("sysl", register, ...place) : assembly("sys", ...place, register);
    },
    execute(_form, { source, iss }, stage) {
      raiseAtEl0(stage);
      const value = isRead ? stage.constant64(0) : stage.readAt(64, source);
      exitIfTrapped(stage, Trap.TIDCP, () => iss, value);
      stage.raise(undefinedException);
    },
  });
}

export const systemInstructions: readonly Instruction[] = [
  ...exceptionGeneration,
  ...hints,
  ...barriers,
  ...processState,
  ...systemOperations,
  ...systemRegisterAccesses,
];

export { floatControlAccesses };
