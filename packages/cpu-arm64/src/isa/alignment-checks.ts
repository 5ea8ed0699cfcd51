/**
 * Alignment checks that a guest turns on (Arm ARM D1, stack pointer alignment checking; B2, alignment): of the stack
 * pointer as a base (SCTLR_EL1.SA, SA0), and of all accesses (SCTLR_EL1.A). Each makes definitions of its own from the
 * plain ones, for contexts of their own.
 *
 * Stock kernels check the stack pointer always, and it is always aligned. So nothing looks at it when it is used: what
 * may misalign it does, and brings about the context in which each load or store with that base raises.
 */
import { type AccessOptions, compilePattern, type Instruction, type Stage } from "@hvjournal/engine";
import { Context, contextChanged } from "./context.js";
import { spAlignmentFault } from "./exceptions.js";
import { contextWord, sp, STACK_ALIGNMENT } from "./state.js";

const STACK_POINTER = 31;

/** Loads and stores have x1x0 in bits 28 to 25 (Arm ARM C4.1). */
const LOAD_OR_STORE = { mask: (1 << 27) | (1 << 25), value: 1 << 27 } as const;

function isLoadOrStore(instruction: Instruction): boolean {
  const { mask, value } = compilePattern(instruction.pattern);
  return (mask & LOAD_OR_STORE.mask) === LOAD_OR_STORE.mask && (value & LOAD_OR_STORE.mask) === LOAD_OR_STORE.value;
}

type Registers = Readonly<Record<string, number>>;
type RegisterField = "Rn" | "Rd";

/** The same encodings with 31 in a register field, which `where` may narrow; `execute` is the caller's to replace. */
function withStackPointer(
  instruction: Instruction,
  field: RegisterField,
  where: (fields: Registers) => boolean = () => true,
): Instruction {
  const whole = (fields: Registers): Registers => ({ ...fields, [field]: STACK_POINTER });
  return {
    ...instruction,
    pattern: instruction.pattern.replace(`${field}:5`, STACK_POINTER.toString(2)),
    where: (fields) => instruction.where?.(whole(fields)) !== false && where(whole(fields)),
    operands: Object.fromEntries(
      Object.entries(instruction.operands).map(([name, source]) => {
        if ("u16" in source) return [name, { u16: (fields: Registers) => source.u16(whole(fields)) }];
        if ("i32" in source) return [name, { i32: (fields: Registers) => source.i32(whole(fields)) }];
        return [name, { i64: (fields: Registers) => source.i64(whole(fields)) }];
      }),
    ),
    text: (fields, pc) => instruction.text(whole(fields), pc),
  };
}

/** Has SP for its base. A prefetch has the field but no operand: it is not checked. */
function mayHaveStackBase(instruction: Instruction): boolean {
  return isLoadOrStore(instruction) && "rn" in instruction.operands;
}

/** A load or store with a misaligned SP for its base. */
function fromMisalignedStack(instruction: Instruction): Instruction {
  return {
    ...withStackPointer(instruction, "Rn"),
    mnemonic: `${instruction.mnemonic}, from misaligned SP`,
    formFields: [],
    operands: {},
    execute(_form, _operands, stage) {
      stage.raise(spAlignmentFault);
    },
  };
}

/** The register field by which an instruction may write SP. */
function stackWritingField(instruction: Instruction): RegisterField | undefined {
  const { operands, mnemonic } = instruction;
  const rd = operands["rd"];
  if (rd !== undefined && "u16" in rd && rd.u16({ Rd: STACK_POINTER }) === sp.offset) return "Rd";
  return mayHaveStackBase(instruction) && /(pre|post)-index/.test(mnemonic) ? "Rn" : undefined;
}

/** SP moves by a multiple of 16. */
function keepsAlignment(instruction: Instruction, field: RegisterField, fields: Registers): boolean {
  const isAddition = instruction.reference.includes("Add/subtract (immediate)") && fields["Rn"] === STACK_POINTER;
  const distance = instruction.operands[field === "Rd" && isAddition ? "immediate" : "offset"];
  return distance !== undefined && "i64" in distance && distance.i64(fields) % BigInt(STACK_ALIGNMENT) === 0n;
}

/** The same instruction, where what it writes to SP may be misaligned, or aligned again. */
function toStack(instruction: Instruction, field: RegisterField): Instruction {
  return {
    ...withStackPointer(instruction, field, (fields) => !keepsAlignment(instruction, field, fields)),
    mnemonic: `${instruction.mnemonic}, to SP`,
    execute(form, operands, stage) {
      instruction.execute(form, operands, stage);
      const low = stage.and(stage.truncate32(stage.read(sp)), stage.constant32(STACK_ALIGNMENT - 1));
      const known = stage.and(stage.read(contextWord), stage.constant32(Context.stackMisaligned));
      stage.if(stage.or(low, known), () => {
        contextChanged(stage);
        stage.endBlock("stack alignment");
      });
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

const fromMisalignedStackOf = remembered(fromMisalignedStack);
const alignedOf = remembered(aligned);
const toStackOf: Readonly<Record<RegisterField, (instruction: Instruction) => Instruction>> = {
  Rn: remembered((instruction) => toStack(instruction, "Rn")),
  Rd: remembered((instruction) => toStack(instruction, "Rd")),
};

/** `instructions`, with what may change the alignment of SP taken note of. */
export function withStackTracked(instructions: readonly Instruction[]): readonly Instruction[] {
  const writers = instructions.flatMap((instruction) => {
    const field = stackWritingField(instruction);
    return field === undefined ? [] : [toStackOf[field](instruction)];
  });
  return [...writers, ...instructions];
}

/** `instructions` while SP is misaligned and checked. */
export function withStackRefused(instructions: readonly Instruction[]): readonly Instruction[] {
  return [...instructions.filter(mayHaveStackBase).map(fromMisalignedStackOf), ...withStackTracked(instructions)];
}

export function withAlignmentChecked(instructions: readonly Instruction[]): readonly Instruction[] {
  return instructions.map((instruction) => (isLoadOrStore(instruction) ? alignedOf(instruction) : instruction));
}
