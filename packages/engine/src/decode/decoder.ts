/** Finds the definition of an encoding of 32 bits. */
import type { Instruction } from "../stage/instruction.js";
import { type CompiledPattern, compilePattern, extractFields, type PatternField } from "./pattern.js";

export interface Decoded {
  readonly instruction: Instruction;
  readonly fields: Readonly<Record<string, number>>;
  /** Its form fields packed into a number; with the definition, the variant. */
  readonly form: number;
}

interface Candidate {
  readonly instruction: Instruction;
  readonly pattern: CompiledPattern;
  /** Of the form fields, in their order. */
  readonly form: readonly PatternField[];
}

/** Candidates are found by these bits: on A64, bits 28 to 21 tell the classes apart best. */
const BUCKET_SHIFT = 21;
const BUCKET_COUNT = 2048;

export class Decoder {
  readonly instructions: readonly Instruction[];
  readonly #candidates: readonly Candidate[];
  /** Made when first asked for: most guests meet a third of them. */
  readonly #buckets = new Array<readonly Candidate[] | undefined>(BUCKET_COUNT);

  constructor(instructions: readonly Instruction[]) {
    this.instructions = instructions;
    this.#candidates = instructions.map((instruction) => {
      const pattern = compilePattern(instruction.pattern);
      const form = instruction.formFields.flatMap((name) => pattern.fields.find((field) => field.name === name) ?? []);
      return { instruction, pattern, form };
    });
  }

  /** The first definition in order that matches, or undefined. */
  decode(encoding: number): Decoded | undefined {
    for (const { instruction, pattern, form } of this.#bucket(encoding >>> BUCKET_SHIFT)) {
      if ((encoding & pattern.mask) >>> 0 !== pattern.value) continue;
      const fields = extractFields(pattern, encoding);
      if (instruction.where !== undefined && !instruction.where(fields)) continue;
      return { instruction, fields, form: packFields(form, encoding) };
    }
    return undefined;
  }

  #bucket(index: number): readonly Candidate[] {
    const known = this.#buckets[index];
    if (known !== undefined) return known;
    const bits = (index << BUCKET_SHIFT) >>> 0;
    const fixed = ((BUCKET_COUNT - 1) << BUCKET_SHIFT) >>> 0;
    const made = this.#candidates.filter(({ pattern }) => ((bits ^ pattern.value) & pattern.mask & fixed) === 0);
    this.#buckets[index] = made;
    return made;
  }
}

/** As `packForm`, from the encoding itself. */
function packFields(form: readonly PatternField[], encoding: number): number {
  let packed = 0;
  for (const { shift, mask } of form) packed = packed * (mask + 1) + (((encoding >>> shift) & mask) >>> 0);
  return packed;
}
