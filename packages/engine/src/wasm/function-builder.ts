/** The body of one WebAssembly function: instructions, locals that can be reused, and labels by depth. */
import { ByteWriter } from "./byte-writer.js";
import { EMPTY_BLOCK, laneOpcode, memoryOpcode, opcode, SHUFFLE, V128_CONST, ValueType } from "./opcodes.js";

/** A place that `branch` can go to: the nesting depth of its block. */
export type Label = number & { readonly label: unique symbol };

export type LocalType = "i32" | "i64" | "v128";

export class FunctionBuilder {
  readonly #code = new ByteWriter(512);
  readonly #parameterCount: number;
  readonly #locals: number[] = [];
  readonly #free: Record<LocalType, number[]> = { i32: [], i64: [], v128: [] };
  #depth = 0;

  constructor(parameterCount: number) {
    this.#parameterCount = parameterCount;
  }

  /** Body with its size and locals, as the code section holds it. */
  writeTo(out: ByteWriter): void {
    const head = new ByteWriter(64);
    const groups: { type: number; count: number }[] = [];
    for (const type of this.#locals) {
      const last = groups.at(-1);
      if (last !== undefined && last.type === type) last.count += 1;
      else groups.push({ type, count: 1 });
    }
    head.unsigned(groups.length);
    for (const group of groups) {
      head.unsigned(group.count);
      head.byte(group.type);
    }
    out.unsigned(head.length + this.#code.length + 1);
    out.bytes(head.view());
    out.bytes(this.#code.view());
    out.byte(0x0b);
  }

  /** A local for as long as the caller needs it. Its first value is unspecified. */
  takeLocal(type: LocalType): number {
    return this.#free[type].pop() ?? this.#parameterCount + this.#locals.push(ValueType[type]) - 1;
  }

  releaseLocal(type: LocalType, local: number): void {
    this.#free[type].push(local);
  }

  zeroLocal(type: LocalType, local: number): void {
    if (type === "i32") this.i32(0);
    else if (type === "i64") this.i64(0n);
    else this.v128(0n, 0n);
    this.set(local);
  }

  op(name: string): void {
    this.#code.bytes(opcode(name));
  }

  lane(name: string, lane: number): void {
    const bytes = laneOpcode[name];
    if (bytes === undefined) throw new RangeError(`no lane instruction is called ${name}`);
    this.#code.bytes(bytes);
    this.#code.byte(lane);
  }

  shuffle(lanes: readonly number[]): void {
    this.#code.bytes(SHUFFLE);
    this.#code.bytes(lanes);
  }

  i32(value: number): void {
    this.#code.byte(0x41);
    this.#code.signed32(value);
  }

  i64(value: bigint): void {
    this.#code.byte(0x42);
    this.#code.signed64(value);
  }

  v128(low: bigint, high: bigint): void {
    this.#code.bytes(V128_CONST);
    for (const half of [low, high])
      for (let bit = 0n; bit < 64n; bit += 8n) this.#code.byte(Number((half >> bit) & 0xffn));
  }

  /** A load or store at the address on the stack plus `offset`. */
  memory(name: string, offset: number): void {
    const bytes = memoryOpcode[name];
    if (bytes === undefined) throw new RangeError(`no memory instruction is called ${name}`);
    this.#code.bytes(bytes);
    this.#code.byte(0);
    this.#code.unsigned(offset);
  }

  get(local: number): void {
    this.#code.byte(0x20);
    this.#code.unsigned(local);
  }

  set(local: number): void {
    this.#code.byte(0x21);
    this.#code.unsigned(local);
  }

  tee(local: number): void {
    this.#code.byte(0x22);
    this.#code.unsigned(local);
  }

  drop(): void {
    this.#code.byte(0x1a);
  }

  select(): void {
    this.#code.byte(0x1b);
  }

  /** `select` with a type, which v128 needs. */
  selectVector(): void {
    this.#code.byte(0x1c);
    this.#code.byte(1);
    this.#code.byte(ValueType.v128);
  }

  block(): Label {
    return this.#open(0x02);
  }

  loop(): Label {
    return this.#open(0x03);
  }

  if(): Label {
    return this.#open(0x04);
  }

  else(): void {
    this.#code.byte(0x05);
  }

  end(): void {
    this.#code.byte(0x0b);
    this.#depth -= 1;
  }

  branch(label: Label): void {
    this.#code.byte(0x0c);
    this.#code.unsigned(this.#depth - label);
  }

  branchIf(label: Label): void {
    this.#code.byte(0x0d);
    this.#code.unsigned(this.#depth - label);
  }

  branchTable(labels: readonly Label[], otherwise: Label): void {
    this.#code.byte(0x0e);
    this.#code.unsigned(labels.length);
    for (const label of labels) this.#code.unsigned(this.#depth - label);
    this.#code.unsigned(this.#depth - otherwise);
  }

  return(): void {
    this.#code.byte(0x0f);
  }

  unreachable(): void {
    this.#code.byte(0x00);
  }

  call(index: number): void {
    this.#code.byte(0x10);
    this.#code.unsigned(index);
  }

  callIndirect(type: number): void {
    this.#code.byte(0x11);
    this.#code.unsigned(type);
    this.#code.byte(0);
  }

  #open(code: number): Label {
    this.#code.byte(code);
    this.#code.byte(EMPTY_BLOCK);
    this.#depth += 1;
    return this.#depth as Label;
  }
}
