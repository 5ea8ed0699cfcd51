/** Which definitions of x86 are tested as user code against other implementations. */
import type { Instruction } from "@hvjournal/engine";
import { generalInstructions, parseEncoding } from "@hvjournal/cpu-x86";
import type { Bits } from "./case-block.js";
import type { Oracle } from "./native-runner.js";
import { definitionsFor } from "./random-cases.js";

/** What only the system may do, what depends on the system around it, or differs from run to run. */
const SYSTEM =
  /^(IN|OUT|INS|OUTS|HLT|STI|CLI|IRET.*|INT|INT3|INT1|INTO|SYSCALL|SYSENTER|SYSRET|SYSEXIT|MOV \(.*(Sreg|CR|DR).*|MOV .*SS.*|POP \(?(SS|DS|ES|FS|GS).*|PUSH \(?(SS|DS|ES|FS|GS|CS).*|L[DEFGS]S|LGDT|LIDT|LLDT|LTR|LMSW|SGDT|SIDT|SLDT|STR|SMSW|LAR|LSL|VERR|VERW|ARPL|CLTS|INVD|WBINVD|INVLPG|INVPCID|RDMSR|WRMSR|RDPMC|RDTSC|RDTSCP|RDRAND|RDSEED|CPUID|SWAPGS|RDFSBASE|RDGSBASE|WRFSBASE|WRGSBASE|CLAC|STAC|MONITOR|MWAIT|VMCALL|VMMCALL|XSETBV|XGETBV|XSAVE.*|XRSTOR.*|FXSAVE.*|FXRSTOR.*|.*far.*|.*ptr16.*|.*m16:.*|POPF.*|PUSHF.*|RSM|PAUSE)( .*|$)/;

export function isUserInstruction({ mnemonic }: Instruction): boolean {
  return !SYSTEM.test(mnemonic);
}

/** Escapes to the x87 (D8 to DF), and MMX, which has the same registers. */
function isX87({ mnemonic, pattern }: Instruction): boolean {
  const { opcode } = parseEncoding(pattern);
  return (opcode >= 0xd8 && opcode <= 0xdf) || /[( ]mm[,) ]|MASKMOVQ|MOVNTQ|MOVQ2DQ|MOVDQ2Q|EMMS|PI2P/.test(mnemonic);
}

/**
 * What AMD's CPUs do otherwise than the manual says:
 * - ENTER of two and more levels reads some links before it has written those above, which shows where frames overlap.
 * - FCOMI and its like leave C1 as it was.
 * - FNSAVE and FNSTENV know the selectors of the last instruction, and its addresses only if it raised an exception.
 * - MASKMOVDQU and MASKMOVQ fault without a bit in the mask too. The latter makes all registers of the x87 full even where
 *   it faults, and CVTTPS2PI and its like where they raise #XM: LDMXCSR, which unmasks that, is left out, and takes a bit
 *   more than the manual has.
 * - FCOM and its like write condition codes though an exception has a handler: FLDCW, FLDENV and FRSTOR, which unmask, are
 *   left out.
 * And where the manual leaves the last bits open: estimates, transcendental functions (see `extended-float-host.test.ts`).
 */
const HOST_DIFFERS =
  /^(ENTER \(imm16, ([2-9]|\d\d)\)|FU?COMIP?$|MASKMOV(Q|DQU)|LDMXCSR|FLDCW|FLDENV|FRSTOR|FNSAVE|FNSTENV|R(CP|SQRT)[PS]S|F(SIN|COS|SINCOS|PTAN|PATAN|2XM1|YL2X|YL2XP1)$)/;

/**
 * What QEMU 7.2 does otherwise than the manual says and the host does:
 * - CMPXCHG8B, CMPXCHG16B: flags beside ZF change.
 * - BOUND that raises #BR ends it.
 * - MOVBE and CRC32 with 66 and REX.W have operands of a word.
 * And where the manual leaves the result undefined:
 * - BSWAP of a word; SHLD and SHRD of a word by more than 16.
 */
const QEMU_DIFFERS = /^(BOUND|CMPXCHG(8|16)B|MOVBE|CRC32|BSWAP|SHLD|SHRD)/;

const general = new Set(generalInstructions);

/** General-purpose instructions, or all others. */
export type InstructionGroup = "general" | "floats and vectors";

export function userInstructions(
  bits: Bits,
  group: InstructionGroup,
  { hasX87, toEndOnly }: Pick<Oracle, "hasX87" | "toEndOnly">,
): readonly Instruction[] {
  return definitionsFor(bits).filter(
    (instruction) =>
      isUserInstruction(instruction) &&
      general.has(instruction) === (group === "general") &&
      (hasX87 || !isX87(instruction)) &&
      !(toEndOnly ? QEMU_DIFFERS : HOST_DIFFERS).test(instruction.mnemonic),
  );
}
