/** Reads an EXPR with C's precedences. */
import { ExpressionError, tokenize, type Token, type TokenKind } from "./lexer.js";
import {
  U64,
  type BinaryOperator,
  type ExitField,
  type Expression,
  type IntegerType,
  type MemoryRange,
} from "./syntax-tree.js";

const TYPES: ReadonlyMap<string, IntegerType> = new Map(
  ([8, 16, 32, 64] as const).flatMap((bits): [string, IntegerType][] => [
    [`u${bits}`, { bits, signed: false }],
    [`s${bits}`, { bits, signed: true }],
  ]),
);
/** As C has them on arm64, where char has no sign. */
const C_TYPES: ReadonlyMap<string, IntegerType> = new Map([
  ["char", { bits: 8, signed: false }],
  ["signed char", { bits: 8, signed: true }],
  ["unsigned char", { bits: 8, signed: false }],
  ["short", { bits: 16, signed: true }],
  ["unsigned short", { bits: 16, signed: false }],
  ["int", { bits: 32, signed: true }],
  ["unsigned", { bits: 32, signed: false }],
  ["unsigned int", { bits: 32, signed: false }],
  ["long", { bits: 64, signed: true }],
  ["unsigned long", { bits: 64, signed: false }],
  ["long long", { bits: 64, signed: true }],
  ["unsigned long long", { bits: 64, signed: false }],
]);

const EXIT_FIELDS: ReadonlySet<string> = new Set<ExitField>([
  "nr",
  "input",
  "reason",
  "kvm",
  "vcpu",
  "pc",
  "esr",
  "gpa",
  "number",
  "size",
  "write",
  "data",
  "rule",
]);

/** Loosest first. */
const LEVELS: readonly (readonly BinaryOperator[])[] = [
  ["||"],
  ["&&"],
  ["|"],
  ["^"],
  ["&"],
  ["==", "!="],
  ["<", "<=", ">", ">="],
  ["<<", ">>"],
  ["+", "-"],
  ["*", "/", "%"],
];
const UNARY = ["!", "~", "-", "+"] as const;
const NESTING_MAX = 200;

/** Memory that an expression reads. */
export interface MemoryLoad {
  readonly address: Expression;
  readonly bytes: number | Expression;
  readonly isPhysical: boolean;
}

export interface ParsedExpression {
  readonly source: string;
  readonly tree: Expression;
  /** How many nodes remember something from one evaluation to the next. */
  readonly stateCount: number;
  /** False: the journal alone answers it. */
  readonly needsState: boolean;
  /** Its value may change with every unit, not only with memory, exits and events. */
  readonly changesWithUnits: boolean;
  /** It counts exits, so it must be asked at every exit. */
  readonly countsExits: boolean;
  /** It asks what changed() says, which holds for a moment only: each moment at which it holds is another. */
  readonly isMomentary: boolean;
  /** What a bisection can watch. */
  readonly loads: readonly MemoryLoad[];
}

class Parser {
  readonly #source: string;
  readonly #tokens: readonly Token[];
  #at = 0;
  #nesting = 0;
  stateCount = 0;

  constructor(source: string) {
    this.#source = source;
    this.#tokens = tokenize(source);
  }

