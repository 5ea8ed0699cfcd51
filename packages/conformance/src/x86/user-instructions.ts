/** Which definitions of x86 are tested as user code against other implementations. */
import type { Instruction } from "@hvjournal/engine";
import { generalInstructions, parseEncoding } from "@hvjournal/cpu-x86";
import type { Bits } from "./case-block.js";
import type { Oracle } from "./native-runner.js";
import { isLeftOut } from "./open-differences.js";
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
      !isLeftOut(instruction, toEndOnly ? "qemu" : "host"),
  );
}
