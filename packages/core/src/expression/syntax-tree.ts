/** An EXPR as a tree. Values are unsigned 64-bit integers; addresses may be guest-virtual or guest-physical. */

export type IntegerType = { readonly bits: 8 | 16 | 32 | 64; readonly signed: boolean };

export const U64: IntegerType = { bits: 64, signed: false };

export type UnaryOperator = "!" | "~" | "-" | "+";
export type BinaryOperator =
  "||" | "&&" | "|" | "^" | "&" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "<<" | ">>" | "+" | "-" | "*" | "/" | "%";

export type ExitField =
  "nr" | "input" | "number" | "reason" | "kvm" | "vcpu" | "pc" | "esr" | "gpa" | "size" | "write" | "data" | "rule";

/** Where memory is: by the guest's current translation, or physical. */
export interface MemoryRange {
  readonly address: Expression;
  readonly isPhysical: boolean;
  readonly length: Expression;
}

export type Expression = { readonly column: number } & (
  | { readonly node: "number"; readonly value: bigint }
  | { readonly node: "register"; readonly name: string }
  | { readonly node: "vcpu" | "icount" | "time" }
  /** The variable's value, or with `isAddress` where it lies. */
  | { readonly node: "symbol"; readonly name: string; readonly isAddress: boolean }
  | { readonly node: "exit"; readonly field: ExitField }
  | { readonly node: "exit argument"; readonly index: Expression }
  /** A row of the exit model, or KVM_EXIT_*. */
  | { readonly node: "exit name"; readonly space: "reason" | "kvm"; readonly name: string }
  | { readonly node: "load"; readonly type: IntegerType; readonly address: Expression; readonly isPhysical: boolean }
  | { readonly node: "cast"; readonly type: IntegerType; readonly operand: Expression }
  | { readonly node: "unary"; readonly operator: UnaryOperator; readonly operand: Expression }
  | {
      readonly node: "binary";
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly node: "choice"; readonly condition: Expression; readonly yes: Expression; readonly no: Expression }
  /** `state`: index of this node's memory of earlier evaluations. */
  | { readonly node: "hash"; readonly range: MemoryRange }
  | { readonly node: "changed"; readonly range: MemoryRange; readonly state: number }
  | { readonly node: "count"; readonly operand: Expression; readonly state: number }
  | { readonly node: "console"; readonly expression: RegExp; readonly state: number }
  | { readonly node: "config"; readonly what: "cap" | "smccc" | "reg"; readonly name: string | Expression }
);
