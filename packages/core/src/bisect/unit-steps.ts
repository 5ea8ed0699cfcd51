/**
 * Where an expression has to be asked whose value may change with every unit: it reads registers, icount or time.
 *
 * Behind every unit, then, but not everywhere: what must hold beside it (an exit, console text, a count) changes at events
 * alone, and while it does not hold, the run may go on to the next event. So may it up to a least icount or time, and, where
 * the kernel half can stop at a pc, up to the one that must hold.
 */
import type { Evaluator, ExpressionEnvironment } from "../expression/evaluate.js";
import { changesAtEventsOnly, comparesMoments } from "../expression/parse-expression.js";
import type { BinaryOperator, Expression } from "../expression/syntax-tree.js";
import type { Goal } from "../machine/goal.js";
import type { Machine } from "../machine/machine.js";
import { GUEST_NANOSECONDS_PER_UNIT } from "../ports/architecture.js";
import { pcWanted } from "./pc-wanted.js";

export interface UnitStep {
  readonly goal: Goal;
  /**
   * "unit": one at most; "break": up to `breakPc`; "answer": to behind the answer of the pending exit; "far": where it can't
   * become true on the way.
   */
  readonly length: "unit" | "break" | "answer" | "far";
  /** Where the run must stop too; it begins elsewhere. */
  readonly breakPc?: bigint;
}

/** The least icount and guest time at which a conjunction can hold. */
interface Least {
  icount: number;
  time: number;
}

/** `a && b && c` */
function conjuncts(tree: Expression): readonly Expression[] {
  return tree.node === "binary" && tree.operator === "&&"
    ? [...conjuncts(tree.left), ...conjuncts(tree.right)]
    : [tree];
}

const MIRRORED: { readonly [Operator in BinaryOperator]?: BinaryOperator } = { "<": ">", "<=": ">=", "==": "==" };

/** `icount >= 5000`, or `5000 <= icount`. */
function noteLeast(tree: Expression, least: Least): void {
  if (tree.node !== "binary") return;
  const { left, right } = tree;
  const isMirrored = left.node === "number";
  const [counter, bound] = isMirrored ? [right, left] : [left, right];
  const operator = isMirrored ? MIRRORED[tree.operator] : tree.operator;
  if ((counter.node !== "icount" && counter.node !== "time") || bound.node !== "number") return;
  if (operator !== ">=" && operator !== ">" && operator !== "==") return;
  least[counter.node] = Math.max(least[counter.node], Number(bound.value) + (operator === ">" ? 1 : 0));
}

export class UnitSteps {
  readonly #evaluator: Evaluator;
  readonly #guards: readonly Expression[];
  readonly #least: Least = { icount: 0, time: 0 };
  /** The pc at which alone it can hold. */
  readonly #pcWanted: Expression | undefined;
  #pc: bigint | undefined;

  /** `pcName`: see `KernelHalf.pcName`. */
  constructor(evaluator: Evaluator, pcName?: string) {
    this.#evaluator = evaluator;
    const all = conjuncts(evaluator.parsed.tree);
    this.#guards = all.filter(changesAtEventsOnly);
    for (const each of all) noteLeast(each, this.#least);
    // What compares with its first moment would have a later one.
    if (!comparesMoments(evaluator.parsed.tree))
      this.#pcWanted = all.map((each) => pcWanted(each, pcName)).find((wanted) => wanted !== undefined);
  }

  /** How far the machine may go until the expression must be asked again; `seq` is of the next event. */
  next(seq: number, machine: Machine, environment: ExpressionEnvironment): UnitStep {
    const { exitPending, exitNumber, icount, guestTimeNs } = machine;
    if (exitPending) return { goal: { seq, exitNumber, unitsAfter: 0 }, length: "answer" };
    if (!this.#guards.every((guard) => this.#holds(guard, environment))) return { goal: { seq }, length: "far" };
    // One unit less, so that the one with which it becomes true is gone by itself and can be named.
    const before = { icount: this.#least.icount - 1, time: this.#least.time - GUEST_NANOSECONDS_PER_UNIT };
    if (icount < before.icount) return { goal: { seq, icount: before.icount }, length: "far" };
    if (guestTimeNs < before.time) return { goal: { seq, guestTimeNs: before.time }, length: "far" };
    const breakPc = this.#breakPc(machine, environment);
    if (breakPc !== undefined) return { goal: { seq }, length: "break", breakPc };
    return { goal: { seq, icount: icount + 1 }, length: "unit" };
  }

  /** Where to run to; undefined where single units must be gone: one of several vCPUs that runs next has a pc of its own. */
  #breakPc({ kernel, description }: Machine, environment: ExpressionEnvironment): bigint | undefined {
    if (this.#pcWanted === undefined || kernel.breakAt === undefined || description.vcpuCount > 1) return undefined;
    this.#pc ??= this.#evaluator.part(this.#pcWanted, environment);
    return this.#pc === environment.register("pc") ? undefined : this.#pc;
  }

  #holds(guard: Expression, environment: ExpressionEnvironment): boolean {
    const value = this.#evaluator.part(guard, environment);
    return value !== undefined && value !== 0n;
  }
}
