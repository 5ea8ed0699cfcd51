/** At which instructions an expression asks for a pc. */
import { isConstant, subexpressions } from "../expression/parse-expression.js";
import type { Expression } from "../expression/syntax-tree.js";

/** `$pc == 0x1000`, or `&panic == $pc`: gives the value. `pcName`: see `KernelHalf.pcName`. */
export function pcWanted(tree: Expression, pcName = "pc"): Expression | undefined {
  if (tree.node !== "binary" || tree.operator !== "==") return undefined;
  const { left, right } = tree;
  const isPc = (side: Expression): boolean => side.node === "register" && ["pc", pcName].includes(side.name);
  if (isPc(left) && isConstant(right)) return right;
  return isPc(right) && isConstant(left) ? left : undefined;
}

/** Names of the symbols that a pc is compared with, wherever in the expression. */
export function symbolsAsPc(tree: Expression, pcName?: string): string[] {
  const wanted = pcWanted(tree, pcName);
  if (wanted?.node === "symbol") return [wanted.name];
  return subexpressions(tree).flatMap((each) => symbolsAsPc(each, pcName));
}
