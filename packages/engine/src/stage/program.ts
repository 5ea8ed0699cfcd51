/**
 * What a definition wrote down: values, and effects in order. One program serves
 * every consumer; operands stay open until code is made for an interpreter's record or a block.
 */
import type { AccessMode, HostFunction, Routine, Variable, Width } from "./stage.js";

/** A value: computed at its place in the block's order, or where its one use is (`schedule.ts`). */
export interface ValueNode {
  readonly type: "value";
  readonly op: ValueOp;
  readonly width: Width;
  readonly args: readonly ValueNode[];
  /** The block that it was made in. */
  readonly block: Block;
  /** Count of effects before it, in program order. */
  readonly epoch: number;
  /** Depends on state or memory, so it may not move across an effect. */
  readonly readsState: boolean;
  /** Set by `schedule`: how many uses, and whether it needs a local. */
  useCount: number;
  needsLocal: boolean;
}

export type ValueOp =
  | { readonly kind: "constant32"; readonly value: number }
  | { readonly kind: "constant64"; readonly value: bigint }
  | { readonly kind: "constant128"; readonly low: bigint; readonly high: bigint }
  | { readonly kind: "operand"; readonly name: string }
  | { readonly kind: "parameter"; readonly index: number }
  /** One WebAssembly instruction; `float` ones take and give bit patterns. */
  | { readonly kind: "wasm"; readonly name: string }
  | {
      readonly kind: "floatWasm";
      readonly name: string;
      readonly from: 32 | 64 | "integer";
      readonly to: 32 | 64 | "integer";
    }
  | { readonly kind: "lane"; readonly name: string; readonly lane: number }
  | { readonly kind: "shuffle"; readonly lanes: readonly number[] }
  | { readonly kind: "select" }
  | { readonly kind: "multiplyHigh"; readonly signed: boolean }
  | { readonly kind: "readState"; readonly offset: number }
  | { readonly kind: "readStateAt"; readonly offset: number }
  | { readonly kind: "loadMemory"; readonly access: AccessItem; readonly offset: number; readonly bits: number }
  | { readonly kind: "variable"; readonly variable: VariableNode }
  /** The result of an item (call, choose, page-table read) that leaves it in a local. */
  | { readonly kind: "result" }
  | { readonly kind: "pc" }
  | { readonly kind: "nextPc" };

export interface VariableNode extends Variable<Width> {
  readonly name: string;
}

export interface Block {
  readonly parent: Block | undefined;
  readonly items: Item[];
}

export type Item = ValueNode | EffectItem;

export type EffectItem =
  | { readonly type: "writeState"; readonly offset: number; readonly value: ValueNode; readonly epoch: number }
  | {
      readonly type: "writeStateAt";
      readonly address: ValueNode;
      readonly offset: number;
      readonly value: ValueNode;
      readonly epoch: number;
    }
  | AccessItem
  | {
      readonly type: "storeMemory";
      readonly access: AccessItem;
      readonly offset: number;
      readonly bits: number;
      readonly value: ValueNode;
      readonly epoch: number;
    }
  | { readonly type: "setVariable"; readonly variable: VariableNode; readonly value: ValueNode; readonly epoch: number }
  | {
      readonly type: "if";
      readonly condition: ValueNode;
      readonly then: Block;
      readonly otherwise: Block | undefined;
      readonly epoch: number;
    }
  | {
      readonly type: "loop";
      readonly body: Block;
      condition: ValueNode | undefined;
      conditionEpoch: number;
      readonly epoch: number;
    }
  | {
      readonly type: "callRoutine";
      readonly routine: Routine;
      readonly args: readonly ValueNode[];
      readonly result: ValueNode | undefined;
      readonly epoch: number;
    }
  | {
      readonly type: "callHost";
      readonly host: HostFunction;
      readonly args: readonly ValueNode[];
      readonly result: ValueNode;
      readonly epoch: number;
    }
  | {
      readonly type: "readPageTable";
      readonly bits: 32 | 64;
      readonly physical: ValueNode;
      readonly isLast: ValueNode;
      readonly onAbsent: Block;
      readonly result: ValueNode;
      readonly epoch: number;
    }
  | { readonly type: "return"; readonly value: ValueNode | undefined; readonly epoch: number }
  | EndItem;

/** The ends of an instruction. */
export type EndItem =
  | { readonly type: "jump"; readonly target: ValueNode; readonly contextChanged: boolean; readonly epoch: number }
  | { readonly type: "endBlock"; readonly reason: string; readonly epoch: number }
  | { readonly type: "raise"; readonly routine: Routine; readonly args: readonly ValueNode[]; readonly epoch: number }
  | {
      readonly type: "exitBefore";
      readonly code: number;
      readonly operands: readonly ValueNode[];
      readonly epoch: number;
    }
  | {
      readonly type: "exitAfter";
      readonly code: number;
      readonly operands: readonly ValueNode[];
      readonly epoch: number;
    };

export interface AccessItem {
  readonly type: "access";
  readonly address: ValueNode;
  readonly bytes: number;
  readonly mode: AccessMode;
  readonly unprivileged: boolean;
  readonly privileged: boolean;
  readonly alignment: number;
  readonly faultDetail: ValueNode | undefined;
  readonly epoch: number;
}

export interface Program {
  readonly name: string;
  readonly root: Block;
  readonly operandKinds: ReadonlyMap<string, "u16" | "i32" | "i64">;
  /** Whether an access may leave writes to be finished at the end. */
  readonly writesMemory: boolean;
  readonly accessCount: number;
  /** Whether control never falls out of its end. */
  readonly alwaysEnds: boolean;
  readonly variables: readonly VariableNode[];
}
