/**
 * Evaluates an EXPR at one moment after the other. A value that can't be known there (memory that is not mapped, an
 * exit's field where there is no exit) is unknown, and so is what is computed from it; a predicate holds only where it is known
 * and not zero.
 */
import { ConsoleMatcher } from "../console-matcher.js";
import { ExitWord, frameU64, type ExitFrame } from "../event/exit-frame.js";
import type { Digester } from "../ports/digester.js";
import type { GuestSymbol } from "../ports/symbols.js";
import { sameBytes } from "../memory/page-hash.js";
import { nearestWord } from "../nearest-word.js";
import { CONSOLE_PORT } from "../record/input-script.js";
import { ExpressionError } from "./lexer.js";
import { LastPlaces } from "./last-places.js";
import { subexpressions, type ParsedExpression } from "./parse-expression.js";
import type { BinaryOperator, ExitField, Expression, IntegerType, MemoryRange } from "./syntax-tree.js";

/** What an expression can ask of a moment. */
export interface ExpressionEnvironment {
  readonly vcpu: number;
  readonly icount: number;
  readonly guestTimeNs: number;
  readonly exitNumber: number;
  /** The exit that has just occurred. */
  readonly exit: ExitFrame | undefined;
  /** What `exit.nr` is of an exit. Absent: its first argument. */
  callNumber?(frame: ExitFrame): bigint;
  readonly digester: Digester;
  /** undefined: there is no such register. */
  register(name: string): bigint | undefined;
  /** undefined: neither mapped nor in one of the last places, or outside RAM. */
  read(address: bigint, bytes: number, isPhysical: boolean, places?: LastPlaces): Uint8Array | undefined;
  /** Those that there are. */
  registerNames?(): ReadonlySet<string>;
  symbol(name: string): GuestSymbol | undefined;
  /** What to do about a symbol that does not exist. */
  symbolAdvice?(name: string): string | undefined;
  /** A row of the exit model or KVM_EXIT_* by name. */
  exitName(space: "reason" | "kvm", name: string): bigint | undefined;
  /** undefined: there is no such item. */
  config(what: "cap" | "smccc" | "reg", name: string | bigint): bigint | undefined;
}

const MASK = 0xffff_ffff_ffff_ffffn;
const BYTES_MAX = 16 * 1024 * 1024;
/** As `kvm_run.hypercall.args`: the function itself is `exit.nr`. */
const EXIT_ARGUMENTS = [ExitWord.arg1Low, ExitWord.arg2Low, ExitWord.arg3Low] as const;
const INFO_WRITE = 0x100;

function integer(value: bigint, { bits, signed }: IntegerType): bigint {
  return (signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)) & MASK;
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let index = bytes.length - 1; index >= 0; index--) value = (value << 8n) | BigInt(bytes[index] ?? 0);
  return value;
}

const truth = (value: boolean): bigint => (value ? 1n : 0n);

const ARITHMETIC: {
  readonly [Operator in Exclude<BinaryOperator, "&&" | "||" | "/" | "%">]: (a: bigint, b: bigint) => bigint;
} = {
  "|": (a, b) => a | b,
  "^": (a, b) => a ^ b,
  "&": (a, b) => a & b,
  "==": (a, b) => truth(a === b),
  "!=": (a, b) => truth(a !== b),
  "<": (a, b) => truth(a < b),
  "<=": (a, b) => truth(a <= b),
  ">": (a, b) => truth(a > b),
  ">=": (a, b) => truth(a >= b),
  "<<": (a, b) => (b > 63n ? 0n : (a << b) & MASK),
  ">>": (a, b) => (b > 63n ? 0n : a >> b),
  "+": (a, b) => (a + b) & MASK,
  "-": (a, b) => (a - b) & MASK,
  "*": (a, b) => (a * b) & MASK,
};

function exitField(field: Exclude<ExitField, "number" | "nr">, frame: ExitFrame): bigint {
  const info = frame[ExitWord.info] ?? 0;
  switch (field) {
    case "input":
    case "gpa":
      return frameU64(frame, ExitWord.arg0Low);
    case "reason":
      return BigInt(frame[ExitWord.reason] ?? 0);
    case "kvm":
      return BigInt(frame[ExitWord.kvmExit] ?? 0);
    case "vcpu":
      return BigInt(frame[ExitWord.vcpu] ?? 0);
    case "pc":
      return frameU64(frame, ExitWord.pcLow);
    case "esr":
      return frameU64(frame, ExitWord.syndromeLow);
    case "size":
      return BigInt(info & (INFO_WRITE - 1));
    case "write":
      return truth((info & INFO_WRITE) !== 0);
    case "data":
      return frameU64(frame, ExitWord.arg1Low);
    case "rule":
      return BigInt(frame[ExitWord.rule] ?? 0);
  }
}

/** A node's memory of earlier moments. */
interface NodeState {
  matcher?: ConsoleMatcher;
  matched?: boolean;
  before?: Uint8Array;
  /** What `before` was at the moment before. */
  earlier?: Uint8Array;
  count?: bigint;
  /** The exit that was looked at last: each counts once, however often it is asked about. */
  countedExit?: number;
}

