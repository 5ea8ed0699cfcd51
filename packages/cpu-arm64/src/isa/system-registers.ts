/**
 * Every system register a guest may name at EL1 or EL0, in one table: encoding, who may access it, where it
 * lives, what traps it. Arm ARM (DDI 0487) D12.3 for encodings, D13 for registers. Generated code
 * (`instructions/system-register-access.ts`), the kernel half and the registers shown to people all go by it.
 */
import type { StateField } from "@hvjournal/engine";
import {
  BREAKPOINT_COUNT,
  CLIDR_VALUE,
  CTR_EL0_VALUE,
  idRegisters,
  MIDR_CORTEX_A57,
  MPIDR_RES1,
  WATCHPOINT_COUNT,
} from "./id-registers.js";
import { layout } from "./state.js";

const U64 = 0xffff_ffff_ffff_ffffn;
const U32 = 0xffff_ffffn;

function bitsOf(bits: readonly number[]): bigint {
  return bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
}

/** Fields that generated code outside the table reads or writes. */
export const sctlrEl1 = layout.field("sctlr_el1", 64);
export const cpacrEl1 = layout.field("cpacr_el1", 64);
export const ttbr0El1 = layout.field("ttbr0_el1", 64);
export const ttbr1El1 = layout.field("ttbr1_el1", 64);
export const tcrEl1 = layout.field("tcr_el1", 64);
export const spsrEl1 = layout.field("spsr_el1", 64);
export const elrEl1 = layout.field("elr_el1", 64);
export const esrEl1 = layout.field("esr_el1", 64);
export const farEl1 = layout.field("far_el1", 64);
export const parEl1 = layout.field("par_el1", 64);
export const mairEl1 = layout.field("mair_el1", 64);
export const vbarEl1 = layout.field("vbar_el1", 64);
export const csselrEl1 = layout.field("csselr_el1", 64);
export const oslsrEl1 = layout.field("oslsr_el1", 64);
export const mpidrEl1 = layout.field("mpidr_el1", 64);
/** Generic timer controls for EL0. The kernel half reads its event stream bits. */
export const cntkctlEl1 = layout.field("cntkctl_el1", 64);
export const mdscrEl1 = layout.field("mdscr_el1", 64);

/** Trap controls of the hypervisor: written by the kernel half from its exit model, never by the guest. */
export const hcrEl2 = layout.field("hcr_el2", 64);
export const mdcrEl2 = layout.field("mdcr_el2", 64);

/** SCTLR_EL1 bits. */
export const Sctlr = {
  M: 0,
  A: 1,
  C: 2,
  SA: 3,
  SA0: 4,
  UMA: 9,
  I: 12,
  DZE: 14,
  UCT: 15,
  nTWI: 16,
  nTWE: 18,
  WXN: 19,
  UCI: 26,
} as const;
/** RES1 on a CPU without AArch32 at EL0 (ITD, SED) and without SPAN, EIS, EOS, TSCXT, nTLSMD, LSMAOE. */
const SCTLR_RES1 = 0x30d0_0980n;
const SCTLR_WRITABLE = bitsOf(Object.values(Sctlr));
/** SA, SA0, nTWI and nTWE set, as Linux' KVM resets it (0x00c50078) for a CPU without AArch32. */
const SCTLR_RESET = SCTLR_RES1 | 0x0005_0018n;

/** CNTKCTL_EL1 bits. */
export const Cntkctl = { EL0PCTEN: 0, EL0VCTEN: 1, EVNTEN: 2, EVNTDIR: 3, EVNTI: 4, EL0VTEN: 8, EL0PTEN: 9 } as const;

/** MDSCR_EL1 bits. */
export const Mdscr = {
  SS: 0,
  ERR: 6,
  TDCC: 12,
  KDE: 13,
  HDE: 14,
  MDE: 15,
  TXU: 26,
  RXO: 27,
  TXfull: 29,
  RXfull: 30,
} as const;

/** A bit of HCR_EL2 or MDCR_EL2 that makes an access exit. */
export interface TrapControl {
  readonly name: string;
  readonly field: StateField<64>;
  readonly bit: number;
}

function hcr(name: string, bit: number): TrapControl {
  return { name: `HCR_EL2.${name}`, field: hcrEl2, bit };
}

