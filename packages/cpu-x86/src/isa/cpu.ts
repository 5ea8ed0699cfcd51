/** The definition of an x86-64 CPU for the engine: state, instructions by context, translation, exceptions. */
import { type CpuDefinition, elementOf, type Instruction, type StateField } from "@hvjournal/engine";
import { alignmentChecked } from "./alignment-checks.js";
import { Context, refreshDerived } from "./context.js";
import { existsIn, variableLength } from "./decoder.js";
import { eventDelivery } from "./delivery.js";
import {
  alignmentFault,
  fetchFault,
  memoryFault,
  misalignedPc,
  noteException,
  undefinedInstruction,
} from "./exceptions.js";
import { finishInstruction } from "./finish-instruction.js";
import { materializeFlags } from "./flags.js";
import { controlRegisterInstructions } from "./instructions/control-registers.js";
import { returnInstructions } from "./instructions/far-returns.js";
import { stateSavingInstructions } from "./instructions/fxsave.js";
import { hypervisorInstructions, pauseInstructions } from "./instructions/hypervisor.js";
import { modelSpecificInstructions } from "./instructions/model-specific.js";
import { generalInstructions } from "./instructions/general.js";
import { portInstructions } from "./instructions/port.js";
import { segmentBaseInstructions } from "./instructions/segment-bases.js";
import { segmentRegisterInstructions, stackSegmentInstructions } from "./instructions/segment-registers.js";
import { softwareInterruptInstructions } from "./instructions/software-interrupts.js";
import { swapInstructions, systemCallInstructions } from "./instructions/system-calls.js";
import { accessRightInstructions } from "./instructions/access-rights.js";
import { descriptorTableInstructions } from "./instructions/descriptor-tables.js";
import { farBranchInstructions } from "./instructions/far-branches.js";
import { flagsImageInstructions, interruptFlagInstructions } from "./instructions/flags-image.js";
import { systemInstructions } from "./instructions/system.js";
import { x87Instructions } from "./instructions/x87/all.js";
import { vectorInstructions } from "./instructions/vector/all.js";
import { interruptPending } from "./interrupts.js";
import { oneShot, withInstructionBreakpoints } from "./one-shot.js";
import { Cr0, CR0_PG, Cr4, Efer, Flag } from "./registers.js";
import { SegmentAttribute } from "./segment-attributes.js";
import {
  contextWord,
  cr0,
  cr3,
  cr4,
  efer,
  fcw,
  flagAdjust,
  flagCarry,
  flagOverflow,
  flagParity,
  flagSign,
  flagZero,
  gpr,
  layout,
  mxcsr,
  pagingControls,
  privilege,
  rflags,
  rip,
  Segment,
  segmentAttributes,
  segmentLimit,
  xcr0,
  xmm,
} from "./state.js";
import { entryMayBeLive, translate } from "./translation.js";

const ordinaryInstructions: readonly Instruction[] = [
  ...generalInstructions,
  ...pauseInstructions,
  ...systemInstructions,
  ...flagsImageInstructions,
  ...segmentRegisterInstructions,
  ...segmentBaseInstructions,
  ...descriptorTableInstructions,
  ...accessRightInstructions,
  ...farBranchInstructions,
  ...softwareInterruptInstructions,
  ...swapInstructions,
  ...controlRegisterInstructions,
  ...modelSpecificInstructions,
  ...portInstructions,
  ...hypervisorInstructions,
  ...x87Instructions,
  ...vectorInstructions,
  ...stateSavingInstructions,
];

/** They write interrupt shadow and RF themselves. */
const oneShotInstructions: readonly Instruction[] = [
  ...stackSegmentInstructions,
  ...interruptFlagInstructions,
  ...returnInstructions,
  ...systemCallInstructions,
];

const lists = new Map<number, readonly Instruction[]>();

/** Each context has a list of its own, because what a decoder gives depends on it. */
function instructionsFor(context: number): readonly Instruction[] {
  const known = lists.get(context);
  if (known !== undefined) return known;
  const hasBreakpoints = (context & Context.breakpoints) !== 0;
  const isSpecial = (context & Context.oneShot) !== 0;
  const special = (instruction: Instruction): Instruction => oneShot(instruction, hasBreakpoints);
  const all = [
    ...(isSpecial ? ordinaryInstructions.map(special) : ordinaryInstructions),
    ...(hasBreakpoints ? oneShotInstructions.map(withInstructionBreakpoints) : oneShotInstructions),
  ];
  const existing = all.filter((instruction) => existsIn(instruction, context));
  const list = (context & Context.aligned) === 0 ? existing : existing.map(alignmentChecked);
  lists.set(context, list);
  return list;
}

const { P, S, code, writable, accessed, L, DB, G } = SegmentAttribute;

/**
 * State of 64-bit mode at CPL 0 with paging on and interrupts off, as a boot loader leaves it; every field that is not here
 * is 0; `refreshDerived` follows. CR3 and the descriptor tables are the caller's. (Reset itself is in real mode, which is
 * not simulated.)
 */
export const longModeValues: readonly (readonly [StateField<32 | 64>, bigint])[] = [
  [rflags, BigInt(Flag.fixed)],
  [cr0, CR0_PG | BigInt(Cr0.PE | Cr0.NE | Cr0.WP)],
  [cr4, BigInt(Cr4.PAE | Cr4.OSFXSR)],
  [efer, BigInt(Efer.LME | Efer.LMA | Efer.NXE)],
  [elementOf(segmentAttributes, Segment.cs), BigInt(P | S | code | writable | accessed | L | G)],
  ...[Segment.es, Segment.ss, Segment.ds, Segment.fs, Segment.gs].map(
    (segment) =>
      [elementOf(segmentAttributes, segment), BigInt(P | S | writable | accessed | DB | G)] as [StateField<32>, bigint],
  ),
  ...[Segment.es, Segment.cs, Segment.ss, Segment.ds, Segment.fs, Segment.gs].map(
    (segment) => [elementOf(segmentLimit, segment), 0xffff_ffffn] as [StateField<32>, bigint],
  ),
  [elementOf(segmentAttributes, Segment.ldtr), BigInt(SegmentAttribute.unusable)],
  [fcw, 0x37fn],
  [mxcsr, 0x1f80n],
  [xcr0, 1n],
];

const STATUS_FLAG_FIELDS = [flagZero, flagSign, flagOverflow, flagParity, flagCarry, flagAdjust];

export const x86Cpu: CpuDefinition = {
  name: "x86-64",
  layout,
  pc: rip,
  granule: 1,
  hostRoutines: [refreshDerived, materializeFlags, noteException, finishInstruction],
  instructionsFor,
  variableLength,
  contextWord,
  contextsAlternate: true,
  privilege,
  privilegeCount: 3,
  oftenOverwritten: STATUS_FLAG_FIELDS,
  workingRegisters: [gpr, xmm, ...STATUS_FLAG_FIELDS],
  accessesAsPrivileged: true,
  translationFields: [pagingControls, cr3],
  translate,
  memoryFault,
  fetchFault,
  misalignedPc,
  alignmentFault,
  undefinedInstruction,
  interruptPending,
  takeInterrupt: eventDelivery,
  entryMayBeLive,
};
