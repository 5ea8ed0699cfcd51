/** Which definitions of x86 are tested as user code against other implementations. */
import type { Instruction } from "@hvjournal/engine";
import { parseEncoding } from "@hvjournal/cpu-x86";
import type { Bits } from "./case-block.js";
import type { Oracle } from "./native-runner.js";
import { definitionsFor } from "./random-cases.js";

/** What only the system may do, what depends on the system around it, or differs from run to run. */
const SYSTEM =
  /^(IN|OUT|INS|OUTS|HLT|STI|CLI|IRET.*|INT|INT3|INT1|INTO|SYSCALL|SYSENTER|SYSRET|SYSEXIT|MOV \(.*(Sreg|CR|DR).*|MOV .*SS.*|POP \(?(SS|DS|ES|FS|GS).*|PUSH \(?(SS|DS|ES|FS|GS|CS).*|L[DEFGS]S|LGDT|LIDT|LLDT|LTR|LMSW|SGDT|SIDT|SLDT|STR|SMSW|LAR|LSL|VERR|VERW|ARPL|CLTS|INVD|WBINVD|INVLPG|INVPCID|RDMSR|WRMSR|RDPMC|RDTSC|RDTSCP|RDRAND|RDSEED|CPUID|SWAPGS|RDFSBASE|RDGSBASE|WRFSBASE|WRGSBASE|CLAC|STAC|MONITOR|MWAIT|VMCALL|VMMCALL|XSETBV|XGETBV|XSAVE.*|XRSTOR.*|FXSAVE.*|FXRSTOR.*|.*far.*|.*ptr16.*|.*m16:.*|POPF.*|PUSHF.*|RSM|PAUSE)( .*|$)/;

export function isUserInstruction({ mnemonic }: Instruction): boolean {
  return !SYSTEM.test(mnemonic);
}

/** Escapes to the x87: D8 to DF. */
function isX87({ pattern }: Instruction): boolean {
  const { opcode } = parseEncoding(pattern);
  return opcode >= 0xd8 && opcode <= 0xdf;
}

/**
 * What QEMU 7.2 does otherwise than the manual says and the host does:
 * - CMPXCHG8B, CMPXCHG16B: flags beside ZF change.
 */
const QEMU_DIFFERS = /^CMPXCHG(8|16)B/;

export function userInstructions(bits: Bits, { hasX87, toEndOnly }: Oracle): readonly Instruction[] {
  return definitionsFor(bits).filter(
    (instruction) =>
      isUserInstruction(instruction) &&
      (hasX87 || !isX87(instruction)) &&
      !(toEndOnly && QEMU_DIFFERS.test(instruction.mnemonic)),
  );
}