function mdcr(name: string, bit: number): TrapControl {
  return { name: `MDCR_EL2.${name}`, field: mdcrEl2, bit };
}

/** Trap controls that the table names. Arm ARM D13, HCR_EL2 and MDCR_EL2. */
export const Trap = {
  TID1: hcr("TID1", 16),
  TID2: hcr("TID2", 17),
  TID3: hcr("TID3", 18),
  TIDCP: hcr("TIDCP", 20),
  TACR: hcr("TACR", 21),
  TSW: hcr("TSW", 22),
  TVM: hcr("TVM", 26),
  TRVM: hcr("TRVM", 30),
  TPM: mdcr("TPM", 6),
  TDA: mdcr("TDA", 9),
  TDOSA: mdcr("TDOSA", 10),
  TDRA: mdcr("TDRA", 11),
} as const satisfies Record<string, TrapControl>;

/** EL0 may access only while one of `bits` of `field` is set, or all are clear; else it traps to EL1 with EC 0x18. */
export interface El0Control {
  readonly name: string;
  readonly field: StateField<64>;
  readonly bits: bigint;
  readonly allowedWhen: "set" | "clear";
}

export interface Access {
  /** Lowest exception level that may; a lower one gets the undefined exception. */
  readonly from: "EL0" | "EL1";
  readonly el0Control?: El0Control;
}

/** Where the value is. */
export type Home =
  /** A state field: what is written is `(value & writable) | ones`. */
  | {
      readonly kind: "state";
      readonly field: StateField<64>;
      readonly writable: bigint;
      readonly ones: bigint;
      /** What else a write changes: the translation regime, or the context word. */
      readonly effect?: "translation" | "context" | "translation and context";
      /** A write with one of these bits set leaves with `ExitCode.notSimulated`. */
      readonly notSimulated?: bigint;
    }
  /** Always this value; writes, where allowed, are ignored. */
  | { readonly kind: "constant"; readonly value: bigint }
  /** In the kernel half: every access leaves with `ExitCode.systemRegister`. */
  | { readonly kind: "service" }
  /** Nowhere: undefined, once no trap has been taken before. */
  | { readonly kind: "absent" }
  /** Made of other state by code of its own (`instructions/system-register-access.ts`), by name. */
  | { readonly kind: "derived"; readonly view: DerivedView };

export type DerivedView =
  "nzcv" | "daif" | "currentEl" | "spsel" | "spEl0" | "fpcr" | "fpsr" | "isr" | "ccsidr" | "dczid" | "oslar";

export interface SystemRegister {
  /** As the manual prints it: "SCTLR_EL1". */
  readonly name: string;
  readonly selector: number;
  readonly home: Home;
  readonly read?: Access;
  readonly write?: Access;
  readonly readTrap?: TrapControl;
  readonly writeTrap?: TrapControl;
  /** Value at a warm reset; of a state field only. */
  readonly reset?: bigint;
}

/**
 * op0, op1, CRn, CRm, op2 in one number: bits 15 to 14, 13 to 11, 10 to 7, 6 to 3, 2 to 0, as in
 * KVM_REG_ARM64_SYSREG ids.
 */