  #peek(ahead = 0): Token {
    return this.#tokens[this.#at + ahead] ?? { kind: "end", text: "the end", column: this.#source.length + 1 };
  }

  fail(token: Token, reason: string): never {
    throw new ExpressionError(this.#source, token.column, reason);
  }

  #take(): Token {
    const token = this.#peek();
    this.#at += 1;
    return token;
  }

  #accept(operator: string): boolean {
    const token = this.#peek();
    if (token.kind !== "operator" || token.text !== operator) return false;
    this.#at += 1;
    return true;
  }

  #expect(operator: string): void {
    const token = this.#peek();
    if (!this.#accept(operator)) this.fail(token, `'${operator}' expected, found ${this.#quote(token)}`);
  }

  #quote(token: Token): string {
    return token.kind === "end" ? token.text : `'${token.text}'`;
  }

  #kind(kind: TokenKind, what: string): Token {
    const token = this.#take();
    if (token.kind !== kind) this.fail(token, `${what} expected, found ${this.#quote(token)}`);
    return token;
  }

  parse(): Expression {
    const tree = this.#choice();
    const rest = this.#peek();
    if (rest.kind !== "end") this.fail(rest, `unexpected ${this.#quote(rest)}`);
    return tree;
  }

  #choice(): Expression {
    const { column } = this.#peek();
    const condition = this.#binary(0);
    if (!this.#accept("?")) return condition;
    const yes = this.#choice();
    this.#expect(":");
    return { node: "choice", column, condition, yes, no: this.#choice() };
  }

  #binary(level: number): Expression {
    const operators = LEVELS[level];
    if (operators === undefined) return this.#unary();
    let left = this.#binary(level + 1);
    for (;;) {
      const token = this.#peek();
      const operator = operators.find((each) => token.kind === "operator" && each === token.text);
      if (operator === undefined) return left;
      this.#take();
      const right = this.#binary(level + 1);
      left = { node: "binary", column: token.column, operator, ...nameExits(left, right) };
    }
  }

  #unary(): Expression {
    this.#nesting += 1;
    const token = this.#peek();
    if (this.#nesting > NESTING_MAX) this.fail(token, `nested deeper than ${NESTING_MAX}`);
    const operator = UNARY.find((each) => token.kind === "operator" && each === token.text);
    let result: Expression;
    if (operator !== undefined) {
      this.#take();
      result = { node: "unary", column: token.column, operator, operand: this.#unary() };
    } else if (this.#accept("*")) result = this.#load(token.column);
    else if (this.#accept("&")) {
      const { text } = this.#kind("name", "a symbol");
      result = { node: "symbol", column: token.column, name: text, isAddress: true };
    } else result = this.#cast() ?? this.#primary();
    this.#nesting -= 1;
    return result;
  }

  /** "(u32 *)": a type in parentheses, with or without a star. */
  #type(): { readonly type: IntegerType; readonly isPointer: boolean } | undefined {
    if (this.#peek().text !== "(") return undefined;
    const words: string[] = [];
    while (this.#peek(words.length + 1).kind === "name") words.push(this.#peek(words.length + 1).text);
    const name = words.join(" ");
    const type = TYPES.get(name) ?? C_TYPES.get(name);
    if (type === undefined) return undefined;
    this.#at += 1 + words.length;
    const isPointer = this.#accept("*");
    this.#expect(")");
    return { type, isPointer };
  }

  /** Behind a star: *(u32 *)ADDR, or *ADDR, which is 64 bits wide. */
  #load(column: number): Expression {
    const type = this.#type();
    if (type?.isPointer === false) this.fail(this.#peek(), "a pointer type is expected behind '*': *(u32 *)ADDR");
    return this.#loadOf(column, type?.type ?? U64, this.#unary(), false);
  }

  #loadOf(column: number, type: IntegerType, address: Expression, isPhysical: boolean): Expression {
    return { node: "load", column, type, address, isPhysical };
  }

  #cast(): Expression | undefined {
    const token = this.#peek();
    const type = this.#type();
    if (type === undefined) return undefined;
    if (type.isPointer) return this.#unary();
    return { node: "cast", column: token.column, type: type.type, operand: this.#unary() };
  }

  #primary(): Expression {
    const token = this.#take();
    const { column, text } = token;
    if (token.kind === "number") return this.#number(token);
    if (token.kind === "register") {
      return text === "$vcpu"
        ? { node: "vcpu", column }
        : { node: "register", column, name: text.slice(1).toLowerCase() };
    }
    if (token.kind === "operator" && text === "(") {
      const inner = this.#choice();
      this.#expect(")");
      return inner;
    }
    if (token.kind !== "name") this.fail(token, `a value expected, found ${this.#quote(token)}`);
    return this.#named(token);
  }

  #number(token: Token): Expression {
    const value = BigInt(token.text);
    if (value >= 1n << 64n) this.fail(token, `${token.text} does not fit into 64 bits`);
    return { node: "number", column: token.column, value };
  }

  #named(token: Token): Expression {
    const { column, text } = token;
    if (text === "icount" || text === "time") {
      return { node: text, column };
    }
    if (text === "exit") return this.#exit(column);
    if (text === "console") return this.#console(column);
    if (text === "config") return this.#config(column);
    if (this.#peek().text === "(") return this.#call(token);
    if (text.startsWith("KVM_EXIT_")) return { node: "exit name", column, space: "kvm", name: text };
    return { node: "symbol", column, name: text, isAddress: false };
  }

  #exit(column: number): Expression {
    this.#expect(".");
    const field = this.#kind("name", "a field of the exit");
    if (field.text === "args") {
      this.#expect("[");
      const index = this.#choice();
      this.#expect("]");
      return { node: "exit argument", column, index };
    }
    if (!EXIT_FIELDS.has(field.text))
      this.fail(field, `an exit has no '${field.text}'; it has ${[...EXIT_FIELDS].join(", ")}, args[0..2]`);
    return { node: "exit", column, field: field.text as ExitField };
  }

  #console(column: number): Expression {
    this.#expect("=~");
    const token = this.#kind("regexp", "a regular expression");
    const [, source, flags] = /^\/(.*)\/([a-z]*)$/s.exec(token.text) ?? [];
    try {
      return { node: "console", column, expression: new RegExp(source ?? "", flags), state: this.stateCount++ };
    } catch (error) {
      return this.fail(token, error instanceof Error ? error.message : String(error));
    }
  }

  #config(column: number): Expression {
    this.#expect(".");
    const what = this.#kind("name", "cap, smccc or reg");
    if (what.text !== "cap" && what.text !== "smccc" && what.text !== "reg")
      this.fail(what, `config has cap(NAME), smccc(FUNCTION) and reg(NAME), no '${what.text}'`);
    this.#expect("(");
    const name = what.text === "smccc" ? this.#choice() : this.#kind("name", "a name").text;
    this.#expect(")");
    return { node: "config", column, what: what.text, name };
  }

  #call(token: Token): Expression {
    const { column, text } = token;
    this.#expect("(");
    switch (text) {
      case "phys":
        return this.#physical(column);
      case "hash":
      case "changed": {
        const range = this.#range();
        return text === "hash"
          ? { node: "hash", column, range }
          : { node: "changed", column, range, state: this.stateCount++ };
      }
      case "count": {
        const operand = this.#choice();
        this.#expect(")");
        return { node: "count", column, operand, state: this.stateCount++ };
      }
      case "phys_page":
        return this.fail(token, "phys_page(ADDR) stands only as the first argument of hash() and changed()");
      default:
        return this.fail(token, `there is no function '${text}'; there are phys, hash, changed, count`);
    }
  }

  /** phys(u64, ADDR) */
  #physical(column: number): Expression {
    const name = this.#kind("name", "a type");
    const type = TYPES.get(name.text);
    if (type === undefined) this.fail(name, `'${name.text}' is no type; types are ${[...TYPES.keys()].join(", ")}`);
    this.#expect(",");
    const address = this.#choice();
    this.#expect(")");
    return this.#loadOf(column, type, address, true);
  }

  /** ADDR, LENGTH) or phys_page(ADDR), LENGTH) */
  #range(): MemoryRange {
    const isPhysical = this.#peek().text === "phys_page";
    if (isPhysical) {
      this.#take();
      this.#expect("(");
    }
    const address = this.#choice();
    if (isPhysical) this.#expect(")");
    this.#expect(",");
    const length = this.#choice();
    this.#expect(")");
    return { address, isPhysical, length };
  }
}

