/**
 * The stage: what the definition of an instruction may do.
 *
 * A definition runs once per variant, while code is generated. What it does is
 * written down as a small program (`program.ts`), from which the interpreter, the
 * block compiler and the text stage each make their own form. `number` and
 * `boolean` are known while code is generated; `Value<W>` is known when the guest runs.
 *
 * Six rules hold for every definition:
 *  1. Probe, then commit. `access` checks every byte of every page first and raises
 *     the fault; after the first write to state or memory, `access`, `raise` and
 *     `exitBefore` throw while code is generated.
 *  2. Fragments. An access with a device part leaves as exits of at most 8 bytes and the
 *     instruction starts again with the completed reads supplied; device writes go out last.
 *     A definition need not know: it uses the handle.
 *  3. Flags are written by one operation of the architecture (`flags.ts`), with a mask.
 *  4. What code is specialised on is the context word; an instruction that changes it, or that can
 *     change which interrupts are taken, ends in `endBlock(reason)` or a `jump` that says so.
 *  5. The parts of an effective address are operand data, never form fields.
 *  6. Floating point takes the host's arithmetic only where it is exact (see `../float/`).
 */
import type { StateArray, StateField } from "./state-layout.js";

/** Widths of staged values in bits. Truth values, bytes and halfwords are `Value<32>`, zero-extended. */
export type Width = 32 | 64 | 128;

declare const staged: unique symbol;

/** A guest value, known only when the guest runs. Immutable; may be used any number of times. */
export interface Value<W extends Width> {
  readonly [staged]: W;
}

/** A local variable of a definition or routine: needed only where control flow joins. */
export interface Variable<W extends Width> {
  readonly width: W;
  readonly [staged]: "variable";
}

/** A checked range of guest memory. Loads and stores inside it can't fault. */
export interface AccessHandle {
  readonly bytes: number;
  readonly [staged]: "access";
}

export type AccessMode = "read" | "write" | "readWrite";

export interface AccessOptions {
  /** Translate with the privileges of user mode (LDTR, STTR); default: of the current context. */
  readonly unprivileged?: boolean;
  /** Translate with the privileges of the system whatever the current ones are (x86: descriptor tables). See `CpuDefinition.accessesAsPrivileged`. */
  readonly privileged?: boolean;
  /** Raise the architecture's alignment fault when the address is not a multiple of this. */
  readonly alignment?: number;
  /** What the architecture's fault routine wants to know of the access: it finds it in `EngineFields.faultDetail`. Costs nothing until it fails. */
  readonly faultDetail?: Value<32>;
}

/** Integer operations on two values of one width that give a value of that width. Division must be guarded: see `divideUnsigned`. */
export type BinaryOp =
  | "add"
  | "sub"
  | "mul"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr_u"
  | "shr_s"
  | "rotr"
  | "rotl"
  | "div_u"
  | "div_s"
  | "rem_u"
  | "rem_s";
export type CompareOp = "eq" | "ne" | "lt_u" | "lt_s" | "le_u" | "le_s" | "gt_u" | "gt_s" | "ge_u" | "ge_s";
export type UnaryOp = "clz" | "ctz" | "popcnt";

/** IEEE operations of the host on bit patterns. NaN results have unspecified bits: never let one reach the guest (rule 6). */
export type FloatBinaryOp = "add" | "sub" | "mul" | "div" | "min" | "max";
export type FloatUnaryOp = "sqrt" | "ceil" | "floor" | "trunc" | "nearest" | "abs" | "neg";
export type FloatCompareOp = "eq" | "ne" | "lt" | "gt" | "le" | "ge";

/** Any WebAssembly SIMD instruction without an immediate, by its name in the specification: "i8x16.add", "v128.bitselect" ... */
export type VectorOp = string;
export type LaneShape = "i8x16" | "i16x8" | "i32x4" | "i64x2";

/** A function of the generated code that definitions and other routines may call. See `defineRoutine`. */
export interface Routine {
  readonly name: string;
  readonly parameters: readonly (32 | 64)[];
  readonly result: 32 | 64 | undefined;
  /** Writes scratch fields only, so that an instruction may still raise behind a call. */
  readonly probing?: true;
  readonly body: (stage: Stage, parameters: readonly Value<32 | 64>[]) => void;
}

/** A function of the host (TypeScript) that generated code may call, with i32 only: 64-bit operands go through state fields. */
export interface HostFunction {
  readonly name: string;
  readonly parameterCount: number;
}

