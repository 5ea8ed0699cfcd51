/** Encodings of the few instructions that tests of the system level are made of. */
import { selectorOf, systemRegisters } from "../system-registers.js";

const SP = 31;

export const nop = 0xd503_201f;
export const wfi = 0xd503_207f;
export const wfe = 0xd503_205f;
export const sev = 0xd503_209f;
export const sevl = 0xd503_20bf;
export const yieldHint = 0xd503_203f;
export const eret = 0xd69f_03e0;
/** Raises the undefined exception for want of a definition: UDF #0. */
export const udf = 0;

export function svc(immediate: number): number {
  return (0xd400_0001 | (immediate << 5)) >>> 0;
}

export function hvc(immediate: number): number {
  return (0xd400_0002 | (immediate << 5)) >>> 0;
}

export function smc(immediate: number): number {
  return (0xd400_0003 | (immediate << 5)) >>> 0;
}

export function brk(immediate: number): number {
  return (0xd420_0000 | (immediate << 5)) >>> 0;
}

/** MOVZ and MOVK: any 64-bit number in four instructions or fewer. */
export function moveImmediate(rd: number, value: bigint): number[] {
  const words: number[] = [];
  for (let hw = 0; hw < 4; hw++) {
    const part = Number((value >> BigInt(16 * hw)) & 0xffffn);
    if (part === 0 && hw !== 0) continue;
    const opcode = words.length === 0 ? 0xd280_0000 : 0xf280_0000;
    words.push((opcode | (hw << 21) | (part << 5) | rd) >>> 0);
  }
  return words;
}

/** LDR and STR of 64 bits at [Xn]; LDTR and STTR; LDRB. */
export function load(rt: number, rn: number): number {
  return (0xf940_0000 | (rn << 5) | rt) >>> 0;
}

export function store(rt: number, rn: number): number {
  return (0xf900_0000 | (rn << 5) | rt) >>> 0;
}

export function loadUnprivileged(rt: number, rn: number): number {
  return (0xf840_0800 | (rn << 5) | rt) >>> 0;
}

export function storeUnprivileged(rt: number, rn: number): number {
  return (0xf800_0800 | (rn << 5) | rt) >>> 0;
}

/** ADD Xd, SP, #0. */
export function moveFromSp(rd: number): number {
  return (0x9100_0000 | (SP << 5) | rd) >>> 0;
}

/** ADD SP, Xn, #0. */
export function moveToSp(rn: number): number {
  return (0x9100_0000 | (rn << 5) | SP) >>> 0;
}

/** SUBS XZR, Xn, Xm. */
export function compare(rn: number, rm: number): number {
  return (0xeb00_001f | (rm << 16) | (rn << 5)) >>> 0;
}

/** B to an offset in bytes. */
export function branch(offset: number): number {
  return (0x1400_0000 | ((offset >> 2) & 0x3ff_ffff)) >>> 0;
}

/** BR Xn. */
export function branchRegister(rn: number): number {
  return (0xd61f_0000 | (rn << 5)) >>> 0;
}

export function selectorOfName(name: string): number {
  const row = systemRegisters.find((register) => register.name.toLowerCase() === name.toLowerCase());
  if (row === undefined) throw new RangeError(`no system register ${name}`);
  return row.selector;
}

/** `register` is a name of the table, or a selector. */
export function mrs(rt: number, register: string | number): number {
  return (0xd530_0000 | (selectorBits(register) << 5) | rt) >>> 0;
}

export function msr(register: string | number, rt: number): number {
  return (0xd510_0000 | (selectorBits(register) << 5) | rt) >>> 0;
}

function selectorBits(register: string | number): number {
  const selector = typeof register === "number" ? register : selectorOfName(register);
  return selector & 0x7fff;
}

const SYSTEM_OPERATIONS = {
  "dc zva": [3, 7, 4, 1],
  "dc ivac": [0, 7, 6, 1],
  "dc cvac": [3, 7, 10, 1],
  "dc isw": [0, 7, 6, 2],
  "ic ivau": [3, 7, 5, 1],
  "tlbi vmalle1": [0, 8, 7, 0],
  "at s1e1r": [0, 7, 8, 0],
  "at s1e1w": [0, 7, 8, 1],
  "at s1e0r": [0, 7, 8, 2],
  "at s1e0w": [0, 7, 8, 3],
} as const satisfies Record<string, readonly [number, number, number, number]>;

export function sys(operation: keyof typeof SYSTEM_OPERATIONS, rt = 31): number {
  const [op1, crn, crm, op2] = SYSTEM_OPERATIONS[operation];
  return (0xd500_0000 | ((selectorOf(1, op1, crn, crm, op2) & 0xffff) << 5) | rt) >>> 0;
}

/** MSR DAIFSet or DAIFClr: D, A, I, F in bits 3 to 0. */
export function daifSet(mask: number): number {
  return (0xd503_40df | (mask << 8)) >>> 0;
}

export function daifClear(mask: number): number {
  return (0xd503_40ff | (mask << 8)) >>> 0;
}

/** MSR SPSel. */
export function selectStackPointer(selected: 0 | 1): number {
  return (0xd500_40bf | (selected << 8)) >>> 0;
}