/** KVM_SMCCC_FILTER_* of include/uapi/asm/kvm.h. */
const FILTER_ACTIONS: ReadonlyMap<string, bigint> = new Map([
  ["handle", 0n],
  ["deny", 1n],
  ["forward", 2n],
]);

/** `exit.reason == HVC64`, `config.smccc(0xc4000003) == forward`: what looks like a symbol is the name of an exit or an action. */
function nameExits(left: Expression, right: Expression): { readonly left: Expression; readonly right: Expression } {
  const named = (of: Expression, other: Expression): Expression => {
    if (of.node !== "symbol" || of.isAddress) return of;
    const action = other.node === "config" && other.what === "smccc" ? FILTER_ACTIONS.get(of.name) : undefined;
    if (action !== undefined) return { node: "number", column: of.column, value: action };
    if (other.node !== "exit") return of;
    if (other.field !== "reason" && other.field !== "kvm") return of;
    return { node: "exit name", column: of.column, space: other.field, name: of.name };
  };
  return { left: named(left, right), right: named(right, left) };
}

/** Trees right below a tree. */
export function subexpressions(tree: Expression): readonly Expression[] {
  switch (tree.node) {
    case "load":
      return [tree.address];
    case "cast":
    case "unary":
    case "count":
      return [tree.operand];
    case "binary":
      return [tree.left, tree.right];
    case "choice":
      return [tree.condition, tree.yes, tree.no];
    case "hash":
    case "changed":
      return [tree.range.address, tree.range.length];
    case "exit argument":
      return [tree.index];
    case "config":
      return typeof tree.name === "string" ? [] : [tree.name];
    default:
      return [];
  }
}

