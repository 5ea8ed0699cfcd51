/** The definition of a Cortex-A57 for the engine: state, instructions by context, translation, exceptions. */
import { type CpuDefinition, defineInstruction, type Instruction, type StateField } from "@hvjournal/engine";
import { withAlignmentChecked, withStackRefused, withStackTracked } from "./alignment-checks.js";
import { Context, refreshContext } from "./context.js";
import {
  alignmentFault,
  Daif,
  fetchFault,
  finishInstruction,
  floatTrap,
  illegalStateException,
  interruptPending,
  memoryFault,
  misalignedPc,
  takeInterrupt,
  undefinedInstruction,
} from "./exceptions.js";
import { stepped } from "./software-step.js";
import { branches } from "./instructions/branches.js";
import { dataProcessingImmediate } from "./instructions/data-processing-immediate.js";
import { dataProcessingRegister } from "./instructions/data-processing-register.js";
import { exclusives } from "./instructions/exclusives.js";
import { loadsAndStores } from "./instructions/loads-and-stores.js";
import { simdAndFloatInstructions } from "./instructions/simd-and-floating-point.js";
import { floatControlAccesses, systemInstructions } from "./instructions/system.js";
import {
  contextWord,
  daif,
  exceptionLevel,
  exclusiveBytes,
  flagC,
  flagN,
  flagV,
  flagZ,
  layout,
  pc,
  sp,
  stackSelect,
  v,
  x,
} from "./state.js";
import { sctlrEl1, systemRegisters, tcrEl1, ttbr0El1, ttbr1El1 } from "./system-registers.js";
import { entryMayBeLive, translate } from "./translation.js";

const integerInstructions: readonly Instruction[] = [
  ...dataProcessingImmediate,
  ...dataProcessingRegister,
  ...branches,
  ...loadsAndStores,
  ...exclusives,
  ...systemInstructions,
];

const floatInstructions: readonly Instruction[] = [...simdAndFloatInstructions, ...floatControlAccesses];

/** The same encoding and text, but the meaning is the trap of CPACR_EL1.FPEN. */
function trapped(instruction: Instruction): Instruction {
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, trapped`,
    formFields: [],
    operands: {},
    execute(_form, _operands, stage) {
      stage.raise(floatTrap);
    },
  };
}

const all: readonly Instruction[] = [...integerInstructions, ...floatInstructions];
const withFloatTrapped: readonly Instruction[] = [...integerInstructions, ...floatInstructions.map(trapped)];

/** While PSTATE.IL is set no instruction is executed, whatever its encoding. */
const inIllegalState: readonly Instruction[] = [
  defineInstruction({
    mnemonic: "illegal execution state",
    reference: "D1",
    pattern: "encoding:32",
    formFields: [],
    operands: {},
    text: ({ encoding }) => `.inst 0x${encoding.toString(16).padStart(8, "0")}`,
    execute(_form, _operands, stage) {
      stage.raise(illegalStateException);
    },
  }),
];

/** By context, but for the exception level, which decoding does not depend on. Made when first asked for. */
const lists = new Map<number, readonly Instruction[]>();

function instructionsFor(context: number): readonly Instruction[] {
  if (context === Context.illegal) return inIllegalState;
  const key = context & ~Context.el1;
  const known = lists.get(key) ?? makeList(key);
  lists.set(key, known);
  return known;
}

function makeList(context: number): readonly Instruction[] {
  const plain = (context & Context.floatTrapped) === 0 ? all : withFloatTrapped;
  const aligned = (context & Context.alignmentChecked) === 0 ? plain : withAlignmentChecked(plain);
  const list = (context & Context.stackMisaligned) === 0 ? withStackTracked(aligned) : withStackRefused(aligned);
  return (context & Context.stepped) === 0 ? list : list.map(stepped);
}

/** State at reset; every field that is not here is 0. PSTATE is EL1h with DAIF set, NZCV clear. */
export const resetValues: readonly (readonly [StateField<32 | 64>, bigint])[] = [
  [exceptionLevel, 1n],
  [stackSelect, 1n],
  [daif, BigInt(Daif.D | Daif.A | Daif.I | Daif.F)],
  [flagZ, 1n],
  [contextWord, BigInt(Context.el1 | Context.floatTrapped)],
  ...systemRegisters.flatMap(({ home, reset }): [StateField<64>, bigint][] =>
    home.kind === "state" && reset !== undefined ? [[home.field, reset]] : [],
  ),
];

export const cortexA57: CpuDefinition = {
  name: "cortex-a57",
  layout,
  pc,
  granule: 4,
  hostRoutines: [refreshContext, finishInstruction],
  instructionsFor,
  contextWord,
  privilege: exceptionLevel,
  workingRegisters: [x, sp, v, flagN, flagZ, flagC, flagV],
  translationFields: [sctlrEl1, tcrEl1, ttbr0El1, ttbr1El1],
  translate,
  memoryFault,
  fetchFault,
  misalignedPc,
  alignmentFault,
  undefinedInstruction,
  interruptPending,
  takeInterrupt,
  entryMayBeLive,
  profileContext: Context.el1,
  externallyWritten(state) {
    state.writeField(exclusiveBytes, 0n);
  },
};
