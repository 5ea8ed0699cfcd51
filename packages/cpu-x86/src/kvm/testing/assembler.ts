/** Bytes of the instructions that tests of the kernel half are made of: 64-bit mode. */

function bytes32(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}

const REGISTERS = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"] as const;
type Register = (typeof REGISTERS)[number];

/** MOV r32, imm32: the upper half is cleared. */
export function move(register: Register, value: number): number[] {
  return [0xb8 + REGISTERS.indexOf(register), ...bytes32(value)];
}

/** MOV [abs32], eax; by ModRM with a SIB byte without base and index. */
export function storeAt(address: number): number[] {
  return [0x89, 0x04, 0x25, ...bytes32(address)];
}

/** The same through RBX, for addresses of more than 31 bits. */
export function store(address: number, value: number): number[] {
  return [...move("ebx", address), ...move("eax", value), 0x89, 0x03];
}

export function load(address: number): number[] {
  return [...move("ebx", address), 0x8b, 0x03];
}

export function out8(port: number, value: number): number[] {
  return [...move("edx", port), 0xb0, value & 0xff, 0xee];
}

export function in8(port: number): number[] {
  return [...move("edx", port), 0xec];
}

export function writeMsr(msr: number, value: bigint): number[] {
  return [
    ...move("ecx", msr),
    ...move("eax", Number(value & 0xffff_ffffn)),
    ...move("edx", Number(value >> 32n)),
    0x0f,
    0x30,
  ];
}

export function readMsr(msr: number): number[] {
  return [...move("ecx", msr), 0x0f, 0x32];
}

export function cpuid(leaf: number, subleaf = 0): number[] {
  return [...move("eax", leaf), ...move("ecx", subleaf), 0x0f, 0xa2];
}

export const hlt: readonly number[] = [0xf4];
export const cli: readonly number[] = [0xfa];
export const sti: readonly number[] = [0xfb];
export const nop: readonly number[] = [0x90];
export const pause: readonly number[] = [0xf3, 0x90];
export const iret: readonly number[] = [0x48, 0xcf];
export const rdtsc: readonly number[] = [0x0f, 0x31];
export const vmcall: readonly number[] = [0x0f, 0x01, 0xc1];
export const vmmcall: readonly number[] = [0x0f, 0x01, 0xd9];
/** JMP to itself. */
export const spin: readonly number[] = [0xeb, 0xfe];
/** INC dword [abs32]. */
export function increment(address: number): number[] {
  return [0xff, 0x04, 0x25, ...bytes32(address)];
}