export function selectorOf(op0: number, op1: number, crn: number, crm: number, op2: number): number {
  return (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}

/** ISS of EC 0x18: Op0 21:20, Op2 19:17, Op1 16:14, CRn 13:10, Rt 9:5, CRm 4:1, direction 0 (1: read). */
export function syndromeOf(selector: number, rt: number, isRead: boolean): number {
  const op0 = selector >> 14;
  const op1 = (selector >> 11) & 7;
  const crn = (selector >> 7) & 15;
  const crm = (selector >> 3) & 15;
  const op2 = selector & 7;
  return (op0 << 20) | (op2 << 17) | (op1 << 14) | (crn << 10) | (rt << 5) | (crm << 1) | (isRead ? 1 : 0);
}

/** The selector in an ISS of EC 0x18. */
export function selectorOfSyndrome(iss: number): number {
  return selectorOf((iss >> 20) & 3, (iss >> 14) & 7, (iss >> 10) & 15, (iss >> 1) & 15, (iss >> 17) & 7);
}

const EL1: Access = { from: "EL1" };
const EL0: Access = { from: "EL0" };

function el0If(name: string, field: StateField<64>, ...bits: readonly number[]): Access {
  return { from: "EL0", el0Control: { name, field, bits: bitsOf(bits), allowedWhen: "set" } };
}

/** SCTLR_EL1 controls that system instructions at EL0 need too. */
export const el0Cache: Access = el0If("SCTLR_EL1.UCI", sctlrEl1, Sctlr.UCI);
export const el0Zero: Access = el0If("SCTLR_EL1.DZE", sctlrEl1, Sctlr.DZE);
export const el0InterruptMask: Access = el0If("SCTLR_EL1.UMA", sctlrEl1, Sctlr.UMA);
const el0CacheType = el0If("SCTLR_EL1.UCT", sctlrEl1, Sctlr.UCT);
const el0PhysicalCount = el0If("CNTKCTL_EL1.EL0PCTEN", cntkctlEl1, Cntkctl.EL0PCTEN);
const el0VirtualCount = el0If("CNTKCTL_EL1.EL0VCTEN", cntkctlEl1, Cntkctl.EL0VCTEN);
const el0Frequency = el0If("CNTKCTL_EL1.EL0PCTEN or EL0VCTEN", cntkctlEl1, Cntkctl.EL0PCTEN, Cntkctl.EL0VCTEN);
const el0PhysicalTimer = el0If("CNTKCTL_EL1.EL0PTEN", cntkctlEl1, Cntkctl.EL0PTEN);
const el0VirtualTimer = el0If("CNTKCTL_EL1.EL0VTEN", cntkctlEl1, Cntkctl.EL0VTEN);

/** The debug communications channel at EL0. */
const el0DebugChannel: Access = {
  from: "EL0",
  el0Control: { name: "MDSCR_EL1.TDCC", field: mdscrEl1, bits: bitsOf([Mdscr.TDCC]), allowedWhen: "clear" },
};

type Encoding = readonly [op0: number, op1: number, crn: number, crm: number, op2: number];
type Options = Partial<Omit<SystemRegister, "name" | "selector" | "home">>;

const readWrite: Options = { read: EL1, write: EL1 };
/** The virtual memory controls of HCR_EL2.TVM and TRVM. */
const memoryControl: Options = { ...readWrite, writeTrap: Trap.TVM, readTrap: Trap.TRVM };

function trappedBy(trap: TrapControl): Options {
  return { readTrap: trap, writeTrap: trap };
}

function register(name: string, encoding: Encoding, home: Home, options: Options): SystemRegister {
  return { name, selector: selectorOf(...encoding), home, ...options };
}

function stored(field: StateField<64>, writable: bigint = U64, ones = 0n): Home {
  return { kind: "state", field, writable, ones };
}

/** A register that the translation regime depends on. */
function regime(field: StateField<64>, writable: bigint, ones = 0n): Home {
  return { kind: "state", field, writable, ones, effect: "translation" };
}

/** A register with a field of its own that only MRS and MSR reach. */
function own(name: string, writable: bigint = U64): Home {
  return stored(layout.field(name.toLowerCase(), 64), writable);
}

/** A control register of a breakpoint or watchpoint, whose bit 0 enables it. */
function matching(name: string, writable: bigint): Home {
  return { kind: "state", field: layout.field(name.toLowerCase(), 64), writable, ones: 0n, notSimulated: 1n };
}

function constant(value: bigint): Home {
  return { kind: "constant", value };
}

function derived(view: DerivedView): Home {
  return { kind: "derived", view };
}

const service: Home = { kind: "service" };
const absent: Home = { kind: "absent" };

/** TCR_EL1 of Armv8.0: no hardware update of flags, no hierarchical permission disables. */
const TCR_WRITABLE = 0x0077_ffff_ffbfn;
/** CPACR_EL1.FPEN and TTA (no trace: RES0). */
const CPACR_WRITABLE = 0x0030_0000n;
/** CnP is of Armv8.2. */
const TTBR_WRITABLE = U64 ^ 1n;
const ESR_WRITABLE = U32;
/** NZCV, SS, IL, DAIF, M[4:0]. */
const SPSR_WRITABLE = 0xf030_03dfn;
const CNTKCTL_WRITABLE = 0x3ffn;
const MDSCR_WRITABLE = bitsOf(Object.values(Mdscr));
/** OSLSR_EL1: OSLK is bit 1; OSLM = 0b10 says that the OS lock is implemented. */
export const OSLSR_OSLK = 1;
const OSLSR_OSLM = 8n;
/** BT, LBN, SSC, HMC, BAS, PMC, E; and MASK, WT, LBN, SSC, HMC, BAS, LSC, PAC, E. */
const BREAKPOINT_CONTROL_WRITABLE = 0x00ff_e1e7n;
const WATCHPOINT_CONTROL_WRITABLE = 0x1f1f_ffffn;

/** Alignment checks are decided when code is decoded. */
const controlRegister: Home = {
  kind: "state",
  field: sctlrEl1,
  writable: SCTLR_WRITABLE,
  ones: SCTLR_RES1,
  effect: "translation and context",
};

const controlRegisters: readonly SystemRegister[] = [
  register("SCTLR_EL1", [3, 0, 1, 0, 0], controlRegister, { ...memoryControl, reset: SCTLR_RESET }),
  register("ACTLR_EL1", [3, 0, 1, 0, 1], constant(0n), { ...readWrite, ...trappedBy(Trap.TACR) }),
  register(
    "CPACR_EL1",
    [3, 0, 1, 0, 2],
    { kind: "state", field: cpacrEl1, writable: CPACR_WRITABLE, ones: 0n, effect: "context" },
    readWrite,
  ),
  register("TTBR0_EL1", [3, 0, 2, 0, 0], regime(ttbr0El1, TTBR_WRITABLE), memoryControl),
  register("TTBR1_EL1", [3, 0, 2, 0, 1], regime(ttbr1El1, TTBR_WRITABLE), memoryControl),
  register("TCR_EL1", [3, 0, 2, 0, 2], regime(tcrEl1, TCR_WRITABLE), memoryControl),
  register("SPSR_EL1", [3, 0, 4, 0, 0], stored(spsrEl1, SPSR_WRITABLE), readWrite),
  register("ELR_EL1", [3, 0, 4, 0, 1], stored(elrEl1), readWrite),
  register("SP_EL0", [3, 0, 4, 1, 0], derived("spEl0"), readWrite),
  register("SPSel", [3, 0, 4, 2, 0], derived("spsel"), readWrite),
  register("CurrentEL", [3, 0, 4, 2, 2], derived("currentEl"), { read: EL1 }),
  register("AFSR0_EL1", [3, 0, 5, 1, 0], constant(0n), memoryControl),
  register("AFSR1_EL1", [3, 0, 5, 1, 1], constant(0n), memoryControl),
  register("ESR_EL1", [3, 0, 5, 2, 0], stored(esrEl1, ESR_WRITABLE), memoryControl),
  register("FAR_EL1", [3, 0, 6, 0, 0], stored(farEl1), memoryControl),
  register("PAR_EL1", [3, 0, 7, 4, 0], stored(parEl1), readWrite),
  register("MAIR_EL1", [3, 0, 10, 2, 0], stored(mairEl1), memoryControl),
  register("AMAIR_EL1", [3, 0, 10, 3, 0], constant(0n), memoryControl),
  register("VBAR_EL1", [3, 0, 12, 0, 0], stored(vbarEl1, U64 ^ 0x7ffn), readWrite),
  register("ISR_EL1", [3, 0, 12, 1, 0], derived("isr"), { read: EL1 }),
  register("CONTEXTIDR_EL1", [3, 0, 13, 0, 1], own("CONTEXTIDR_EL1", U32), memoryControl),
  register("TPIDR_EL1", [3, 0, 13, 0, 4], own("TPIDR_EL1"), readWrite),
  register("TPIDR_EL0", [3, 3, 13, 0, 2], own("TPIDR_EL0"), { read: EL0, write: EL0 }),
  register("TPIDRRO_EL0", [3, 3, 13, 0, 3], own("TPIDRRO_EL0"), { read: EL0, write: EL1 }),
  register("NZCV", [3, 3, 4, 2, 0], derived("nzcv"), { read: EL0, write: EL0 }),
  register("DAIF", [3, 3, 4, 2, 1], derived("daif"), { read: el0InterruptMask, write: el0InterruptMask }),
  register("FPCR", [3, 3, 4, 4, 0], derived("fpcr"), { read: EL0, write: EL0 }),
  register("FPSR", [3, 3, 4, 4, 1], derived("fpsr"), { read: EL0, write: EL0 }),
];

function identificationRegisters(): SystemRegister[] {
  const named = new Map(idRegisters.map((row) => [selectorOf(3, 0, 0, row.crm, row.op2), row] as const));
  const group3: SystemRegister[] = [];
  for (let crm = 1; crm < 8; crm++) {
    for (let op2 = 0; op2 < 8; op2++) {
      const row = named.get(selectorOf(3, 0, 0, crm, op2));
      const name = row?.name ?? `S3_0_C0_C${crm}_${op2}`;
      group3.push(register(name, [3, 0, 0, crm, op2], constant(row?.value ?? 0n), { read: EL1, readTrap: Trap.TID3 }));
    }
  }
  return [
    register("MIDR_EL1", [3, 0, 0, 0, 0], constant(MIDR_CORTEX_A57), { read: EL1 }),
    register("MPIDR_EL1", [3, 0, 0, 0, 5], stored(mpidrEl1), { read: EL1, reset: MPIDR_RES1 }),
    register("REVIDR_EL1", [3, 0, 0, 0, 6], constant(0n), { read: EL1, readTrap: Trap.TID1 }),
    ...group3,
    register("CCSIDR_EL1", [3, 1, 0, 0, 0], derived("ccsidr"), { read: EL1, readTrap: Trap.TID2 }),
    register("CLIDR_EL1", [3, 1, 0, 0, 1], constant(CLIDR_VALUE), { read: EL1, readTrap: Trap.TID2 }),
    register("AIDR_EL1", [3, 1, 0, 0, 7], constant(0n), { read: EL1, readTrap: Trap.TID1 }),
    register("CSSELR_EL1", [3, 2, 0, 0, 0], stored(csselrEl1, 0xfn), { ...readWrite, ...trappedBy(Trap.TID2) }),
    register("CTR_EL0", [3, 3, 0, 0, 1], constant(CTR_EL0_VALUE), { read: el0CacheType, readTrap: Trap.TID2 }),
    register("DCZID_EL0", [3, 3, 0, 0, 7], derived("dczid"), { read: EL0 }),
  ];
}

/** GIC CPU interface: IHI 0069, section 12.2. SGIs also trap by HCR_EL2.IMO and FMO, which the exit model knows. */
function interruptControllerRegisters(): SystemRegister[] {
  const readOnly: Options = { read: EL1 };
  const writeOnly: Options = { write: EL1 };
  const rows: SystemRegister[] = [
    register("ICC_PMR_EL1", [3, 0, 4, 6, 0], service, readWrite),
    register("ICC_IAR0_EL1", [3, 0, 12, 8, 0], service, readOnly),
    register("ICC_EOIR0_EL1", [3, 0, 12, 8, 1], service, writeOnly),
    register("ICC_HPPIR0_EL1", [3, 0, 12, 8, 2], service, readOnly),
    register("ICC_BPR0_EL1", [3, 0, 12, 8, 3], service, readWrite),
    register("ICC_DIR_EL1", [3, 0, 12, 11, 1], service, writeOnly),
    register("ICC_RPR_EL1", [3, 0, 12, 11, 3], service, readOnly),
    register("ICC_SGI1R_EL1", [3, 0, 12, 11, 5], service, writeOnly),
    register("ICC_ASGI1R_EL1", [3, 0, 12, 11, 6], service, writeOnly),
    register("ICC_SGI0R_EL1", [3, 0, 12, 11, 7], service, writeOnly),
    register("ICC_IAR1_EL1", [3, 0, 12, 12, 0], service, readOnly),
    register("ICC_EOIR1_EL1", [3, 0, 12, 12, 1], service, writeOnly),
    register("ICC_HPPIR1_EL1", [3, 0, 12, 12, 2], service, readOnly),
    register("ICC_BPR1_EL1", [3, 0, 12, 12, 3], service, readWrite),
    register("ICC_CTLR_EL1", [3, 0, 12, 12, 4], service, readWrite),
    register("ICC_SRE_EL1", [3, 0, 12, 12, 5], service, readWrite),
    register("ICC_IGRPEN0_EL1", [3, 0, 12, 12, 6], service, readWrite),
    register("ICC_IGRPEN1_EL1", [3, 0, 12, 12, 7], service, readWrite),
  ];
  for (let n = 0; n < 4; n++) {
    rows.push(register(`ICC_AP0R${n}_EL1`, [3, 0, 12, 8, 4 + n], service, readWrite));
    rows.push(register(`ICC_AP1R${n}_EL1`, [3, 0, 12, 9, n], service, readWrite));
  }
  return rows;
}

/** Generic timer: Arm ARM D11. CNTFRQ_EL0 can be written at the highest exception level only: not by the guest. */
const timerRegisters: readonly SystemRegister[] = [
  register("CNTKCTL_EL1", [3, 0, 14, 1, 0], stored(cntkctlEl1, CNTKCTL_WRITABLE), readWrite),
  register("CNTFRQ_EL0", [3, 3, 14, 0, 0], service, { read: el0Frequency }),
  register("CNTPCT_EL0", [3, 3, 14, 0, 1], service, { read: el0PhysicalCount }),
  register("CNTVCT_EL0", [3, 3, 14, 0, 2], service, { read: el0VirtualCount }),
  register("CNTP_TVAL_EL0", [3, 3, 14, 2, 0], service, { read: el0PhysicalTimer, write: el0PhysicalTimer }),
  register("CNTP_CTL_EL0", [3, 3, 14, 2, 1], service, { read: el0PhysicalTimer, write: el0PhysicalTimer }),
  register("CNTP_CVAL_EL0", [3, 3, 14, 2, 2], service, { read: el0PhysicalTimer, write: el0PhysicalTimer }),
  register("CNTV_TVAL_EL0", [3, 3, 14, 3, 0], service, { read: el0VirtualTimer, write: el0VirtualTimer }),
  register("CNTV_CTL_EL0", [3, 3, 14, 3, 1], service, { read: el0VirtualTimer, write: el0VirtualTimer }),
  register("CNTV_CVAL_EL0", [3, 3, 14, 3, 2], service, { read: el0VirtualTimer, write: el0VirtualTimer }),
];

/**
 * Self-hosted debug: Arm ARM D2, D13. A breakpoint or watchpoint can be written but not enabled; software step
 * works. The debug communications channel is not connected.
 */
function debugRegisters(): SystemRegister[] {
  const debug: Options = { ...readWrite, ...trappedBy(Trap.TDA) };
  const osLock = trappedBy(Trap.TDOSA);
  const rows: SystemRegister[] = [
    register("OSDTRRX_EL1", [2, 0, 0, 0, 2], constant(0n), debug),
    register("MDCCINT_EL1", [2, 0, 0, 2, 0], constant(0n), debug),
    register(
      "MDSCR_EL1",
      [2, 0, 0, 2, 2],
      { kind: "state", field: mdscrEl1, writable: MDSCR_WRITABLE, ones: 0n, effect: "context" },
      debug,
    ),
    register("OSDTRTX_EL1", [2, 0, 0, 3, 2], constant(0n), debug),
    register("OSECCR_EL1", [2, 0, 0, 6, 2], constant(0n), debug),
    register("MDCCSR_EL0", [2, 3, 0, 1, 0], constant(0n), { read: el0DebugChannel, readTrap: Trap.TDA }),
    register("DBGDTR_EL0", [2, 3, 0, 4, 0], constant(0n), {
      read: el0DebugChannel,
      write: el0DebugChannel,
      ...trappedBy(Trap.TDA),
    }),
    register("DBGDTRRX_EL0", [2, 3, 0, 5, 0], constant(0n), {
      read: el0DebugChannel,
      write: el0DebugChannel,
      ...trappedBy(Trap.TDA),
    }),
    register("MDRAR_EL1", [2, 0, 1, 0, 0], constant(0n), { read: EL1, readTrap: Trap.TDRA }),
    register("OSLAR_EL1", [2, 0, 1, 0, 4], derived("oslar"), { write: EL1, ...osLock }),
    register("OSLSR_EL1", [2, 0, 1, 1, 4], stored(oslsrEl1), { read: EL1, ...osLock, reset: OSLSR_OSLM }),
    register("OSDLR_EL1", [2, 0, 1, 3, 4], constant(0n), { ...readWrite, ...osLock }),
    register("DBGPRCR_EL1", [2, 0, 1, 4, 4], constant(0n), { ...readWrite, ...osLock }),
    register("DBGCLAIMSET_EL1", [2, 0, 7, 8, 6], constant(0n), debug),
    register("DBGCLAIMCLR_EL1", [2, 0, 7, 9, 6], constant(0n), debug),
    register("DBGAUTHSTATUS_EL1", [2, 0, 7, 14, 6], constant(0n), { read: EL1, readTrap: Trap.TDA }),
  ];
  for (let n = 0; n < BREAKPOINT_COUNT; n++) {
    rows.push(register(`DBGBVR${n}_EL1`, [2, 0, 0, n, 4], own(`DBGBVR${n}_EL1`), debug));
    rows.push(
      register(`DBGBCR${n}_EL1`, [2, 0, 0, n, 5], matching(`DBGBCR${n}_EL1`, BREAKPOINT_CONTROL_WRITABLE), debug),
    );
  }
  for (let n = 0; n < WATCHPOINT_COUNT; n++) {
    rows.push(register(`DBGWVR${n}_EL1`, [2, 0, 0, n, 6], own(`DBGWVR${n}_EL1`), debug));
    rows.push(
      register(`DBGWCR${n}_EL1`, [2, 0, 0, n, 7], matching(`DBGWCR${n}_EL1`, WATCHPOINT_CONTROL_WRITABLE), debug),
    );
  }
  return rows;
}

/** The guest has no performance monitors; the host CPU has, so the accesses trap first. Arm ARM D7. */
function performanceMonitorRegisters(): SystemRegister[] {
  const monitor: Options = { read: EL0, write: EL0, ...trappedBy(Trap.TPM) };
  const names = ["PMCR", "PMCNTENSET", "PMCNTENCLR", "PMOVSCLR", "PMSWINC", "PMSELR", "PMCEID0", "PMCEID1"];
  const rows = names.map((name, op2) => register(`${name}_EL0`, [3, 3, 9, 12, op2], absent, monitor));
  rows.push(register("PMCCNTR_EL0", [3, 3, 9, 13, 0], absent, monitor));
  rows.push(register("PMXEVTYPER_EL0", [3, 3, 9, 13, 1], absent, monitor));
  rows.push(register("PMXEVCNTR_EL0", [3, 3, 9, 13, 2], absent, monitor));
  rows.push(register("PMUSERENR_EL0", [3, 3, 9, 14, 0], absent, monitor));
  rows.push(register("PMOVSSET_EL0", [3, 3, 9, 14, 3], absent, monitor));
  rows.push(register("PMINTENSET_EL1", [3, 0, 9, 14, 1], absent, { ...readWrite, ...trappedBy(Trap.TPM) }));
  rows.push(register("PMINTENCLR_EL1", [3, 0, 9, 14, 2], absent, { ...readWrite, ...trappedBy(Trap.TPM) }));
  for (let n = 0; n < 31; n++) {
    rows.push(register(`PMEVCNTR${n}_EL0`, [3, 3, 14, 8 + (n >> 3), n & 7], absent, monitor));
    rows.push(register(`PMEVTYPER${n}_EL0`, [3, 3, 14, 12 + (n >> 3), n & 7], absent, monitor));
  }
  rows.push(register("PMCCFILTR_EL0", [3, 3, 14, 15, 7], absent, monitor));
  return rows;
}

/** IMPLEMENTATION DEFINED registers and instructions of the host CPU: op0 1 or 3, CRn 11 or 15. None is the guest's. */
export function isImplementationDefined(selector: number): boolean {
  const crn = (selector >> 7) & 15;
  return ((selector >> 14) & 1) === 1 && (crn === 11 || crn === 15);
}

export const systemRegisters: readonly SystemRegister[] = [
  ...controlRegisters,
  ...identificationRegisters(),
  ...interruptControllerRegisters(),
  ...timerRegisters,
  ...debugRegisters(),
  ...performanceMonitorRegisters(),
];

const bySelector = new Map(systemRegisters.map((row) => [row.selector, row] as const));

/** The register of a selector, or undefined where there is none. */
export function systemRegisterAt(selector: number): SystemRegister | undefined {
  return bySelector.get(selector);
}

/** The name as assemblers write it: lower case, or s3_0_c15_c2_0 where there is none. */
export function systemRegisterName(selector: number): string {
  const known = bySelector.get(selector);
  if (known !== undefined) return known.name.toLowerCase();
  return `s${selector >> 14}_${(selector >> 11) & 7}_c${(selector >> 7) & 15}_c${(selector >> 3) & 15}_${selector & 7}`;
}
