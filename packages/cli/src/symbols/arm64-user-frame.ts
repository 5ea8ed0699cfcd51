/**
 * Where an arm64 Linux kernel was entered from user mode. Its chain of frame records ends with one of zeros in `struct
 * pt_regs` (arch/arm64/kernel/entry.S, kernel_entry; asm/ptrace.h), in front of which user mode's pc and pstate lie. A kernel
 * thread's chain ends the same way, with the pstate of EL1 or a pc of 0.
 */
import { type Machine, readVirtual, type SymbolTable } from "@hvjournal/core";

const RECORDS_MAX = 256;
const RECORD_BYTES = 16;
/** From `pt_regs.stackframe` back to `pc`, behind which pstate lies: up to 6.12, and from 6.13 on. */
const PC_BEFORE_RECORD: readonly bigint[] = [48n, 40n];
/** PSTATE of EL0t in AArch64 state: 32 bits, of which M, nRW among them, are 0. */
const MODE_MASK = 0x1fn;
const PSTATE_BITS = 32n;
/** A virtual address of TTBR0_EL1's half, as far as LVA goes. */
const USER_ADDRESS_BITS = 52n;

/** undefined: the kernel is none that keeps it so, or was not entered from user mode. */
export function arm64UserPc(machine: Machine, vcpu: number, symbols: SymbolTable): bigint | undefined {
  if (symbols.find("el0t_64_sync") === undefined) return undefined;
  const last = lastRecord(machine, vcpu);
  if (last === undefined) return undefined;
  for (const distance of PC_BEFORE_RECORD) {
    const [pc, pstate] = pair(machine, vcpu, last - distance) ?? [0n, 0n];
    if (pc !== 0n && isUserCode(pc) && isUserState(pstate)) return pc;
  }
  return undefined;
}

/** Address of the record of zeros. */
function lastRecord(machine: Machine, vcpu: number): bigint | undefined {
  let frame = machine.kernel.readRegister(vcpu, "x29");
  for (let count = 0; count < RECORDS_MAX; count++) {
    const record = pair(machine, vcpu, frame);
    if (record === undefined) return undefined;
    const [next, caller] = record;
    if (caller === 0n) return next === 0n ? frame : undefined;
    // Of an interrupt's own stack, the record leads back to the task's, which may lie lower.
    if (next === 0n || next === frame) return undefined;
    frame = next;
  }
  return undefined;
}

function isUserCode(pc: bigint): boolean {
  return (pc & 3n) === 0n && pc >> USER_ADDRESS_BITS === 0n;
}

function isUserState(pstate: bigint): boolean {
  return (pstate & MODE_MASK) === 0n && pstate >> PSTATE_BITS === 0n;
}

function pair(machine: Machine, vcpu: number, address: bigint): readonly [bigint, bigint] | undefined {
  const content = readVirtual(machine, vcpu, address, RECORD_BYTES);
  if (content === undefined) return undefined;
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  return [view.getBigUint64(0, true), view.getBigUint64(8, true)];
}
