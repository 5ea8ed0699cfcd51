/** POSITION|EXPR: what `--until` and `--fail-on` take. */
import { type ParsedExpression, parseExpression, parsePosition, type Position } from "@hvjournal/core";

export type StopCondition =
  | { readonly form: "position"; readonly position: Position }
  | { readonly form: "expression"; readonly expression: ParsedExpression };

/** `time > 5` and `console =~ /x/` start with a position's keyword and are expressions all the same. */
const POSITION = /^\s*(start|end)\s*$|^\s*(exit|event|icount|time|console|hypercall|snapshot)(:|\s+([0-9/]|[A-Z]))/;

/** Throws PositionError or ExpressionError. */
export function parseStopCondition(text: string): StopCondition {
  return POSITION.test(text)
    ? { form: "position", position: parsePosition(text) }
    : { form: "expression", expression: parseExpression(text) };
}
