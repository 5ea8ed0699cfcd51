/**
 * What a straight line of compiled code knows of vCPU state: fields that it read or wrote stand in locals too, so that the
 * next instruction need not wait for a store and load them back. State in memory is always current: to forget is always
 * safe, and control may leave anywhere.
 */
import type { StateArray, StateField } from "../stage/state-layout.js";
import type { FunctionBuilder, LocalType } from "../wasm/function-builder.js";

const BYTES: Readonly<Record<LocalType, number>> = { i32: 4, i64: 8, v128: 16 };

interface Known {
  readonly offset: number;
  readonly type: LocalType;
  readonly local: number;
}

/** What was known at a place; see `save`. */
export type KnownFields = ReadonlyMap<number, Known>;

/** Offsets of state from the first to behind the last. */
interface Range {
  readonly first: number;
  readonly end: number;
}

export class KnownState {
  readonly #code: FunctionBuilder;
  readonly #ranges: readonly Range[];
  /** By offset and type; each keeps its local to the end of the function. */
  readonly #locals = new Map<string, Known>();
  #fields = new Map<number, Known>();

  /** `registers`: what may be known: nothing but `load` and `store` touches it between two calls of `clear`. */
  constructor(code: FunctionBuilder, registers: readonly (StateField | StateArray)[]) {
    this.#code = code;
    this.#ranges = registers.map((register) => {
      const count = "count" in register ? register.count : 1;
      return { first: register.offset, end: register.offset + (count * register.width) / 8 };
    });
  }

  /** All locals that it ever took. */
  get locals(): Iterable<{ readonly type: LocalType; readonly local: number }> {
    return this.#locals.values();
  }

  /** Pushes the state at an offset. */
  load(offset: number, type: LocalType): void {
    if (this.#pushKnown(offset, type)) return;
    const code = this.#code;
    code.i32(0);
    code.memory(`${type}.load`, offset);
    if (!this.#isTracked(offset)) return;
    const known = this.#knownOf(offset, type);
    this.#forget(offset, BYTES[type]);
    this.#fields.set(offset, known);
    code.tee(known.local);
  }

  #pushKnown(offset: number, type: LocalType): boolean {
    const code = this.#code;
    const known = this.#fields.get(offset);
    if (known?.type === type) {
      code.get(known.local);
      return true;
    }
    if (type !== "i32" || known?.type !== "i64") return false;
    code.get(known.local);
    code.op("i32.wrap_i64");
    return true;
  }

  /** Writes what `push` pushes. */
  store(offset: number, type: LocalType, push: () => void): void {
    const code = this.#code;
    code.i32(0);
    push();
    this.#forget(offset, BYTES[type]);
    if (this.#isTracked(offset)) {
      const known = this.#knownOf(offset, type);
      this.#fields.set(offset, known);
      code.tee(known.local);
    }
    code.memory(`${type}.store`, offset);
  }

  /** Nothing is known: other code may have run, or control may come from elsewhere. */
  clear(): void {
    this.#fields.clear();
  }

  /** What is known here, to be compared with what is known at another place. */
  save(): KnownFields {
    return new Map(this.#fields);
  }

  /** Control comes from where `fields` was known. */
  restore(fields: KnownFields): void {
    this.#fields = new Map(fields);
  }

  /** Control comes from here or from where `fields` was known: what was written on one way only is forgotten. */
  join(fields: KnownFields): void {
    for (const [offset, known] of this.#fields) if (fields.get(offset) !== known) this.#fields.delete(offset);
  }

  #isTracked(offset: number): boolean {
    return this.#ranges.some(({ first, end }) => offset >= first && offset < end);
  }

  /** A new one for each write and load, so that `join` tells them apart; its local is that of the offset. */
  #knownOf(offset: number, type: LocalType): Known {
    const key = `${type} ${offset}`;
    const local = this.#locals.get(key)?.local ?? this.#code.takeLocal(type);
    const known = { offset, type, local };
    this.#locals.set(key, known);
    return known;
  }

  #forget(offset: number, bytes: number): void {
    for (const [first, { type }] of this.#fields)
      if (first < offset + bytes && offset < first + BYTES[type]) this.#fields.delete(first);
  }
}
