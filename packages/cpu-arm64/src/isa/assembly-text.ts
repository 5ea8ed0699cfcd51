/** Pieces of assembly text, in the form that GNU objdump prints. */

/** X0 or W0; 31 is the zero register. */
export function registerName(sf: number, register: number): string {
  const letter = sf === 1 ? "x" : "w";
  return register === 31 ? `${letter}zr` : `${letter}${register}`;
}

/** X0 or W0; 31 is the stack pointer. */
export function registerNameOrSp(sf: number, register: number): string {
  if (register !== 31) return registerName(sf, register);
  return sf === 1 ? "sp" : "wsp";
}

export function hexImmediate(value: number | bigint): string {
  return value < 0 ? `#-0x${(-value).toString(16)}` : `#0x${value.toString(16)}`;
}

/** The address of a branch target or literal. */
export function addressText(pc: bigint, displacement: bigint): string {
  return `0x${BigInt.asUintN(64, pc + displacement).toString(16)}`;
}

const CONDITION_NAMES = [
  "eq",
  "ne",
  "cs",
  "cc",
  "mi",
  "pl",
  "vs",
  "vc",
  "hi",
  "ls",
  "ge",
  "lt",
  "gt",
  "le",
  "al",
  "nv",
] as const;

export function conditionName(condition: number): string {
  return CONDITION_NAMES[condition] ?? "";
}

const SHIFT_NAMES = ["lsl", "lsr", "asr", "ror"] as const;

/** `, lsl #3`; a shift left by nothing is not shown. */
export function shiftText(shift: number, amount: number): string {
  return shift === 0 && amount === 0 ? "" : `, ${SHIFT_NAMES[shift] ?? ""} #${amount}`;
}

const EXTEND_NAMES = ["uxtb", "uxth", "uxtw", "uxtx", "sxtb", "sxth", "sxtw", "sxtx"] as const;

export function extendName(option: number): string {
  return EXTEND_NAMES[option] ?? "";
}

/** `x0, x1, #0x10` and the like: operands behind a mnemonic. */
export function assembly(mnemonic: string, ...operands: readonly string[]): string {
  return `${mnemonic} ${operands.join(", ")}`;
}