export interface Stage {
  // Constants
  constant32(value: number): Value<32>;
  constant64(value: bigint | number): Value<64>;
  /** Sixteen bytes, least significant first, as two 64-bit halves. */
  constant128(low: bigint, high: bigint): Value<128>;

  // Integers
  binary<W extends 32 | 64>(op: BinaryOp, left: Value<W>, right: Value<W>): Value<W>;
  compare(op: CompareOp, left: Value<32>, right: Value<32>): Value<32>;
  compare(op: CompareOp, left: Value<64>, right: Value<64>): Value<32>;
  unary<W extends 32 | 64>(op: UnaryOp, value: Value<W>): Value<W>;
  add<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W>;
  sub<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W>;
  and<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W>;
  or<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W>;
  xor<W extends 32 | 64>(left: Value<W>, right: Value<W>): Value<W>;
  not<W extends 32 | 64>(value: Value<W>): Value<W>;
  /** Shift by a number of bits known now; 0 gives the value itself. */
  shiftLeft<W extends 32 | 64>(value: Value<W>, bits: number): Value<W>;
  shiftRight<W extends 32 | 64>(value: Value<W>, bits: number): Value<W>;
  shiftRightSigned<W extends 32 | 64>(value: Value<W>, bits: number): Value<W>;
  isZero(value: Value<32> | Value<64>): Value<32>;
  /** `condition` is a truth value: any non-zero value holds. Both sides are computed. */
  select<W extends Width>(condition: Value<32>, whenTrue: Value<W>, whenFalse: Value<W>): Value<W>;
  zeroExtend64(value: Value<32>): Value<64>;
  signExtend64(value: Value<32>): Value<64>;
  /** The low 32 bits. */
  truncate32(value: Value<64>): Value<32>;
  /** Keeps the low `bits` bits and fills the rest with the top one of them. */
  signExtendFrom<W extends 32 | 64>(bits: 8 | 16 | 32, value: Value<W>): Value<W>;
  zeroExtendFrom<W extends 32 | 64>(bits: number, value: Value<W>): Value<W>;
  /** `length` bits from bit `low` on, as an unsigned number. */
  extractBits<W extends 32 | 64>(value: Value<W>, low: number, length: number): Value<W>;
  /** The high 64 bits of the 128-bit product. */
  multiplyHighUnsigned(left: Value<64>, right: Value<64>): Value<64>;
  multiplyHighSigned(left: Value<64>, right: Value<64>): Value<64>;

  // Floats: bit patterns in, bit patterns out; 32 is single, 64 double precision
  floatBinary<W extends 32 | 64>(op: FloatBinaryOp, left: Value<W>, right: Value<W>): Value<W>;
  floatUnary<W extends 32 | 64>(op: FloatUnaryOp, value: Value<W>): Value<W>;
  floatCompare(op: FloatCompareOp, left: Value<32>, right: Value<32>): Value<32>;
  floatCompare(op: FloatCompareOp, left: Value<64>, right: Value<64>): Value<32>;
  floatPromote(value: Value<32>): Value<64>;
  floatDemote(value: Value<64>): Value<32>;
  /** Integer (signed or unsigned, `From` bits) to float (`To` bits), rounded to nearest even. */
  floatFromInteger<To extends 32 | 64>(to: To, signed: boolean, value: Value<32> | Value<64>): Value<To>;
  /** Float to integer towards zero, saturating; NaN gives 0. `width` is of the integer. */
  floatToInteger<To extends 32 | 64>(to: To, signed: boolean, value: Value<32> | Value<64>): Value<To>;

  // Vectors of 128 bits
  vector(op: VectorOp, ...operands: readonly Value<Width>[]): Value<128>;
  /** For SIMD operations whose result is an i32: "i8x16.bitmask", "v128.any_true", "i16x8.all_true" ... */
  vectorToScalar(op: VectorOp, value: Value<128>): Value<32>;
  /** `shape` i64x2 takes and gives 64-bit lanes, the others 32-bit ones (zero-extended; signed on demand). */
  extractLane(shape: "i64x2", lane: number, vector: Value<128>): Value<64>;
  extractLane(shape: "i8x16" | "i16x8" | "i32x4", lane: number, vector: Value<128>, signed?: boolean): Value<32>;
  replaceLane(shape: "i64x2", lane: number, vector: Value<128>, value: Value<64>): Value<128>;
  replaceLane(shape: "i8x16" | "i16x8" | "i32x4", lane: number, vector: Value<128>, value: Value<32>): Value<128>;
  splat(shape: "i64x2", value: Value<64>): Value<128>;
  splat(shape: "i8x16" | "i16x8" | "i32x4", value: Value<32>): Value<128>;
  /** Sixteen byte indices, 0 to 15 from `low`, 16 to 31 from `high`. */
  shuffle(low: Value<128>, high: Value<128>, lanes: readonly number[]): Value<128>;

