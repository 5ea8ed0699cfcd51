/**
 * MSRs that are kept in the vCPU's state, because instructions use them. All others are the kernel half's, and while there is
 * a filter these too: RDMSR and WRMSR leave for them (`ExitCode.readMsr`, `writeMsr`). Intel SDM volume 4.
 */
import { elementOf, type StateField } from "@hvjournal/engine";
import {
  cstar,
  efer,
  fmask,
  kernelGsBase,
  lstar,
  pat,
  Segment,
  segmentBase,
  star,
  sysenterCs,
  sysenterEip,
  sysenterEsp,
  tscAux,
} from "./state.js";

/**
 * Which values are refused: none; addresses that are not canonical; those above 32 bits; of IA32_PAT, memory types that are
 * reserved; of IA32_EFER, see `control-registers.ts`.
 */
export type MsrRule = "any" | "canonical" | "low32" | "memoryTypes" | "efer";

export interface Msr {
  readonly name: string;
  readonly number: number;
  readonly field: StateField<64>;
  readonly rule: MsrRule;
}

function msr(name: string, number: number, field: StateField<64>, rule: MsrRule): Msr {
  return { name, number, field, rule };
}

/** In the order in which they are compared. */
export const msrs: readonly Msr[] = [
  msr("IA32_FS_BASE", 0xc000_0100, elementOf(segmentBase, Segment.fs), "canonical"),
  msr("IA32_GS_BASE", 0xc000_0101, elementOf(segmentBase, Segment.gs), "canonical"),
  msr("IA32_KERNEL_GS_BASE", 0xc000_0102, kernelGsBase, "canonical"),
  msr("IA32_TSC_AUX", 0xc000_0103, tscAux, "low32"),
  msr("IA32_EFER", 0xc000_0080, efer, "efer"),
  msr("IA32_STAR", 0xc000_0081, star, "any"),
  msr("IA32_LSTAR", 0xc000_0082, lstar, "canonical"),
  msr("IA32_CSTAR", 0xc000_0083, cstar, "canonical"),
  msr("IA32_FMASK", 0xc000_0084, fmask, "low32"),
  msr("IA32_SYSENTER_CS", 0x174, sysenterCs, "any"),
  msr("IA32_SYSENTER_ESP", 0x175, sysenterEsp, "canonical"),
  msr("IA32_SYSENTER_EIP", 0x176, sysenterEip, "canonical"),
  msr("IA32_PAT", 0x277, pat, "memoryTypes"),
];
