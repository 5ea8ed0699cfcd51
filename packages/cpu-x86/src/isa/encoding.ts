/**
 * Encodings as the opcode column of the manual prints them (Intel SDM volume 2, 3.1.1.1), as the pattern of a definition:
 *
 *     "lock 81 /0 iz"      "w1 0F C7 /1 mem"      "50+r d64"      "compat 17"
 *
 * | token | meaning |
 * |---|---|
 * | `0F`, `C7` | bytes of the opcode; `+r` behind the last: its low three bits are a register |
 * | `/r`, `/0` to `/7` | a ModRM byte, with this digit as `reg` |
 * | `mem`, `reg` | ModRM names memory, or a register |
 * | `registers` | ModRM names registers whatever its bits 7 and 6 say |
 * | `ib`, `iz` | an immediate of 8 bits, of the operand's size but at most 32; sign-extended |
 * | `iw`, `io` | an immediate of 16 bits; of the operand's size. Two immediates follow each other: the second is `immediateHigh` |
 * | `moffs` | an address without ModRM, of the address size |
 * | `byte` | the operand has 8 bits |
 * | `d64` | in 64-bit mode the operand has 64 bits, or 16 with the prefix 66 |
 * | `f64` | in 64-bit mode the operand has 64 bits |
 * | `w0`, `w1` | REX.W |
 * | `np` | without prefixes 66, F2, F3 |
 * | `66`, `F2`, `F3` | with this prefix, which belongs to the opcode; F2 and F3 win over 66, the last one of the two over the other |
 * | `lock` | LOCK is allowed where the destination is memory |
 * | `long`, `compat` | exists in 64-bit mode only; in all others only |
 * | `protected` | does not exist in real mode |
 */
import { defineInstruction, type Instruction, type OperandSources, type Stage, type Value } from "@hvjournal/engine";
import { type DecodedFields, FIELD_BITS, type FieldName } from "./fields.js";

export type MandatoryPrefix = "any" | "none" | "66" | "F2" | "F3";

/** `operand`: of the operand's size but at most 32 bits; `whole`: of the operand's size; `offset`: of the address size. */
export type ImmediateKind = "byte" | "word" | "operand" | "whole" | "offset";

export interface Encoding {
  /** Opcode map (0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A) times 256 plus the last byte. */
  readonly opcode: number;
  readonly registerInOpcode: boolean;
  readonly hasModrm: boolean;
  /** ModRM.reg, where the opcode goes on there. */
  readonly digit: number | undefined;
  readonly operand: "any" | "memory" | "register";
  /** ModRM.mod is ignored: it is as if it were 3. */
  readonly ignoresMod: boolean;
  /** In the order of their bytes. */
  readonly immediates: readonly ImmediateKind[];
  readonly operandSize: "byte" | "default" | "default64" | "forced64";
  readonly rexW: 0 | 1 | undefined;
  /** Of the prefixes 66, F2 and F3: what must be there. */
  readonly prefix: MandatoryPrefix;
  readonly lockable: boolean;
  readonly modes: "both" | "long" | "compatibility";
  readonly protectedOnly: boolean;
}

type MutableEncoding = { -readonly [Key in keyof Encoding]: Encoding[Key] };

const OPTIONS: Readonly<Record<string, Partial<Encoding>>> = {
  mem: { operand: "memory" },
  reg: { operand: "register" },
  registers: { ignoresMod: true },
  byte: { operandSize: "byte" },
  d64: { operandSize: "default64" },
  f64: { operandSize: "forced64" },
  w0: { rexW: 0 },
  w1: { rexW: 1 },
  np: { prefix: "none" },
  "66": { prefix: "66" },
  F2: { prefix: "F2" },
  F3: { prefix: "F3" },
  lock: { lockable: true },
  long: { modes: "long" },
  compat: { modes: "compatibility" },
  protected: { protectedOnly: true },
  "/r": { hasModrm: true },
};

const IMMEDIATES: Readonly<Record<string, ImmediateKind>> = {
  ib: "byte",
  iw: "word",
  iz: "operand",
  io: "whole",
  moffs: "offset",
};

const MAPS = ["", "0f", "0f38", "0f3a"] as const;

/** Throws RangeError for a pattern that is none. */
export function parseEncoding(pattern: string): Encoding {
  const encoding: MutableEncoding = {
    opcode: -1,
    registerInOpcode: false,
    hasModrm: false,
    digit: undefined,
    operand: "any",
    ignoresMod: false,
    immediates: [],
    operandSize: "default",
    rexW: undefined,
    prefix: "any",
    lockable: false,
    modes: "both",
    protectedOnly: false,
  };
  const bytes: string[] = [];
  for (const token of pattern.split(" ")) {
    const option = OPTIONS[token];
    const immediate = IMMEDIATES[token];
    const digit = /^\/([0-7])$/.exec(token);
    const byte = /^([0-9A-F]{2})(\+r)?$/.exec(token);
    // Behind a byte of the opcode, 66, F2 and F3 are bytes like others.
    if (option !== undefined && !(option.prefix !== undefined && bytes.length > 0)) Object.assign(encoding, option);
    else if (immediate !== undefined) encoding.immediates = [...encoding.immediates, immediate];
    else if (digit !== null) Object.assign(encoding, { hasModrm: true, digit: Number(digit[1]) });
    else if (byte?.[1] !== undefined) {
      bytes.push(byte[1].toLowerCase());
      if (byte[2] !== undefined) encoding.registerInOpcode = true;
    } else throw new RangeError(`encoding "${pattern}": "${token}" is no token`);
  }
  const map = (MAPS as readonly string[]).indexOf(bytes.slice(0, -1).join(""));
  if (bytes.length === 0 || map < 0) throw new RangeError(`encoding "${pattern}": no opcode map has these bytes`);
  encoding.opcode = map * 256 + Number.parseInt(bytes.at(-1) ?? "", 16);
  return encoding;
}

type OperandValue<Source> = Source extends { readonly i64: unknown } ? Value<64> : Value<32>;

export interface EncodedInstruction<FormField extends FieldName, Operands extends OperandSources<FieldName>> {
  readonly mnemonic: string;
  readonly reference: string;
  /** See the head of this file. */
  readonly pattern: string;
  readonly where?: (fields: DecodedFields) => boolean;
  /** Status flags (`Flag`) that the manual leaves undefined: this CPU's are what `flags.ts` says, another's may differ. */
  readonly undefinedFlags?: number | ((fields: DecodedFields) => number);
  readonly formFields: readonly FormField[];
  readonly operands: Operands;
  readonly text: (fields: DecodedFields, pc: bigint) => string;
  readonly execute: (
    form: Readonly<Record<FormField, number>>,
    operands: { readonly [Name in keyof Operands]: OperandValue<Operands[Name]> },
    stage: Stage,
  ) => void;
}

/** A definition whose fields are those of `fields.ts`. */
export function defineEncoded<const FormField extends FieldName, const Operands extends OperandSources<FieldName>>(
  definition: EncodedInstruction<FormField, Operands>,
): Instruction {
  return defineInstruction({ ...definition, fieldBits: FIELD_BITS } as never);
}

/** Status flags that the manual leaves undefined behind this instruction. */
export function undefinedFlagsOf(instruction: Instruction, fields: DecodedFields): number {
  const { undefinedFlags = 0 } = instruction as Pick<EncodedInstruction<never, never>, "undefinedFlags">;
  return typeof undefinedFlags === "number" ? undefinedFlags : undefinedFlags(fields);
}