function collect(tree: Expression, loads: MemoryLoad[], nodes: Set<Expression["node"]>): void {
  nodes.add(tree.node);
  const { column } = tree;
  if (tree.node === "load") loads.push({ ...tree, bytes: tree.type.bits / 8 });
  if (tree.node === "hash" || tree.node === "changed") loads.push({ ...tree.range, bytes: tree.range.length });
  if (tree.node === "symbol" && !tree.isAddress)
    loads.push({ address: { node: "symbol", column, name: tree.name, isAddress: true }, bytes: 8, isPhysical: false });
  for (const child of subexpressions(tree)) collect(child, loads, nodes);
}

const UNIT_NODES: readonly Expression["node"][] = ["register", "vcpu", "icount", "time"];
const MEMORY_NODES: readonly Expression["node"][] = ["load", "hash", "changed"];

/** What is counted is looked at when an exit occurs. */
function anyNode(tree: Expression, isMeant: (tree: Expression) => boolean): boolean {
  if (tree.node === "count") return false;
  return isMeant(tree) || subexpressions(tree).some((child) => anyNode(child, isMeant));
}

function changesWithUnits(tree: Expression): boolean {
  return anyNode(tree, ({ node }) => UNIT_NODES.includes(node));
}

/** Its value stays from one event to the next: no instruction of the guest changes it. */
export function changesAtEventsOnly(tree: Expression): boolean {
  return !anyNode(
    tree,
    (part) => UNIT_NODES.includes(part.node) || MEMORY_NODES.includes(part.node) || isVariable(part),
  );
}

const CONSTANT_NODES: readonly Expression["node"][] = ["number", "unary", "binary", "cast", "choice"];

/** Its value is the same at every moment. */
export function isConstant(tree: Expression): boolean {
  const isItself = tree.node === "symbol" ? tree.isAddress : CONSTANT_NODES.includes(tree.node);
  return isItself && subexpressions(tree).every(isConstant);
}

/** It compares with the moment before, so none may be passed over. */
export function comparesMoments(tree: Expression): boolean {
  return tree.node === "changed" || subexpressions(tree).some(comparesMoments);
}

/** Where a symbol lies stays; what lies there changes. */
function isVariable(tree: Expression): boolean {
  return tree.node === "symbol" && !tree.isAddress;
}

const STATE_NODES: readonly Expression["node"][] = ["register", "load", "hash", "changed", "config", "time"];

/** Throws ExpressionError with the column. */
export function parseExpression(source: string): ParsedExpression {
  const parser = new Parser(source);
  const tree = parser.parse();
  return described(source, tree, parser.stateCount);
}

function described(source: string, tree: Expression, stateCount: number): ParsedExpression {
  const loads: MemoryLoad[] = [];
  const nodes = new Set<Expression["node"]>();
  collect(tree, loads, nodes);
  return {
    source,
    tree,
    stateCount,
    needsState: loads.length > 0 || STATE_NODES.some((node) => nodes.has(node)),
    changesWithUnits: changesWithUnits(tree),
    countsExits: nodes.has("count"),
    isMomentary: anyNode(tree, ({ node }) => node === "changed"),
    loads,
  };
}

/** `a || b || c`: each of them, from the left; what is no disjunction is one. */
export function alternatives(expression: ParsedExpression): readonly ParsedExpression[] {
  const { source, stateCount } = expression;
  const disjuncts = (tree: Expression): readonly Expression[] =>
    tree.node === "binary" && tree.operator === "||" ? [...disjuncts(tree.left), ...disjuncts(tree.right)] : [tree];
  const trees = disjuncts(expression.tree);
  return trees.length === 1 ? [expression] : trees.map((tree) => described(source, tree, stateCount));
}
