/** What a shell does to an EXPR that nobody quoted. */

const COMPARISON = "(?:[=!]=|=~|[<>]=?|[-+*/%&|^])";
/** It begins or ends with an operator, or has two of them side by side: between them stood a $NAME once. */
const LACKS_OPERAND = new RegExp(
  String.raw`^\s*$|^\s*(?:[=!]=|=~|[<>]=?|&&|\|\|)|${COMPARISON}\s*$|\*\)\s*$|(?:&&|\|\||\()\s*(?:[=!]=|=~|[<>]=?)`,
);

/** An addition to the message about such an EXPR; "" when the shell is not to blame. */
export function shellHint(source: string): string {
  if (!LACKS_OPERAND.test(source)) return "";
  return "; a shell takes $NAME and & out of it unless it stands between single quotes: '$pc == 0x40080000'";
}
