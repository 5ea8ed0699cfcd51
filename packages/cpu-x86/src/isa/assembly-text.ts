/** Assembly text in Intel's syntax, as binutils prints it. */
import { type DecodedFields, NO_REGISTER, RepeatPrefix } from "./fields.js";
import { Segment } from "./state.js";

const WIDE = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"] as const;
const LOW_BYTES = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"] as const;
const HIGH_BYTES = ["ah", "ch", "dh", "bh"] as const;
const SEGMENTS = ["es", "cs", "ss", "ds", "fs", "gs"] as const;
const POINTERS = ["BYTE PTR ", "WORD PTR ", "DWORD PTR ", "QWORD PTR "] as const;

/** A general register of a size (log2 of its bytes). */
export function registerName(number: number, size: number, rex = 1): string {
  if (number >= 8) return `r${number}${["b", "w", "d", ""][size] ?? ""}`;
  if (size === 0) return (rex === 0 ? HIGH_BYTES[number - 4] : undefined) ?? LOW_BYTES[number] ?? "?";
  return `${["", "", "e", "r"][size] ?? ""}${WIDE[number] ?? "?"}`;
}

/** An address in brackets with its segment, if that is not the default one. */
export function addressText(fields: DecodedFields): string {
  const { base, index, scale, displacement, relative, addressSize, mode } = fields;
  const segment = segmentText(fields);
  if (relative === 1) return `${segment}[rip+0x${BigInt.asUintN(64, BigInt(displacement)).toString(16)}]`;
  const parts: string[] = [];
  if (base !== NO_REGISTER) parts.push(registerName(base, addressSize));
  if (index !== NO_REGISTER) parts.push(`${registerName(index, addressSize)}*${2 ** scale}`);
  const whole = mode === 0 ? BigInt.asUintN(64, BigInt(displacement)) : BigInt.asUintN(32, BigInt(displacement));
  if (parts.length === 0) return `${segment === "" ? "ds:" : segment}0x${whole.toString(16)}`;
  return `${segment}[${parts.join("+")}${displacement === 0 ? "" : signedText(displacement)}]`;
}

function signedText(displacement: number): string {
  return `${displacement < 0 ? "-" : "+"}0x${Math.abs(displacement).toString(16)}`;
}

function segmentText({ segment, base }: DecodedFields): string {
  const usual = base === 4 || base === 5 ? Segment.ss : Segment.ds;
  return segment === usual ? "" : `${SEGMENTS[segment] ?? "?"}:`;
}

/** The operand that ModRM names: a register or memory. */
export function modrmText(fields: DecodedFields): string {
  if (fields.memory === 0) return registerName(fields.rm, fields.size, fields.rex);
  return `${POINTERS[fields.size] ?? ""}${addressText(fields)}`;
}

export function immediateText({ immediate, size }: DecodedFields): string {
  return `0x${BigInt.asUintN(8 << size, BigInt(immediate)).toString(16)}`;
}

/** Mnemonic with prefixes, operands, and the address that one relative to `pc` comes to. */
export function assembly(fields: DecodedFields, pc: bigint, mnemonic: string, ...operands: readonly string[]): string {
  const { lock, relative, length, displacement } = fields;
  const address = BigInt.asUintN(64, pc + BigInt(length) + BigInt(displacement));
  const comment = relative === 1 ? `        # 0x${address.toString(16)}` : "";
  return `${lock === 1 ? "lock " : ""}${mnemonic}${operands.length === 0 ? "" : ` ${operands.join(",")}`}${comment}`;
}

export function repeatText({ rep }: DecodedFields): string {
  return rep === RepeatPrefix.none ? "" : "rep ";
}
