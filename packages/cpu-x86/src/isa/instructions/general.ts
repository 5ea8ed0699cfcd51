/** The general-purpose instructions: Intel SDM volume 1, 5.1. */
import type { Instruction } from "@hvjournal/engine";
import { arithmeticInstructions } from "./arithmetic.js";
import { bitInstructions } from "./bits.js";
import { decimalInstructions } from "./decimal.js";
import { exchangeInstructions } from "./exchange.js";
import { flagInstructions } from "./flag-control.js";
import { hintInstructions } from "./hints.js";
import { logicInstructions } from "./logic.js";
import { moveInstructions } from "./moves.js";
import { multiplicationInstructions } from "./multiplication.js";
import { nearBranchInstructions } from "./near-branches.js";
import { shiftInstructions } from "./shifts.js";
import { stackInstructions } from "./stack.js";
import { stringInstructions } from "./string.js";

export const generalInstructions: readonly Instruction[] = [
  ...arithmeticInstructions,
  ...bitInstructions,
  ...decimalInstructions,
  ...exchangeInstructions,
  ...flagInstructions,
  ...hintInstructions,
  ...logicInstructions,
  ...moveInstructions,
  ...multiplicationInstructions,
  ...nearBranchInstructions,
  ...shiftInstructions,
  ...stackInstructions,
  ...stringInstructions,
];
