/**
 * What may differ from an oracle: where the manual leaves it open, or an oracle does otherwise than the manual says. Sections
 * are of the Intel SDM unless AMD's manual is named; flags that an instruction leaves undefined are part of its definition
 * (`undefinedFlags`).
 */
import type { Instruction } from "@hvjournal/engine";
import { type ComparisonOptions, differences, FxsaveOffset, type UserCase, type UserResult } from "./case-block.js";

type OracleKind = "host" | "qemu";

export interface OpenDifference {
  readonly oracle: OracleKind | "both";
  readonly definitions: RegExp;
  readonly what: string;
  readonly section: string;
  /** Whether it explains what differs. Undefined: cases of such definitions are not drawn. */
  readonly explains?: (pair: ResultPair) => boolean;
}

interface ResultPair {
  readonly userCase: UserCase;
  readonly actual: UserResult;
  readonly expected: UserResult;
  /** Of `differences`. */
  readonly lines: readonly string[];
}

/**
 * What the process of an oracle has beside the pages of a case: its program, stack and vDSO. And an operand that reaches
 * over 4 GiB breaks the limit of its segment, where flat ones are not checked here.
 */
const OTHER_MEMORY = {
  32: [
    [0x0804_0000n, 0x0807_0000n],
    [0xf000_0000n, 0x1_0000_0000n],
  ],
  64: [
    [0x40_0000n, 0x43_0000n],
    [0x7f00_0000_0000n, 0x8000_0000_0000n],
  ],
} as const;

const PAGE_FAULT = 14;
const GENERAL_PROTECTION = 13;

function meetsOtherMemory({ userCase, actual: { end } }: ResultPair): boolean {
  return (
    end.vector === PAGE_FAULT && OTHER_MEMORY[userCase.bits].some(([first, last]) => end.cr2 >= first && end.cr2 < last)
  );
}

function onlyMemoryAtFault({ actual, lines }: ResultPair): boolean {
  return actual.end.vector === PAGE_FAULT && lines.every((line) => /^(window|data)/.test(line));
}

function otherByteOfPage({ actual, expected, lines }: ResultPair): boolean {
  const [left, right] = [actual.end, expected.end];
  return (
    left.vector === PAGE_FAULT &&
    left.vector === right.vector &&
    left.cr2 >> 12n === right.cr2 >> 12n &&
    lines.length === 1
  );
}

function otherOperandAtFault({ actual, expected, lines }: ResultPair): boolean {
  const isFault = ({ end: { vector } }: UserResult): boolean => vector === PAGE_FAULT || vector === GENERAL_PROTECTION;
  return isFault(actual) && isFault(expected) && lines.length === 1;
}

const SIMD_EXCEPTION = 19;
const FSW_ERROR_SUMMARY = 0x80;
const FSW_CONDITIONS = 0x4700;

/** And what FNSTSW has made of them; FNCLEX takes the exceptions away, and leaves the codes. */
function onlyConditionCodes({ userCase, actual, expected, lines }: ResultPair): boolean {
  const [left, right] = [actual, expected].map(({ fxsave }) =>
    new DataView(fxsave.buffer, fxsave.byteOffset).getUint16(FxsaveOffset.fsw, true),
  );
  if (left === undefined || right === undefined) return false;
  const isCleared = userCase.mnemonics.includes("FNCLEX");
  const isPending = isCleared || (left & right & FSW_ERROR_SUMMARY) !== 0;
  const isStored = userCase.mnemonics.some((mnemonic) => mnemonic.startsWith("FNSTSW"));
  const explained = isStored ? /^(fsw|r0:|window|data)/ : /^fsw/;
  return isPending && ((left ^ right) & ~FSW_CONDITIONS) === 0 && lines.every((line) => explained.test(line));
}

function onlyX87AtFault({ actual, expected, lines }: ResultPair): boolean {
  const raised = actual.end.vector === SIMD_EXCEPTION && expected.end.vector === SIMD_EXCEPTION;
  return raised && lines.every((line) => /^(fsw|tags|st\d)/.test(line));
}

