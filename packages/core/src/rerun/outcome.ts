/** What is expected of a run as a whole: an EXPR, and at which moments it counts. */
import type { SymbolTable } from "../ports/symbols.js";
import type { Machine } from "../machine/machine.js";
import { Evaluator } from "../expression/evaluate.js";
import { MachineEnvironment } from "../expression/machine-environment.js";
import { isConstant, subexpressions, type ParsedExpression } from "../expression/parse-expression.js";
import type { Expression } from "../expression/syntax-tree.js";

/**
 * - `ever`: it asks for an exit: it holds where it held at one.
 * - `once`: it can only become true, as `console =~` and `count() >=` do: it holds as soon as it does.
 * - `end`: any other: what it is at the end of the run.
 */
export type OutcomeForm = "ever" | "once" | "end";

/** What only grows while a guest runs. */
function grows(tree: Expression): boolean {
  return tree.node === "count" || tree.node === "icount" || tree.node === "time" || isRising(tree);
}

/** Once true, it stays true. */
function isRising(tree: Expression): boolean {
  if (tree.node === "console" || isConstant(tree)) return true;
  if (tree.node !== "binary") return false;
  const { operator, left, right } = tree;
  if (operator === "&&" || operator === "||") return isRising(left) && isRising(right);
  if (operator === ">" || operator === ">=") return grows(left) && isConstant(right);
  if (operator === "<" || operator === "<=") return isConstant(left) && grows(right);
  return false;
}

/** What is counted is looked at when an exit occurs, and its sum is not of an exit. */
function asksForExit(tree: Expression): boolean {
  if (tree.node === "count") return false;
  return tree.node === "exit" || tree.node === "exit argument" || subexpressions(tree).some(asksForExit);
}

export function outcomeForm({ tree }: Pick<ParsedExpression, "tree">): OutcomeForm {
  if (asksForExit(tree)) return "ever";
  return isRising(tree) ? "once" : "end";
}

export class Outcome {
  readonly form: OutcomeForm;
  readonly #evaluator: Evaluator;
  readonly #environment: MachineEnvironment;
  #holds = false;
  #asked = 0;
  /** It held at the very first exit, without asking for it: nothing that the guest did made it so. */
  heldFromStart = false;

  /** Throws ExpressionError for names that do not exist. */
  constructor(expression: ParsedExpression, machine: Machine, symbols?: SymbolTable) {
    this.form = outcomeForm(expression);
    this.#environment = new MachineEnvironment(machine, symbols);
    new Evaluator(expression).evaluate(this.#environment);
    this.#evaluator = new Evaluator(expression);
  }

  noteOutput(port: number, bytes: Uint8Array): void {
    this.#evaluator.noteOutput(port, bytes);
  }

  /** At each exit, before it is answered. True: it holds, whatever comes. */
  atExit(): boolean {
    const holds = this.#evaluator.holds(this.#environment);
    this.#asked += 1;
    if (this.form === "once" && holds && this.#asked === 1) this.heldFromStart = true;
    if (this.form !== "end") this.#holds ||= holds;
    return this.#holds;
  }

  /** Whether it holds of the run, which has come to its end. */
  atEnd(): boolean {
    return this.#holds || this.#evaluator.holds(this.#environment);
  }
}
