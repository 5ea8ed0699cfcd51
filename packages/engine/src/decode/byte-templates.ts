/**
 * Records of instructions of variable length that were decoded before: what bytes mean does not depend on where they stand,
 * and of most instructions it is the first bytes that say what they are; the numbers at the end only fill places.
 */
import type { Instruction } from "../stage/instruction.js";
import { type OperandPlace, operandValue, writeOperand } from "./record.js";
import type { TailNumber } from "./variable-length.js";

/** Heads that are kept before all are forgotten; a kernel with its userland has some thousands. */
const TEMPLATES_MAX = 1 << 16;
const RECORD_WORDS = 8;

type Source = Instruction["operands"][string];

/** An operand that depends on the numbers at the end. */
interface VaryingOperand {
  readonly place: OperandPlace;
  readonly source: Source;
}

/** Classes, so that all have one shape: this runs a hundred thousand times in a boot. */
class Template {
  readonly length: number;
  /** The record of the one that was kept. */
  readonly words: Int32Array;
  /** Overwritten with each use: those of `numbers`. */
  readonly fields: Record<string, number> = {};
  readonly numbers: readonly TailNumber[];
  readonly varying: readonly VaryingOperand[];

  constructor(kept: KeptBytes, words: Int32Array) {
    this.length = kept.length;
    this.words = words;
    this.numbers = kept.tail;
    this.varying = varyingOf(kept);
    for (const [name, value] of Object.entries(kept.fields)) this.fields[name] = value;
  }
}

/** Of the tree by bytes of a head: one that ends here, or what may follow. */
class Node {
  template: Template | undefined = undefined;
  next: (Node | undefined)[] | undefined = undefined;
}

/** What was decoded, and where its complete record lies. */
export interface KeptBytes {
  readonly instruction: Instruction;
  readonly places: ReadonlyMap<string, OperandPlace>;
  readonly fields: Readonly<Record<string, number>>;
  readonly length: number;
  readonly tail: readonly TailNumber[];
  /** Bytes. */
  readonly record: number;
}

/** One for each list of definitions. */
export class ByteTemplates {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #view: DataView;
  #root = new Node();
  #count = 0;

  constructor(buffer: ArrayBuffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** Writes the record of the instruction at `at`, which must end at `end` or before; false: it is not known. */
  copy(at: number, end: number, record: number): boolean {
    let node: Node | undefined = this.#root;
    for (let from = at; node.template === undefined; from++) {
      if (from >= end) return false;
      node = node.next?.[this.#bytes[from] ?? 0];
      if (node === undefined) return false;
    }
    if (at + node.template.length > end) return false;
    this.#write(node.template, at, record);
    return true;
  }

  #write({ words, numbers, fields, varying }: Template, at: number, record: number): void {
    for (let word = 0; word < RECORD_WORDS; word++) this.#words[(record >> 2) + word] = words[word] ?? 0;
    if (varying.length === 0) return;
    for (const number of numbers) fields[number.field] = this.#signed(at + number.at, number.bytes);
    for (const { place, source } of varying) writeOperand(this.#view, record, place, operandValue(source, fields));
  }

  /** Keeps what stands at `at`, if the definition makes no variants by the numbers at its end. */
  keep(at: number, kept: KeptBytes): void {
    const { instruction, tail, length, record } = kept;
    if (tail.some(({ field }) => instruction.formFields.includes(field))) return;
    if (++this.#count > TEMPLATES_MAX) this.#forget();
    const headBytes = tail[0]?.at ?? length;
    let node = this.#root;
    for (let from = at; from < at + headBytes; from++) {
      node.next ??= new Array<Node | undefined>(256);
      node = node.next[this.#bytes[from] ?? 0] ??= new Node();
    }
    node.template = new Template(kept, this.#words.slice(record >> 2, (record >> 2) + RECORD_WORDS));
  }

  #forget(): void {
    this.#root = new Node();
    this.#count = 1;
  }

  #signed(at: number, bytes: number): number {
    if (bytes === 4) return this.#view.getInt32(at, true);
    return bytes === 1 ? this.#view.getInt8(at) : this.#view.getInt16(at, true);
  }
}

/** Operands whose sources look at a number of the tail: one that has not looked will not with another number either. */
function varyingOf({ instruction, places, fields, tail }: KeptBytes): readonly VaryingOperand[] {
  return [...places].flatMap(([name, place]) => {
    const source = instruction.operands[name];
    return source !== undefined && looksAt(source, fields, tail) ? [{ place, source }] : [];
  });
}

function looksAt(source: Source, fields: KeptBytes["fields"], tail: readonly TailNumber[]): boolean {
  let looked = false;
  const watched = new Proxy(fields, {
    get(target, name) {
      if (tail.some(({ field }) => field === name)) looked = true;
      return Reflect.get(target, name) as number;
    },
  });
  operandValue(source, watched);
  return looked;
}