export const openDifferences: readonly OpenDifference[] = [
  {
    oracle: "both",
    definitions: /./,
    what: "addresses at which the oracle's own process has memory",
    section: "none: a matter of the process",
    explains: meetsOtherMemory,
  },
  {
    oracle: "both",
    definitions: /^(CALL \(r\/m\))$/,
    what: "whether a CALL to an address that is not canonical pushes before it raises #GP",
    section: "volume 2, CALL: #GP(0); AMD volume 3, CALL (near) pushes first",
    explains: ({ actual }) => actual.end.vector === GENERAL_PROTECTION,
  },
  {
    oracle: "host",
    definitions: /^(PUSHA|ENTER)/,
    what: "memory that PUSHA and ENTER have written before they meet a page that is not there",
    section: "volume 3, 6.5: a fault restores the state from before; memory that is written again is left open",
    explains: onlyMemoryAtFault,
  },
  {
    oracle: "both",
    definitions: /^(MOVS|STOS)/,
    what: "when a repetition that writes over its own instruction is fetched anew",
    section: "volume 3, 8.1.3 and 11.6; volume 2, REP",
    explains: ({ actual }) => actual.codeWritten === true,
  },
  {
    oracle: "host",
    definitions: /^CMPS/,
    what: "which operand of CMPS is told where both fault: AMD's family 19h tells the one at rDI, family 1Ah the one at rSI",
    section: "volume 3, 6.9: the order of faults of one instruction may differ between processors",
    explains: otherOperandAtFault,
  },
  {
    oracle: "host",
    definitions: /^ENTER \(imm16, ([2-9]|\d\d)\)/,
    what: "ENTER of two and more levels: AMD's CPUs read links before they have written those above, where frames overlap",
    section: "volume 2, ENTER: operation",
  },
  {
    oracle: "host",
    definitions: /^FU?COMIP?$/,
    what: "FCOMI and its like: AMD's CPUs leave C1 as it was",
    section: "volume 2, FCOMI: C1",
  },
  {
    oracle: "host",
    definitions: /^(FNSAVE|FNSTENV)/,
    what: "FNSAVE and FNSTENV: AMD's CPUs know addresses only where an exception was raised",
    section: "AMD volume 2, 11.4.4; volume 1, 8.1.8",
  },
  {
    oracle: "host",
    definitions: /^MASKMOV(Q|DQU)/,
    what: "MASKMOVDQU and MASKMOVQ: AMD's CPUs fault without a bit in the mask too, and MASKMOVQ makes tags full where it faults",
    section: "volume 2, MASKMOVQ: implementation specific",
  },
  {
    oracle: "host",
    definitions: /^(FRSTOR|FLDENV|FXRSTOR)/,
    what: "which byte of an operand of many is the address of the page fault",
    section: "volume 3, 6.15: CR2 has the address that the fault came from",
    explains: otherByteOfPage,
  },
  {
    oracle: "host",
    definitions: /^F(TST|U?I?COMP?P?)( |$)/,
    what: "condition codes of a comparison whose exception has a handler: AMD's CPUs write them",
    section: "volume 2, FCOM: written where IM masks it",
    explains: onlyConditionCodes,
  },
  {
    oracle: "host",
    definitions: /^CVT(T?P[SD]2PI|PI2P[SD])/,
    what: "x87 state where a conversion from or to MMX raises #XM: AMD's CPUs have made tags full and TOP 0 before",
    section: "volume 3, 6.5: a fault restores the state from before",
    explains: onlyX87AtFault,
  },
  {
    oracle: "host",
    definitions: /^LDMXCSR/,
    what: "LDMXCSR: AMD's CPUs take bit 17 of MXCSR (MM)",
    section: "volume 1, 10.2.3: bits 16 to 31 are reserved",
  },
  {
    oracle: "host",
    definitions: /^R(CP|SQRT)[PS]S/,
    what: "estimates: the last bits",
    section: "volume 2, RCPPS, RSQRTPS: relative error below 1.5 * 2^-12",
  },
  {
    oracle: "host",
    definitions: /^F(SIN|COS|SINCOS|PTAN|PATAN|2XM1|YL2X|YL2XP1)$/,
    what: "transcendental functions: the last bits (tested by themselves, with a bound)",
    section: "volume 1, 8.3.10",
  },
  {
    oracle: "qemu",
    definitions: /^CMPXCHG(8|16)B/,
    what: "CMPXCHG8B, CMPXCHG16B: QEMU changes flags beside ZF",
    section: "volume 2, CMPXCHG8B: flags affected",
  },
  {
    oracle: "qemu",
    definitions: /^BOUND/,
    what: "BOUND: QEMU user mode ends with the process where it raises #BR",
    section: "volume 2, BOUND",
  },
  {
    oracle: "qemu",
    definitions: /^(MOVBE|CRC32)/,
    what: "MOVBE and CRC32 with 66 and REX.W: QEMU takes operands of a word",
    section: "volume 2, 2.2.1.2: REX.W has precedence over 66",
  },
  {
    oracle: "qemu",
    definitions: /^(BSWAP|SHLD|SHRD)/,
    what: "BSWAP of a word; SHLD and SHRD of a word by more than 16",
    section: "volume 2, BSWAP, SHLD, SHRD: the result is undefined",
  },
];

/** Whether cases of a definition are not drawn for an oracle. */
export function isLeftOut({ mnemonic }: Instruction, oracle: OracleKind): boolean {
  return openDifferences.some(
    (open) => open.explains === undefined && open.oracle === oracle && open.definitions.test(mnemonic),
  );
}

/** Of a case's differences those that the manual decides, and whether some are left open. */
export interface Judged {
  readonly decided: readonly string[];
  readonly isOpen: boolean;
}

export function judge(
  userCase: UserCase,
  actual: UserResult,
  expected: UserResult,
  options: ComparisonOptions = {},
): Judged {
  const lines = differences(userCase, actual, expected, options);
  if (lines.length === 0) return { decided: lines, isOpen: false };
  const pair = { userCase, actual, expected, lines };
  const isOpen = openDifferences.some(
    ({ definitions, explains }) =>
      explains?.(pair) === true && userCase.mnemonics.some((mnemonic) => definitions.test(mnemonic)),
  );
  return { decided: isOpen ? [] : lines, isOpen };
}
