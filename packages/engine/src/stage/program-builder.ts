/** The `Stage` that writes a definition down as a `Program`, and holds it to the stage's rules. */
import type { Instruction } from "./instruction.js";
import type { AccessItem, Block, EffectItem, Program, ValueNode, ValueOp, VariableNode } from "./program.js";
import type {
  AccessHandle,
  AccessMode,
  AccessOptions,
  BinaryOp,
  CompareOp,
  FloatBinaryOp,
  FloatCompareOp,
  FloatUnaryOp,
  HostFunction,
  LaneShape,
  Routine,
  Stage,
  StateField,
  UnaryOp,
  Value,
  Variable,
  VectorOp,
  Width,
} from "./stage.js";

/** A definition broke a rule of the stage: a bug of the definition, found while code is generated. */
export class StageRuleError extends Error {
  override readonly name = "StageRuleError";
  constructor(definition: string, rule: string) {
    super(`${definition}: ${rule}`);
  }
}

type OperandKind = "u16" | "i32" | "i64";

export function operandKind(source: object): OperandKind {
  return "u16" in source ? "u16" : "i32" in source ? "i32" : "i64";
}

/** The program of one variant of an instruction. */
export function programOf(instruction: Instruction, form: Readonly<Record<string, number>>): Program {
  const kinds = new Map(
    Object.entries(instruction.operands).map(([name, source]) => [name, operandKind(source)] as const),
  );
  const builder = new ProgramBuilder(instruction.mnemonic, "instruction", kinds);
  const operands: Record<string, Value<32> & Value<64>> = {};
  for (const [name, kind] of kinds) operands[name] = builder.operand(name, kind === "i64" ? 64 : 32);
  instruction.execute(form, operands as never, builder);
  return builder.finish();
}

/** The program of a routine. */
export function programOfRoutine(routine: Routine): Program {
  const builder = new ProgramBuilder(routine.name, routine.probing === true ? "probing routine" : "routine", new Map());
  routine.body(
    builder,
    routine.parameters.map((width, index) => builder.parameter(width, index)),
  );
  return builder.finish();
}

type Kind = "instruction" | "routine" | "probing routine";

class ProgramBuilder implements Stage {
  readonly #name: string;
  readonly #kind: Kind;
  readonly #operandKinds: ReadonlyMap<string, OperandKind>;
  readonly #root: Block = { parent: undefined, items: [] };
  readonly #variables: VariableNode[] = [];
  #block: Block = this.#root;
  #epoch = 0;
  #committed = false;
  #ended = false;
  #accessCount = 0;
  #writesMemory = false;

  constructor(name: string, kind: Kind, operandKinds: ReadonlyMap<string, OperandKind>) {
    this.#name = name;
    this.#kind = kind;
    this.#operandKinds = operandKinds;
  }

  finish(): Program {
    return {
      name: this.#name,
      root: this.#root,
      operandKinds: this.#operandKinds,
      writesMemory: this.#writesMemory,
      accessCount: this.#accessCount,
      alwaysEnds: this.#ended,
      variables: this.#variables,
    };
  }

  operand(name: string, width: 32 | 64): Value<32> & Value<64> {
    return this.#value({ kind: "operand", name }, width, []) as unknown as Value<32> & Value<64>;
  }

  parameter(width: 32 | 64, index: number): Value<32 | 64> {
    return this.#value({ kind: "parameter", index }, width, []) as unknown as Value<32 | 64>;
  }

  // Constants