  // State of the vCPU
  read<W extends Width>(field: StateField<W>): Value<W>;
  write<W extends Width>(field: StateField<W>, value: Value<W>): void;
  /**
   * State whose address is an operand: a register operand (see `registerOperand`) holds the byte offset
   * of its register. `bytes` added to it reaches a part of the register.
   */
  readAt<W extends Width>(width: W, address: Value<32>, bytes?: number): Value<W>;
  writeAt<W extends Width>(address: Value<32>, value: Value<W>, bytes?: number): void;

  // Guest memory
  access(address: Value<64>, bytes: number, mode: AccessMode, options?: AccessOptions): AccessHandle;
  /** Reads `bits` at `offset` bytes into the handle, zero-extended to `width`. Little-endian. */
  load<W extends Width>(width: W, handle: AccessHandle, offset: number, bits: 8 | 16 | 32 | 64 | 128): Value<W>;
  /** Writes the low `bits` of `value`. */
  store(handle: AccessHandle, offset: number, bits: 8 | 16 | 32 | 64 | 128, value: Value<Width>): void;

  // Control
  /** The address of this instruction. */
  pc(): Value<64>;
  /** The address of the next instruction in memory. */
  nextPc(): Value<64>;
  if(condition: Value<32>, then: () => void, otherwise?: () => void): void;
  /** Like `if`, with a value. */
  choose<W extends Width>(condition: Value<32>, whenTrue: () => Value<W>, whenFalse: () => Value<W>): Value<W>;
  /** A variable with a first value; `get` is its value at that place of the program. */
  variable<W extends Width>(initial: Value<W>): Variable<W>;
  get<W extends Width>(variable: Variable<W>): Value<W>;
  set<W extends Width>(variable: Variable<W>, value: Value<W>): void;
  /** Repeats `body` while the condition it gives holds. In routines only: an instruction is bounded. */
  repeatWhile(body: () => Value<32>): void;
  call(routine: Routine & { readonly result: 32 }, ...parameters: readonly Value<32 | 64>[]): Value<32>;
  call(routine: Routine & { readonly result: 64 }, ...parameters: readonly Value<32 | 64>[]): Value<64>;
  call(routine: Routine & { readonly result: undefined }, ...parameters: readonly Value<32 | 64>[]): void;
  /** Calls the host; the result is an i32. The host may change state fields, never guest memory behind a handle. */
  callHost(host: HostFunction, ...parameters: readonly Value<32>[]): Value<32>;
  /** In routines: ends the routine with its result. */
  return(value?: Value<32> | Value<64>): void;

  // Ends of an instruction; without one it falls through to the next
  /** Retires and goes on at `target`. `contextChanged`: the context word, or what interrupts are taken, may differ there. */
  jump(target: Value<64>, options?: { readonly contextChanged?: boolean }): void;
  /** Retires; before the next instruction, context and interrupts are looked at again. */
  endBlock(reason: string): void;
  /**
   * Does not retire: `routine` writes the architectural exception into state, the next instruction's
   * address into the pc field, and counts one unit. State's pc is this instruction's when it is called.
   */
  raise(routine: Routine & { readonly result: undefined }, ...parameters: readonly Value<32 | 64>[]): void;
  /** Leaves guest mode with pc at this instruction, which has done nothing; it starts again when the vCPU runs on. */
  exitBefore(code: number, ...operands: readonly Value<64>[]): void;
  /** Retires, then leaves guest mode with pc behind this instruction. */
  exitAfter(code: number, ...operands: readonly Value<64>[]): void;

  // Physical memory, for routines that walk page tables
  /**
   * Reads a page-table entry at a guest-physical address. The page is marked as a page table: a write to
   * one of its live entries drops what was derived from it. `isLast`: not 0 where an entry never leads to another table.
   * `onAbsent` runs where there is no RAM.
   */
  readPageTableEntry(bits: 32 | 64, physical: Value<64>, isLast: Value<32>, onAbsent: () => void): Value<64>;
}

/** Anything with a name and a place; re-exported for the signatures above. */
export type { StateArray, StateField };
