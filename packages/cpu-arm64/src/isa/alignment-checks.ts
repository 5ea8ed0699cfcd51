/**
 * Alignment checks that a guest turns on (Arm ARM D1, stack pointer alignment checking; B2, alignment): of the stack
 * pointer as a base (SCTLR_EL1.SA, SA0), and of all accesses (SCTLR_EL1.A). Each makes definitions of its own from the
 * plain ones, so that who does not use it does not pay.
 */
import type { AccessOptions, Instruction, Stage } from "@hvjournal/engine";
import { spAlignmentFault } from "./exceptions.js";
import { sp } from "./state.js";

const STACK_POINTER = 31;
/** SP is a multiple of this. */
export const STACK_ALIGNMENT = 16;
const BASE_FIELD = "Rn:5";

/** Which bits of an encoding a pattern fixes, from the most significant: "0", "1", or "." for a field or any. */
function fixedBits(pattern: string): string {
  return pattern
    .split(" ")
    .map((token) => {
      const [, bits] = token.split(":");
      return bits === undefined ? token : ".".repeat(Number(bits));
    })
    .join("");
}

/** Bits 28 to 25 of an encoding are x1x0 (Arm ARM C4.1, loads and stores). */
function isLoadOrStore({ pattern }: Instruction): boolean {
  return /^....1.0/.test(fixedBits(pattern));
}

type Registers = Readonly<Record<string, number>>;

/** The same instruction with SP for its base, which must be a multiple of 16. */
function fromStack(instruction: Instruction): Instruction {
  const withBase = (fields: Registers): Registers => ({ ...fields, Rn: STACK_POINTER });
  const { where } = instruction;
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, from SP`,
    pattern: instruction.pattern.replace(BASE_FIELD, STACK_POINTER.toString(2)),
    ...(where === undefined ? {} : { where: (fields) => where(withBase(fields)) }),
    operands: Object.fromEntries(
      Object.entries(instruction.operands).map(([name, source]) => {
        if ("u16" in source) return [name, { u16: (fields: Registers) => source.u16(withBase(fields)) }];
        if ("i32" in source) return [name, { i32: (fields: Registers) => source.i32(withBase(fields)) }];
        return [name, { i64: (fields: Registers) => source.i64(withBase(fields)) }];
      }),
    ),
    text: (fields, pc) => instruction.text(withBase(fields), pc),
    execute(form, operands, stage) {
      const low = stage.and(stage.truncate32(stage.read(sp)), stage.constant32(STACK_ALIGNMENT - 1));
      stage.if(low, () => {
        stage.raise(spAlignmentFault);
      });
      instruction.execute(form, operands, stage);
    },
  };
}

/** Bytes of the parts of an access that must be aligned each: registers of a pair, elements of a structure. */
function elementBytes(instruction: Instruction, form: Registers, bytes: number): number {
  const { mnemonic, reference } = instruction;
  if (reference.includes("register pair")) return bytes / 2;
  if (!reference.includes("structure")) return bytes;
  const [, bits] = /(\d+)-bit/.exec(mnemonic) ?? [];
  return bits === undefined ? 1 << (form["size"] ?? 0) : Number(bits) / 8;
}

/** The same instruction, all of whose accesses must be aligned. */
function aligned(instruction: Instruction): Instruction {
  return {
    ...instruction,
    mnemonic: `${instruction.mnemonic}, aligned`,
    execute(form, operands, stage) {
      const access: Stage["access"] = (address, bytes, mode, options) => {
        const alignment = elementBytes(instruction, form, bytes);
        const wanted: AccessOptions = alignment > 1 ? { alignment, ...options } : { ...options };
        return stage.access(address, bytes, mode, wanted);
      };
      instruction.execute(form, operands, withAccess(stage, access));
    },
  };
}

function withAccess(stage: Stage, access: Stage["access"]): Stage {
  return new Proxy(stage, {
    get(target, key) {
      if (key === "access") return access;
      const member: unknown = Reflect.get(target, key);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

/** Definitions made once, so that contexts share them and their code. */
function remembered(make: (instruction: Instruction) => Instruction): (instruction: Instruction) => Instruction {
  const made = new Map<Instruction, Instruction>();
  return (instruction) => {
    const known = made.get(instruction) ?? make(instruction);
    made.set(instruction, known);
    return known;
  };
}

const fromStackOf = remembered(fromStack);
const alignedOf = remembered(aligned);

/** `instructions` with checks of the stack pointer: what has it as a base stands before the same for any base. */
export function withStackChecked(instructions: readonly Instruction[]): readonly Instruction[] {
  // A prefetch has the field, but no operand: it is not checked.
  const based = instructions.filter(
    (instruction) =>
      isLoadOrStore(instruction) && instruction.pattern.includes(BASE_FIELD) && "rn" in instruction.operands,
  );
  return [...based.map(fromStackOf), ...instructions];
}

export function withAlignmentChecked(instructions: readonly Instruction[]): readonly Instruction[] {
  return instructions.map((instruction) => (isLoadOrStore(instruction) ? alignedOf(instruction) : instruction));
}