  constant32(value: number): Value<32> {
    return cast(this.#value({ kind: "constant32", value: value | 0 }, 32, []));
  }

  constant64(value: bigint | number): Value<64> {
    return cast(this.#value({ kind: "constant64", value: BigInt.asIntN(64, BigInt(value)) }, 64, []));
  }

  constant128(low: bigint, high: bigint): Value<128> {
    return cast(this.#value({ kind: "constant128", low, high }, 128, []));
  }

  // Integers

  binary<W extends 32 | 64>(op: BinaryOp, left: Value<W>, right: Value<W>): Value<W> {
    return this.#wasm(`${prefix(left)}.${op}`, widthOf(left), left, right) as Value<W>;
  }

  compare(op: CompareOp, left: Value<32> | Value<64>, right: Value<32> | Value<64>): Value<32> {
    return this.#wasm(`${prefix(left)}.${op}`, 32, left, right) as Value<32>;
  }

  unary<W extends 32 | 64>(op: UnaryOp, value: Value<W>): Value<W> {
    return this.#wasm(`${prefix(value)}.${op}`, widthOf(value), value) as Value<W>;
  }

  add<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W> {
    return this.binary("add", left, right);
  }

  sub<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W> {
    return this.binary("sub", left, right);
  }

  and<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W> {
    return this.binary("and", left, right);
  }

  or<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W> {
    return this.binary("or", left, right);
  }

  xor<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W> {
    return this.binary("xor", left, right);
  }

  not<W extends 32 | 64>(value: Value<W>): Value<W> {
    return this.xor(value, this.#constant(value, -1));
  }

  shiftLeft<W extends 32 | 64>(value: Value<W>, bits: number): Value<W> {
    return bits === 0 ? value : this.binary("shl", value, this.#constant(value, bits));
  }

  shiftRight<W extends 32 | 64>(value: Value<W>, bits: number): Value<W> {
    return bits === 0 ? value : this.binary("shr_u", value, this.#constant(value, bits));
  }

  shiftRightSigned<W extends 32 | 64>(value: Value<W>, bits: number): Value<W> {
    return bits === 0 ? value : this.binary("shr_s", value, this.#constant(value, bits));
  }

  isZero(value: Value<32> | Value<64>): Value<32> {
    return this.#wasm(`${prefix(value)}.eqz`, 32, value) as Value<32>;
  }

  select<W extends Width>(condition: Value<32>, whenTrue: Value<W>, whenFalse: Value<W>): Value<W> {
    return cast(
      this.#value({ kind: "select" }, node(whenTrue).width, [node(whenTrue), node(whenFalse), node(condition)]),
    );
  }

  zeroExtend64(value: Value<32>): Value<64> {
    return this.#wasm("i64.extend_i32_u", 64, value) as Value<64>;
  }

  signExtend64(value: Value<32>): Value<64> {
    return this.#wasm("i64.extend_i32_s", 64, value) as Value<64>;
  }

  truncate32(value: Value<64>): Value<32> {
    return this.#wasm("i32.wrap_i64", 32, value) as Value<32>;
  }

  signExtendFrom<W extends 32 | 64>(bits: 8 | 16 | 32, value: Value<W>): Value<W> {
    if (bits === widthOf(value)) return value;
    return this.#wasm(`${prefix(value)}.extend${bits}_s`, widthOf(value), value) as Value<W>;
  }

  zeroExtendFrom<W extends 32 | 64>(bits: number, value: Value<W>): Value<W> {
    if (bits === widthOf(value)) return value;
    const mask = (1n << BigInt(bits)) - 1n;
    return this.and(value, this.#constant(value, widthOf(value) === 64 ? mask : Number(BigInt.asIntN(32, mask))));
  }

  extractBits<W extends 32 | 64>(value: Value<W>, low: number, length: number): Value<W> {
    const shifted = this.shiftRight(value, low);
    return low + length === widthOf(value) ? shifted : this.zeroExtendFrom(length, shifted);
  }

  multiplyHighUnsigned(left: Value<64>, right: Value<64>): Value<64> {
    return cast(this.#value({ kind: "multiplyHigh", signed: false }, 64, [node(left), node(right)]));
  }

  multiplyHighSigned(left: Value<64>, right: Value<64>): Value<64> {
    return cast(this.#value({ kind: "multiplyHigh", signed: true }, 64, [node(left), node(right)]));
  }

  // Floats

  floatBinary<W extends 32 | 64>(op: FloatBinaryOp, left: Value<W>, right: Value<W>): Value<W> {
    const width = widthOf(left) as 32 | 64;
    return cast(
      this.#value({ kind: "floatWasm", name: `f${width}.${op}`, from: width, to: width }, width, [
        node(left),
        node(right),
      ]),
    );
  }

  floatUnary<W extends 32 | 64>(op: FloatUnaryOp, value: Value<W>): Value<W> {
    const width = widthOf(value) as 32 | 64;
    return cast(
      this.#value({ kind: "floatWasm", name: `f${width}.${op}`, from: width, to: width }, width, [node(value)]),
    );
  }

  floatCompare(op: FloatCompareOp, left: Value<32> | Value<64>, right: Value<32> | Value<64>): Value<32> {
    const width = widthOf(left) as 32 | 64;
    return cast(
      this.#value({ kind: "floatWasm", name: `f${width}.${op}`, from: width, to: "integer" }, 32, [
        node(left),
        node(right),
      ]),
    );
  }

  floatPromote(value: Value<32>): Value<64> {
    return cast(this.#value({ kind: "floatWasm", name: "f64.promote_f32", from: 32, to: 64 }, 64, [node(value)]));
  }

  floatDemote(value: Value<64>): Value<32> {
    return cast(this.#value({ kind: "floatWasm", name: "f32.demote_f64", from: 64, to: 32 }, 32, [node(value)]));
  }

  floatFromInteger<To extends 32 | 64>(to: To, signed: boolean, value: Value<32> | Value<64>): Value<To> {
    const name = `f${to}.convert_i${widthOf(value)}_${signed ? "s" : "u"}`;
    return cast(this.#value({ kind: "floatWasm", name, from: "integer", to }, to, [node(value)]));
  }

  floatToInteger<To extends 32 | 64>(to: To, signed: boolean, value: Value<32> | Value<64>): Value<To> {
    const from = widthOf(value) as 32 | 64;
    const name = `i${to}.trunc_sat_f${from}_${signed ? "s" : "u"}`;
    return cast(this.#value({ kind: "floatWasm", name, from, to: "integer" }, to, [node(value)]));
  }

  // Vectors

  vector(op: VectorOp, ...operands: readonly Value<Width>[]): Value<128> {
    return this.#wasm(op, 128, ...operands) as Value<128>;
  }

  vectorToScalar(op: VectorOp, value: Value<128>): Value<32> {
    return this.#wasm(op, 32, value) as Value<32>;
  }

  extractLane(shape: LaneShape, lane: number, vector: Value<128>, signed = false): never {
    const small = shape === "i8x16" || shape === "i16x8";
    const name = `${shape}.extract_lane${small ? (signed ? "_s" : "_u") : ""}`;
    return cast(this.#value({ kind: "lane", name, lane }, shape === "i64x2" ? 64 : 32, [node(vector)])) as never;
  }

  replaceLane(shape: LaneShape, lane: number, vector: Value<128>, value: Value<32> | Value<64>): Value<128> {
    return cast(this.#value({ kind: "lane", name: `${shape}.replace_lane`, lane }, 128, [node(vector), node(value)]));
  }

  splat(shape: LaneShape, value: Value<32> | Value<64>): Value<128> {
    return this.#wasm(`${shape}.splat`, 128, value) as Value<128>;
  }

  shuffle(low: Value<128>, high: Value<128>, lanes: readonly number[]): Value<128> {
    if (lanes.length !== 16) throw new StageRuleError(this.#name, `shuffle of ${lanes.length} lanes`);
    return cast(this.#value({ kind: "shuffle", lanes }, 128, [node(low), node(high)]));
  }

  // State

  read<W extends Width>(field: StateField<W>): Value<W> {
    return cast(this.#value({ kind: "readState", offset: field.offset }, field.width, [], true));
  }

  write<W extends Width>(field: StateField<W>, value: Value<W>): void {
    if (field.scratch !== true) this.#commit();
    this.#effect({
      type: "writeState",
      offset: field.offset,
      value: this.#sized(value, field.width),
      epoch: this.#epoch,
    });
  }

  readAt<W extends Width>(width: W, address: Value<32>, bytes = 0): Value<W> {
    return cast(this.#value({ kind: "readStateAt", offset: bytes }, width, [node(address)], true));
  }

  writeAt<W extends Width>(address: Value<32>, value: Value<W>, bytes = 0): void {
    this.#commit();
    this.#effect({
      type: "writeStateAt",
      address: node(address),
      offset: bytes,
      value: node(value),
      epoch: this.#epoch,
    });
  }

  // Guest memory

  access(address: Value<64>, bytes: number, mode: AccessMode, options: AccessOptions = {}): AccessHandle {
    this.#probing("access");
    const item: AccessItem = {
      type: "access",
      address: node(address),
      bytes,
      mode,
      unprivileged: options.unprivileged ?? false,
      privileged: options.privileged ?? false,
      alignment: options.alignment ?? 1,
      faultDetail: options.faultDetail === undefined ? undefined : node(options.faultDetail),
      epoch: this.#epoch,
    };
    this.#accessCount += 1;
    if (mode !== "read") this.#writesMemory = true;
    this.#effect(item);
    return item as unknown as AccessHandle;
  }

  load<W extends Width>(width: W, handle: AccessHandle, offset: number, bits: 8 | 16 | 32 | 64 | 128): Value<W> {
    const access = this.#within(handle, offset, bits);
    return cast(this.#value({ kind: "loadMemory", access, offset, bits }, width, [], true));
  }

  store(handle: AccessHandle, offset: number, bits: 8 | 16 | 32 | 64 | 128, value: Value<Width>): void {
    const access = this.#within(handle, offset, bits);
    if (access.mode === "read")
      throw new StageRuleError(this.#name, "store through a handle that was asked for reading");
    this.#commit();
    this.#effect({ type: "storeMemory", access, offset, bits, value: node(value), epoch: this.#epoch });
  }

  // Control

  pc(): Value<64> {
    return cast(this.#value({ kind: "pc" }, 64, []));
  }

  nextPc(): Value<64> {
    return cast(this.#value({ kind: "nextPc" }, 64, []));
  }

  if(condition: Value<32>, then: () => void, otherwise?: () => void): void {
    const before = this.#committed;
    const epoch = this.#epoch;
    const thenArm = this.#arm(then);
    const afterThen = this.#committed;
    this.#committed = before;
    const otherArm = otherwise === undefined ? undefined : this.#arm(otherwise);
    // What one arm has committed holds behind the join, unless that arm has ended.
    this.#committed = (afterThen && !thenArm.ended) || (this.#committed && otherArm?.ended !== true) || before;
    this.#effect({ type: "if", condition: node(condition), then: thenArm.block, otherwise: otherArm?.block, epoch });
    this.#ended = thenArm.ended && otherArm?.ended === true;
  }

  choose<W extends Width>(condition: Value<32>, whenTrue: () => Value<W>, whenFalse: () => Value<W>): Value<W> {
    const holder: { variable?: VariableNode } = {};
    const assign = (make: () => Value<W>) => () => {
      const value = make();
      holder.variable ??= this.#newVariable(node(value).width);
      this.#effect({ type: "setVariable", variable: holder.variable, value: node(value), epoch: this.#epoch });
    };
    this.if(condition, assign(whenTrue), assign(whenFalse));
    if (holder.variable === undefined) throw new StageRuleError(this.#name, "choose without a value");
    return this.get(holder.variable as unknown as Variable<W>);
  }

  variable<W extends Width>(initial: Value<W>): Variable<W> {
    const variable = this.#newVariable(node(initial).width);
    this.#effect({ type: "setVariable", variable, value: node(initial), epoch: this.#epoch });
    return variable as unknown as Variable<W>;
  }

  get<W extends Width>(variable: Variable<W>): Value<W> {
    return cast(
      this.#value({ kind: "variable", variable: variable as unknown as VariableNode }, variable.width, [], true),
    );
  }

  set<W extends Width>(variable: Variable<W>, value: Value<W>): void {
    this.#effect({
      type: "setVariable",
      variable: variable as unknown as VariableNode,
      value: node(value),
      epoch: this.#epoch,
    });
  }

  repeatWhile(body: () => Value<32>): void {
    this.#routineOnly("a loop");
    const block: Block = { parent: this.#block, items: [] };
    const item: EffectItem = { type: "loop", body: block, condition: undefined, conditionEpoch: 0, epoch: this.#epoch };
    const outer = this.#block;
    this.#block = block;
    this.#epoch += 1;
    item.condition = node(body());
    item.conditionEpoch = this.#epoch;
    this.#block = outer;
    this.#ended = false;
    this.#effect(item);
  }

  call(routine: Routine, ...parameters: readonly Value<32 | 64>[]): never {
    if (parameters.length !== routine.parameters.length)
      throw new StageRuleError(this.#name, `${routine.name} takes ${routine.parameters.length} parameters`);
    const args = parameters.map((value) => node(value));
    const epoch = this.#epoch;
    if (routine.probing !== true) this.#commit();
    this.#epoch += 1;
    const result = routine.result === undefined ? undefined : this.#detached({ kind: "result" }, routine.result);
    this.#block.items.push({ type: "callRoutine", routine, args, result, epoch });
    return result as never;
  }

  callHost(host: HostFunction, ...parameters: readonly Value<32>[]): Value<32> {
    const epoch = this.#epoch;
    this.#epoch += 1;
    const result = this.#detached({ kind: "result" }, 32);
    this.#block.items.push({ type: "callHost", host, args: parameters.map((value) => node(value)), result, epoch });
    return cast(result);
  }

  return(value?: Value<32> | Value<64>): void {
    this.#routineOnly("return");
    this.#effect({ type: "return", value: value === undefined ? undefined : node(value), epoch: this.#epoch });
    this.#ended = true;
  }

  // Ends

  jump(target: Value<64>, options: { readonly contextChanged?: boolean } = {}): void {
    this.#end({
      type: "jump",
      target: node(target),
      contextChanged: options.contextChanged ?? false,
      epoch: this.#epoch,
    });
  }

  endBlock(reason: string): void {
    this.#end({ type: "endBlock", reason, epoch: this.#epoch });
  }

  raise(routine: Routine & { readonly result: undefined }, ...parameters: readonly Value<32 | 64>[]): void {
    this.#probing("raise");
    this.#end({ type: "raise", routine, args: parameters.map((value) => node(value)), epoch: this.#epoch });
  }

  exitBefore(code: number, ...operands: readonly Value<64>[]): void {
    this.#probing("exitBefore");
    this.#end({ type: "exitBefore", code, operands: operands.map((value) => node(value)), epoch: this.#epoch });
  }

  exitAfter(code: number, ...operands: readonly Value<64>[]): void {
    this.#end({ type: "exitAfter", code, operands: operands.map((value) => node(value)), epoch: this.#epoch });
  }

  readPageTableEntry(bits: 32 | 64, physical: Value<64>, isLast: Value<32>, onAbsent: () => void): Value<64> {
    this.#routineOnly("a page walk");
    const epoch = this.#epoch;
    const absent = this.#arm(onAbsent);
    this.#ended = false;
    this.#epoch += 1;
    const result = this.#detached({ kind: "result" }, 64);
    this.#block.items.push({
      type: "readPageTable",
      bits,
      physical: node(physical),
      isLast: node(isLast),
      onAbsent: absent.block,
      result,
      epoch,
    });
    return cast(result);
  }

  #arm(body: () => void): { readonly block: Block; readonly ended: boolean } {
    const outer = this.#block;
    const block: Block = { parent: outer, items: [] };
    this.#block = block;
    this.#epoch += 1;
    this.#ended = false;
    body();
    const ended = this.#ended;
    this.#ended = false;
    this.#block = outer;
    return { block, ended };
  }

  #newVariable(width: Width): VariableNode {
    const variable = { name: `v${this.#variables.length}`, width } as VariableNode;
    this.#variables.push(variable);
    return variable;
  }

  #wasm(name: string, width: Width, ...operands: readonly Value<Width>[]): Value<Width> {
    return cast(
      this.#value(
        { kind: "wasm", name },
        width,
        operands.map((value) => node(value)),
      ),
    );
  }

  #constant<W extends 32 | 64>(like: Value<W>, value: number | bigint): Value<W> {
    return (widthOf(like) === 64 ? this.constant64(value) : this.constant32(Number(value))) as Value<W>;
  }

  #value(op: ValueOp, width: Width, args: readonly ValueNode[], readsState = false): ValueNode {
    const made = this.#detached(op, width, args, readsState);
    this.#block.items.push(made);
    return made;
  }

  /** A value that is no item of its own: the result of one. */
  #detached(op: ValueOp, width: Width, args: readonly ValueNode[] = [], readsState = false): ValueNode {
    return {
      type: "value",
      op,
      width,
      args,
      block: this.#block,
      epoch: this.#epoch,
      readsState,
      useCount: 0,
      needsLocal: false,
    };
  }

  #sized(value: Value<Width>, width: Width): ValueNode {
    if (node(value).width !== width)
      throw new StageRuleError(this.#name, `a value of ${node(value).width} bits for a field of ${width}`);
    return node(value);
  }

  #within(handle: AccessHandle, offset: number, bits: number): AccessItem {
    const access = handle as unknown as AccessItem;
    if (offset < 0 || offset + bits / 8 > access.bytes)
      throw new StageRuleError(this.#name, `bytes ${offset} to ${offset + bits / 8} of an access of ${access.bytes}`);
    return access;
  }

  #effect(item: EffectItem): void {
    if (this.#ended) throw new StageRuleError(this.#name, "an effect behind the end of the instruction");
    this.#block.items.push(item);
    this.#epoch += 1;
  }

  #commit(): void {
    if (this.#kind === "probing routine") throw new StageRuleError(this.#name, "a write in a routine that only probes");
    this.#committed = true;
  }

  #probing(what: string): void {
    if (this.#kind !== "instruction") throw new StageRuleError(this.#name, `${what} in a routine`);
    if (this.#committed) throw new StageRuleError(this.#name, `${what} after the first write: probe, then commit`);
  }

  #routineOnly(what: string): void {
    if (this.#kind === "instruction")
      throw new StageRuleError(this.#name, `${what} in an instruction; only routines may`);
  }

  #end(item: EffectItem): void {
    if (this.#kind !== "instruction") throw new StageRuleError(this.#name, `${item.type} in a routine`);
    this.#effect(item);
    this.#ended = true;
  }
}

function node(value: Value<Width>): ValueNode {
  return value as unknown as ValueNode;
}

function cast<W extends Width>(value: ValueNode): Value<W> {
  return value as unknown as Value<W>;
}

function widthOf(value: Value<Width>): Width {
  return node(value).width;
}

function prefix(value: Value<Width>): "i32" | "i64" {
  return widthOf(value) === 64 ? "i64" : "i32";
}
