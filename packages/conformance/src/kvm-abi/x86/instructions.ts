/** Bytes of the instructions that guests of the tables are made of: 64-bit mode. Intel SDM volume 2. */

const REGISTERS = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"] as const;
export type Register = (typeof REGISTERS)[number] | "r8" | "r9" | "r10" | "r11";

function little(value: bigint | number, bytes: number): number[] {
  const whole = BigInt.asUintN(8 * bytes, BigInt(value));
  return Array.from({ length: bytes }, (_, index) => Number((whole >> BigInt(8 * index)) & 0xffn));
}

/** MOV r64, imm64. */
export function move(register: Register, value: bigint | number): number[] {
  const low = REGISTERS.indexOf(register as never);
  const number = low < 0 ? Number(register.slice(1)) : low;
  return [number < 8 ? 0x48 : 0x49, 0xb8 + (number & 7), ...little(value, 8)];
}

/** MOV byte [abs32], imm8: no register changes. */
export function storeByte(address: number, value: number): number[] {
  return [0xc6, 0x04, 0x25, ...little(address, 4), value & 0xff];
}

/** MOV [abs32], rax. */
export function storeRax(address: number): number[] {
  return [0x48, 0x89, 0x04, 0x25, ...little(address, 4)];
}

/** MOV rax, [abs32]. */
export function loadRax(address: number): number[] {
  return [0x48, 0x8b, 0x04, 0x25, ...little(address, 4)];
}

export function readMsr(msr: number): number[] {
  return [...move("rcx", msr), 0x0f, 0x32];
}

export function writeMsr(msr: number, value: bigint): number[] {
  return [...move("rcx", msr), ...move("rax", value & 0xffff_ffffn), ...move("rdx", value >> 32n), 0x0f, 0x30];
}

export function cpuid(leaf: number, subleaf = 0): number[] {
  return [...move("rax", leaf), ...move("rcx", subleaf), 0x0f, 0xa2];
}

export function out8(port: number, value: number): number[] {
  return [...move("rdx", port), ...move("rax", value), 0xee];
}

export function in8(port: number): number[] {
  return [...move("rdx", port), 0xec];
}

export const vmcall: readonly number[] = [0x0f, 0x01, 0xc1];
export const vmmcall: readonly number[] = [0x0f, 0x01, 0xd9];
/** JMP to itself. */
export const spin: readonly number[] = [0xeb, 0xfe];
