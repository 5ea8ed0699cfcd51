/** All instructions of the x87, and EMMS. */
import type { Instruction } from "@hvjournal/engine";
import { x87ArithmeticInstructions } from "./arithmetic.js";
import { x87ComparisonInstructions } from "./comparison.js";
import { x87ControlInstructions } from "./control.js";
import { x87FunctionInstructions } from "./functions.js";
import { x87MoveInstructions } from "./moves.js";

export const x87Instructions: readonly Instruction[] = [
  ...x87ArithmeticInstructions,
  ...x87MoveInstructions,
  ...x87ComparisonInstructions,
  ...x87FunctionInstructions,
  ...x87ControlInstructions,
];