/** What changed() has seen change. */
export interface SeenChange {
  readonly address: bigint;
  readonly bytes: number;
  readonly before: bigint;
  readonly after: bigint;
}

const WORD_BYTES = 8;

/** The first eight bytes, or fewer, that hold a difference. */
function seenChange(start: bigint, before: Uint8Array, after: Uint8Array): SeenChange {
  const different = after.findIndex((byte, index) => byte !== before[index]);
  const from = different - (different % WORD_BYTES);
  const [was, is] = [before, after].map((each) => each.subarray(from, from + WORD_BYTES));
  return {
    address: (start + BigInt(from)) & MASK,
    bytes: is?.length ?? 0,
    before: littleEndian(was ?? before),
    after: littleEndian(is ?? after),
  };
}

export class Evaluator {
  readonly parsed: ParsedExpression;
  /** Where addresses that it reads were last seen mapped. */
  places = new LastPlaces();
  /** What the first changed() that was true at this moment has seen. */
  change: SeenChange | undefined;
  #states: NodeState[];

  constructor(parsed: ParsedExpression) {
    this.parsed = parsed;
    this.#states = Array.from({ length: parsed.stateCount }, () => ({}));
    this.#prepare(parsed.tree);
  }

  /** Forgets earlier moments: `changed` compares with the next one, `count` and `console` start anew. */
  reset(): void {
    this.places = new LastPlaces();
    this.#states = Array.from({ length: this.parsed.stateCount }, () => ({}));
    this.#prepare(this.parsed.tree);
  }

  /** Memory is as it was at the moment before the last evaluation: for who asks again from there on. */
  takeBack(): void {
    this.places.takeBack();
    for (const state of this.#states) if (state.earlier !== undefined) state.before = state.earlier;
  }

  #prepare(tree: Expression): void {
    if (tree.node === "console") this.#state(tree.state).matcher = new ConsoleMatcher(tree.expression);
    for (const child of subexpressions(tree)) this.#prepare(child);
  }

