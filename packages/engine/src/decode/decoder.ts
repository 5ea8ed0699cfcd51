/** Finds the definition of an encoding of 32 bits. */
import type { Instruction } from "../stage/instruction.js";
import { packForm } from "./form.js";
import { type CompiledPattern, compilePattern, extractFields } from "./pattern.js";

export interface Decoded {
  readonly instruction: Instruction;
  readonly fields: Readonly<Record<string, number>>;
  /** Position of the definition in the list, and its form fields packed into a number: together the variant. */
  readonly definition: number;
  readonly form: number;
}

interface Candidate {
  readonly instruction: Instruction;
  readonly pattern: CompiledPattern;
  readonly definition: number;
}

/** Candidates are found by these bits: on A64, bits 28 to 21 tell the classes apart best. */
const BUCKET_SHIFT = 21;
const BUCKET_COUNT = 2048;

export class Decoder {
  readonly instructions: readonly Instruction[];
  readonly #buckets: Candidate[][] = [];

  constructor(instructions: readonly Instruction[]) {
    this.instructions = instructions;
    const candidates = instructions.map((instruction, definition) => ({
      instruction,
      pattern: compilePattern(instruction.pattern),
      definition,
    }));
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      const bits = (bucket << BUCKET_SHIFT) >>> 0;
      const known = ((BUCKET_COUNT - 1) << BUCKET_SHIFT) >>> 0;
      this.#buckets.push(candidates.filter(({ pattern }) => ((bits ^ pattern.value) & pattern.mask & known) === 0));
    }
  }

  /** The first definition in order that matches, or undefined. */
  decode(encoding: number): Decoded | undefined {
    for (const { instruction, pattern, definition } of this.#buckets[encoding >>> BUCKET_SHIFT] ?? []) {
      if ((encoding & pattern.mask) >>> 0 !== pattern.value) continue;
      const fields = extractFields(pattern, encoding);
      if (instruction.where !== undefined && !instruction.where(fields)) continue;
      const maskOf = (name: string): number => pattern.fields.find((field) => field.name === name)?.mask ?? 0;
      return { instruction, fields, definition, form: packForm(instruction, maskOf, fields) };
    }
    return undefined;
  }
}
