/** All instructions of MMX and SSE. */
import type { Instruction } from "@hvjournal/engine";
import { vectorConversionInstructions } from "./conversions.js";
import { vectorEstimateInstructions } from "./estimates.js";
import { vectorFloatInstructions } from "./float.js";
import { vectorIntegerInstructions } from "./integer.js";
import { vectorMoveInstructions } from "./moves.js";
import { vectorShiftInstructions } from "./shifts.js";
import { vectorShuffleInstructions } from "./shuffles.js";
import { stringCompareInstructions } from "./string-compare.js";

export const vectorInstructions: readonly Instruction[] = [
  ...vectorMoveInstructions,
  ...vectorIntegerInstructions,
  ...vectorShiftInstructions,
  ...vectorShuffleInstructions,
  ...vectorFloatInstructions,
  ...vectorConversionInstructions,
  ...vectorEstimateInstructions,
  ...stringCompareInstructions,
];
