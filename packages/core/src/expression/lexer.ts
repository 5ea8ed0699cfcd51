/** Words of an EXPR. */

export type TokenKind = "number" | "register" | "name" | "regexp" | "operator" | "end";

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  /** From 1. */
  readonly column: number;
}

/** An expression that can't be read, or that makes no sense. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
  readonly source: string;
  /** From 1. */
  readonly column: number;
  constructor(source: string, column: number, reason: string) {
    super(`can't read the expression '${source}': column ${column}: ${reason}`);
    this.source = source;
    this.column = column;
  }
}

const SPACE = /\s+/y;
/** "5.3s" */
const DURATION = /(\d+(?:\.\d+)?)(s|ms|us|ns)(?![A-Za-z0-9_])/y;
const NANOSECONDS: ReadonlyMap<string, number> = new Map([
  ["s", 1e9],
  ["ms", 1e6],
  ["us", 1e3],
  ["ns", 1],
]);
const NUMBER = /0[xX][0-9a-fA-F]+|0[bB][01]+|\d+/y;
const REGISTER = /\$[A-Za-z][A-Za-z0-9_]*/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const REGEXP = /\/((?:[^/\\]|\\.)+)\/([imsu]*)/y;
const OPERATORS = [
  "=~",
  "<<",
  ">>",
  "<=",
  ">=",
  "==",
  "!=",
  "&&",
  "||",
  "+",
  "-",
  "*",
  "/",
  "%",
  "<",
  ">",
  "&",
  "|",
  "^",
  "!",
  "~",
  "(",
  ")",
  "[",
  "]",
  ",",
  ".",
  "?",
  ":",
];

function matchAt(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

function operatorAt(source: string, at: number): string | undefined {
  return OPERATORS.find((operator) => source.startsWith(operator, at));
}

function nanosecondsText(duration: string): string {
  const unit = duration.replace(/^[\d.]+/, "");
  return String(BigInt(Math.round(parseFloat(duration) * (NANOSECONDS.get(unit) ?? 1))));
}

/** A slash starts a regular expression only behind =~; elsewhere it divides. Throws ExpressionError. */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const take = (kind: TokenKind, text: string | undefined): boolean => {
    if (text === undefined) return false;
    tokens.push({ kind, text, column: at + 1 });
    at += text.length;
    return true;
  };
  for (;;) {
    at += matchAt(SPACE, source, at)?.length ?? 0;
    if (at >= source.length) break;
    if (tokens.at(-1)?.text === "=~") {
      if (take("regexp", matchAt(REGEXP, source, at))) continue;
      throw new ExpressionError(source, at + 1, "a regular expression between slashes is expected behind =~");
    }
    const duration = matchAt(DURATION, source, at);
    if (duration !== undefined) {
      tokens.push({ kind: "number", text: nanosecondsText(duration), column: at + 1 });
      at += duration.length;
      continue;
    }
    const number = matchAt(NUMBER, source, at);
    if (number !== undefined && matchAt(NAME, source, at + number.length) !== undefined)
      throw new ExpressionError(
        source,
        at + 1,
        `'${number}${matchAt(NAME, source, at + number.length) ?? ""}' is no number`,
      );
    if (take("number", number) || take("register", matchAt(REGISTER, source, at))) continue;
    if (take("name", matchAt(NAME, source, at)) || take("operator", operatorAt(source, at))) continue;
    throw new ExpressionError(source, at + 1, `unexpected '${source.charAt(at)}'`);
  }
  tokens.push({ kind: "end", text: "the end", column: source.length + 1 });
  return tokens;
}