  #state(index: number): NodeState {
    const state = this.#states[index];
    if (state === undefined) throw new RangeError(`no state ${index}`);
    return state;
  }

  /** What the guest writes to the console belongs to the moments that follow. */
  noteOutput(port: number, bytes: Uint8Array): void {
    if (port !== CONSOLE_PORT) return;
    for (const state of this.#states)
      if (state.matcher !== undefined && state.matched !== true && state.matcher.pushAll(bytes) > 0)
        state.matched = true;
  }

  /** The value at this moment; undefined: unknown. Throws ExpressionError for names that don't exist. */
  evaluate(environment: ExpressionEnvironment): bigint | undefined {
    this.places.begin();
    this.change = undefined;
    return this.#value(this.parsed.tree, environment);
  }

  holds(environment: ExpressionEnvironment): boolean {
    const value = this.evaluate(environment);
    return value !== undefined && value !== 0n;
  }

  /** The present value of a part of the tree: an address that is to be watched. */
  part(tree: Expression, environment: ExpressionEnvironment): bigint | undefined {
    return this.#value(tree, environment);
  }

  #fail(tree: Expression, reason: string): never {
    throw new ExpressionError(this.parsed.source, tree.column, reason);
  }

  #value(tree: Expression, environment: ExpressionEnvironment): bigint | undefined {
    switch (tree.node) {
      case "number":
        return tree.value;
      case "register":
        return environment.register(tree.name) ?? this.#noRegister(tree, tree.name, environment);
      case "vcpu":
        return BigInt(environment.vcpu);
      case "icount":
        return BigInt(environment.icount);
      case "time":
        return BigInt(environment.guestTimeNs);
      case "symbol":
        return this.#symbol(tree, environment);
      case "exit":
      case "exit argument":
      case "exit name":
        return this.#exit(tree, environment);
      case "load": {
        const address = this.#value(tree.address, environment);
        if (address === undefined) return undefined;
        const bytes = environment.read(address, tree.type.bits / 8, tree.isPhysical, this.places);
        return bytes && integer(littleEndian(bytes), tree.type);
      }
      case "cast": {
        const value = this.#value(tree.operand, environment);
        return value === undefined ? undefined : integer(value, tree.type);
      }
      case "unary":
        return this.#unary(tree, environment);
      case "binary":
        return this.#binary(tree, environment);
      case "choice": {
        const condition = this.#value(tree.condition, environment);
        if (condition === undefined) return undefined;
        return this.#value(condition !== 0n ? tree.yes : tree.no, environment);
      }
      default:
        return this.#remembered(tree, environment);
    }
  }

  #noRegister(tree: Expression, name: string, environment: ExpressionEnvironment): never {
    const near = nearestWord(name, [...(environment.registerNames?.() ?? [])]);
    return this.#fail(tree, `there is no register $${name}${near === undefined ? "" : `; did you mean $${near}?`}`);
  }

  #symbol(tree: Expression & { node: "symbol" }, environment: ExpressionEnvironment): bigint | undefined {
    const symbol = environment.symbol(tree.name);
    if (symbol === undefined)
      return this.#fail(
        tree,
        `there is no symbol ${tree.name}; ${environment.symbolAdvice?.(tree.name) ?? "give --symbols vmlinux or System.map"}`,
      );
    if (tree.isAddress) return symbol.address;
    const bytes = symbol.bytes === 1 || symbol.bytes === 2 || symbol.bytes === 4 ? symbol.bytes : 8;
    const content = environment.read(symbol.address, bytes, false, this.places);
    return content && littleEndian(content);
  }

  #exit(tree: Expression, environment: ExpressionEnvironment): bigint | undefined {
    if (tree.node === "exit name")
      return environment.exitName(tree.space, tree.name) ?? this.#fail(tree, `there is no exit ${tree.name}`);
    const frame = environment.exit;
    if (frame === undefined) return undefined;
    if (tree.node === "exit") {
      if (tree.field === "number") return BigInt(environment.exitNumber);
      if (tree.field === "nr") return environment.callNumber?.(frame) ?? exitField("input", frame);
      return exitField(tree.field, frame);
    }
    if (tree.node !== "exit argument") return undefined;
    const index = this.#value(tree.index, environment);
    if (index === undefined) return undefined;
    const word = EXIT_ARGUMENTS[Number(index)];
    return word === undefined
      ? this.#fail(tree, `exit.args[${index}]: an exit has args[0] to args[2]`)
      : frameU64(frame, word);
  }

  #unary(tree: Expression & { node: "unary" }, environment: ExpressionEnvironment): bigint | undefined {
    const value = this.#value(tree.operand, environment);
    if (value === undefined || tree.operator === "+") return value;
    if (tree.operator === "!") return truth(value === 0n);
    return (tree.operator === "~" ? ~value : -value) & MASK;
  }

  #binary(tree: Expression & { node: "binary" }, environment: ExpressionEnvironment): bigint | undefined {
    const { operator } = tree;
    const left = this.#value(tree.left, environment);
    if (operator === "&&" || operator === "||") {
      const decides = operator === "||";
      // Both sides are evaluated: what they remember of this moment must not depend on the other side.
      const right = this.#value(tree.right, environment);
      if ((left !== undefined && (left !== 0n) === decides) || (right !== undefined && (right !== 0n) === decides))
        return truth(decides);
      return left === undefined || right === undefined ? undefined : truth(!decides);
    }
    const right = this.#value(tree.right, environment);
    if (left === undefined || right === undefined) return undefined;
    if (operator !== "/" && operator !== "%") return ARITHMETIC[operator](left, right);
    if (right === 0n) return undefined;
    return operator === "/" ? left / right : left % right;
  }

  #bytes(
    range: MemoryRange,
    environment: ExpressionEnvironment,
  ): { readonly address: bigint; readonly bytes: Uint8Array } | undefined {
    const address = this.#value(range.address, environment);
    const length = this.#value(range.length, environment);
    if (address === undefined || length === undefined) return undefined;
    if (length > BigInt(BYTES_MAX)) return this.#fail(range.length, `${length} bytes are more than ${BYTES_MAX}`);
    const bytes = environment.read(address, Number(length), range.isPhysical, this.places);
    return bytes && { address, bytes };
  }

  /** Whether it differs from what it was at the moment before. */
  #changed(tree: Expression & { node: "changed" }, environment: ExpressionEnvironment): bigint | undefined {
    const content = this.#bytes(tree.range, environment);
    if (content === undefined) return undefined;
    const { address, bytes } = content;
    const state = this.#state(tree.state);
    const before = state.before ?? bytes;
    state.earlier = before;
    state.before = bytes;
    if (sameBytes(before, bytes)) return 0n;
    this.change ??= seenChange(address, before, bytes);
    return 1n;
  }

  #count(tree: Expression & { node: "count" }, environment: ExpressionEnvironment): bigint {
    const state = this.#state(tree.state);
    const { exit, exitNumber } = environment;
    if (exit !== undefined && exitNumber !== state.countedExit) {
      const value = this.#value(tree.operand, environment);
      state.count = (state.count ?? 0n) + truth(value !== undefined && value !== 0n);
      state.countedExit = exitNumber;
    }
    return state.count ?? 0n;
  }

  #remembered(tree: Expression, environment: ExpressionEnvironment): bigint | undefined {
    switch (tree.node) {
      case "hash": {
        const content = this.#bytes(tree.range, environment);
        return content && littleEndian(environment.digester.sha256(content.bytes).slice(0, 8).reverse());
      }
      case "changed":
        return this.#changed(tree, environment);
      case "console":
        return truth(this.#state(tree.state).matched === true);
      case "count":
        return this.#count(tree, environment);
      case "config": {
        const name = typeof tree.name === "string" ? tree.name : this.#value(tree.name, environment);
        if (name === undefined) return undefined;
        return (
          environment.config(tree.what, name) ?? this.#fail(tree, `config.${tree.what}(${name}): there is no such item`)
        );
      }
      default:
        throw new RangeError(`no value for ${tree.node}`);
    }
  }
}
