/** Variants: one per definition and form, numbered as they are met. */
import { programOf } from "../stage/program-builder.js";
import type { Instruction } from "../stage/instruction.js";
import type { Program } from "../stage/program.js";
import type { Decoded } from "./decoder.js";
import { fieldMask, packForm } from "./form.js";
import {
  FIRST_VARIANT,
  type OperandPlace,
  operandsEnd,
  outOfLineRecordBytes,
  placeOperands,
  RECORD_UNIT,
} from "./record.js";

/** What is made of the definition is made when it is first asked for: most variants of a profile run by code that is there. */
export class Variant {
  readonly id: number;
  readonly instruction: Instruction;
  readonly form: Readonly<Record<string, number>>;
  readonly #packed: number;
  readonly #granule: 1 | 4;
  #program: Program | undefined;
  #places: ReadonlyMap<string, OperandPlace> | undefined;
  /** It stands in the main loop. Set before its first record is written. */
  isInline = false;

  constructor(
    id: number,
    { instruction, form, packed }: Pick<Variant, "instruction" | "form"> & { readonly packed: number },
    granule: 1 | 4,
  ) {
    this.id = id;
    this.instruction = instruction;
    this.form = form;
    this.#packed = packed;
    this.#granule = granule;
  }

  get program(): Program {
    return (this.#program ??= staged(this.instruction, this.#packed, this.form));
  }

  /** Where a record holds the operands. */
  get places(): ReadonlyMap<string, OperandPlace> {
    return (this.#places ??= placeOperands(this.instruction, this.#granule));
  }

  /** Bytes of its records. Those of all that stand outside the main loop are the same: it steps over them without knowing which. */
  get recordBytes(): number {
    const isSmall = this.isInline && operandsEnd(this.places) <= RECORD_UNIT;
    return isSmall ? RECORD_UNIT : outOfLineRecordBytes(this.#granule);
  }
}

export class VariantTable {
  readonly #granule: 1 | 4;
  readonly #byForm = new Map<Instruction, Map<number, Variant>>();
  readonly variants: Variant[] = [];

  constructor(granule: 1 | 4) {
    this.#granule = granule;
  }

  /** The variant of a decoded instruction. */
  of(decoded: Pick<Decoded, "instruction" | "fields" | "form">): Variant {
    return this.#get(decoded.instruction, decoded.form, () => formOf(decoded.instruction, decoded.fields));
  }

  /** The variant with these form fields. */
  ofForm(instruction: Instruction, form: Readonly<Record<string, number>>): Variant {
    const packed = packForm(instruction, form);
    return this.#get(instruction, packed, () => formOf(instruction, form));
  }

  /** One that was given out. */
  ofId(id: number): Variant {
    const variant = this.variants[id - FIRST_VARIANT];
    if (variant === undefined) throw new RangeError(`variant ${id} of ${this.variants.length}`);
    return variant;
  }

  #get(instruction: Instruction, packed: number, makeForm: () => Record<string, number>): Variant {
    let forms = this.#byForm.get(instruction);
    if (forms === undefined) this.#byForm.set(instruction, (forms = new Map<number, Variant>()));
    const known = forms.get(packed);
    if (known !== undefined) return known;
    const id = FIRST_VARIANT + this.variants.length;
    const made = new Variant(id, { instruction, form: makeForm(), packed }, this.#granule);
    forms.set(packed, made);
    this.variants.push(made);
    return made;
  }
}

const stagedForms = new WeakMap<Instruction, Map<number, Program>>();

/** A definition is run once a form in a process, however many engines there are: a program is never written to. */
function staged(instruction: Instruction, packed: number, form: Readonly<Record<string, number>>): Program {
  const forms = stagedForms.get(instruction) ?? new Map<number, Program>();
  stagedForms.set(instruction, forms);
  const known = forms.get(packed);
  if (known !== undefined) return known;
  const made = programOf(instruction, form);
  forms.set(packed, made);
  return made;
}

function formOf(instruction: Instruction, fields: Readonly<Record<string, number>>): Record<string, number> {
  const form: Record<string, number> = {};
  for (const name of instruction.formFields) form[name] = fields[name] ?? 0;
  return form;
}

/** All variants of a list of definitions that `where` allows; for tests and tables. Skips definitions with more forms than `formsMax`. */
export function* everyForm(
  instructions: readonly Instruction[],
  formsMax = 4096,
): Generator<{ readonly instruction: Instruction; readonly form: Record<string, number> }> {
  for (const instruction of instructions) {
    const counts = instruction.formFields.map((name) => fieldMask(instruction, name) + 1);
    const total = counts.reduce((product, count) => product * count, 1);
    if (total > formsMax) continue;
    for (let number = 0; number < total; number++) {
      let rest = number;
      const form: Record<string, number> = {};
      instruction.formFields.forEach((name, index) => {
        form[name] = rest % (counts[index] ?? 1);
        rest = Math.floor(rest / (counts[index] ?? 1));
      });
      yield { instruction, form };
    }
  }
}
