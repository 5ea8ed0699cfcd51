/** Numbers of the memory type range registers. Intel SDM volume 3, 12.11. */
import { Msr } from "./msr-names.js";

const VARIABLE_COUNT = 8;
export const FIXED_MTRRS: readonly number[] = [
  Msr.IA32_MTRR_FIX64K_00000,
  Msr.IA32_MTRR_FIX16K_80000,
  Msr.IA32_MTRR_FIX16K_A0000,
  ...Array.from({ length: 8 }, (_, index) => Msr.IA32_MTRR_FIX4K_C0000 + index),
];
const VARIABLE: readonly number[] = Array.from(
  { length: 2 * VARIABLE_COUNT },
  (_, index) => Msr.IA32_MTRR_PHYSBASE0 + index,
);

/** In the order in which they are saved. */
export const MTRR_NUMBERS: readonly number[] = [...VARIABLE, ...FIXED_MTRRS, Msr.IA32_MTRR_DEF_TYPE];
