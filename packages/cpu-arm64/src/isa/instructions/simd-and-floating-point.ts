/** All instructions that CPACR_EL1.FPEN can trap: every one reads or writes a SIMD and FP register, FPCR or FPSR. */
import type { Instruction } from "@hvjournal/engine";
import { floatingPoint } from "./floating-point.js";
import { simdFloatConversions } from "./simd-float-conversions.js";
import { simdFloatingPoint } from "./simd-floating-point.js";
import { simdInteger } from "./simd-integer.js";
import { simdLoadsAndStores } from "./simd-loads-and-stores.js";
import { simdPermute } from "./simd-permute.js";
import { simdShift } from "./simd-shift.js";
import { simdStructureLoadsAndStores } from "./simd-structure-loads-and-stores.js";
import { simdWidening } from "./simd-widening.js";

export const simdAndFloatInstructions: readonly Instruction[] = [
  ...simdLoadsAndStores,
  ...simdPermute,
  ...simdInteger,
  ...simdShift,
  ...simdWidening,
  ...floatingPoint,
  ...simdFloatingPoint,
  ...simdFloatConversions,
  ...simdStructureLoadsAndStores,
];
