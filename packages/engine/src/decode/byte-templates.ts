/**
 * Records of instructions of variable length that were decoded before: what bytes mean does not depend on where they stand,
 * and of most instructions it is the first bytes that say what they are; the numbers at the end only fill places.
 */
import type { Instruction } from "../stage/instruction.js";
import { type OperandPlace, operandValue, writeOperand } from "./record.js";
import type { TailNumber } from "./variable-length.js";

/** Bytes of heads that are kept before all are forgotten; a kernel with its userland has some ten thousand. */
const NODES_MAX = 1 << 18;
const FIRST_NODES = 1 << 12;
/** Of the larger size. */
const RECORD_WORDS = 8;
const ROOT = 0;
/** Spreads keys, which differ in a few bits, over the table (Knuth's multiplicative hashing). */
const SPREAD = 0x9e37_79b1 | 0;

type Source = Instruction["operands"][string];

/** An operand that depends on the numbers at the end. */
interface VaryingOperand {
  readonly place: OperandPlace;
  readonly source: Source;
}

/** A class, so that all have one shape: this runs a hundred thousand times in a boot. */
class Template {
  readonly length: number;
  /** Of its records. */
  readonly recordBytes: number;
  /** Overwritten with each use: those of `numbers`. */
  readonly fields: Record<string, number> = {};
  readonly numbers: readonly TailNumber[];
  readonly varying: readonly VaryingOperand[];

  constructor(kept: KeptBytes) {
    this.length = kept.length;
    this.recordBytes = kept.recordBytes;
    this.numbers = kept.tail;
    this.varying = varyingOf(kept);
    // Of most instructions nothing varies.
    if (this.varying.length > 0) for (const [name, value] of Object.entries(kept.fields)) this.fields[name] = value;
  }
}

/** Bytes of an instruction whose record has been written, and of the record. */
export type Written = Pick<Template, "length" | "recordBytes">;

/** "crosses": the instruction is known, and ends behind `end`. */
export type CopyResult = Written | "unknown" | "crosses";

/** What was decoded, and where its complete record lies. */
export interface KeptBytes {
  readonly instruction: Instruction;
  readonly places: ReadonlyMap<string, OperandPlace>;
  readonly fields: Readonly<Record<string, number>>;
  readonly length: number;
  readonly tail: readonly TailNumber[];
  readonly record: number;
  readonly recordBytes: number;
}

/** One for each list of definitions. Nodes are numbers, and what leads from one to another a hash table: no garbage. */
export class ByteTemplates {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #view: DataView;
  /** By node: the template that ends there, and its record. */
  #templates: (Template | undefined)[] = [undefined];
  #records = new Int32Array(FIRST_NODES * RECORD_WORDS);
  /** Node and byte together, then the node behind them; 0 in an empty place. With linear probing: half of it stays empty. */
  #edges = new Int32Array(FIRST_NODES * 2);

  constructor(buffer: ArrayBuffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** Writes the record of the instruction at `at`, if it is known and ends at `end` or before. */
  copy(at: number, end: number, record: number): CopyResult {
    let node = ROOT;
    for (let from = at; from < end; from++) {
      node = this.#edges[this.#edge(node, this.#bytes[from] ?? 0) + 1] ?? 0;
      if (node === 0) return "unknown";
      const template = this.#templates[node];
      if (template === undefined) continue;
      if (at + template.length > end) return "crosses";
      this.#write(template, node, at, record);
      return template;
    }
    return "unknown";
  }

  #write({ recordBytes, numbers, fields, varying }: Template, node: number, at: number, record: number): void {
    const from = node * RECORD_WORDS;
    const to = record >>> 2;
    for (let word = 0; word < recordBytes >> 2; word++) this.#words[to + word] = this.#records[from + word] ?? 0;
    if (varying.length === 0) return;
    for (const number of numbers) fields[number.field] = this.#signed(at + number.at, number.bytes);
    for (const { place, source } of varying) writeOperand(this.#view, record, place, operandValue(source, fields));
  }

  /** Keeps what stands at `at`, if the definition makes no variants by the numbers at its end. */
  keep(at: number, kept: KeptBytes): void {
    const { instruction, tail, length, record, recordBytes } = kept;
    if (tail.some(({ field }) => instruction.formFields.includes(field))) return;
    if (this.#templates.length > NODES_MAX) this.#forget();
    const headBytes = tail[0]?.at ?? length;
    let node = ROOT;
    for (let from = at; from < at + headBytes; from++) node = this.#follow(node, this.#bytes[from] ?? 0);
    this.#templates[node] = new Template(kept);
    this.#records.set(this.#words.subarray(record >>> 2, (record + recordBytes) >>> 2), node * RECORD_WORDS);
  }

  /** The node behind a byte, made when there is none. */
  #follow(node: number, byte: number): number {
    const known = this.#edges[this.#edge(node, byte) + 1] ?? 0;
    if (known !== 0) return known;
    if (2 * this.#templates.length * RECORD_WORDS >= this.#records.length) this.#grow();
    const made = this.#templates.push(undefined) - 1;
    const place = this.#edge(node, byte);
    this.#edges[place] = (node << 8) | byte;
    this.#edges[place + 1] = made;
    return made;
  }

  /** Where the way from a node by a byte stands, or would. */
  #edge(node: number, byte: number): number {
    const edges = this.#edges;
    const key = (node << 8) | byte;
    const mask = edges.length - 1;
    let place = (Math.imul(key, SPREAD) >>> 8) & mask & ~1;
    while (edges[place + 1] !== 0 && edges[place] !== key) place = (place + 2) & mask;
    return place;
  }

  #grow(): void {
    const records = new Int32Array(2 * this.#records.length);
    records.set(this.#records);
    this.#records = records;
    const old = this.#edges;
    this.#edges = new Int32Array(2 * old.length);
    for (let from = 0; from < old.length; from += 2) {
      const key = old[from] ?? 0;
      if (old[from + 1] === 0) continue;
      const place = this.#edge(key >>> 8, key & 0xff);
      this.#edges[place] = key;
      this.#edges[place + 1] = old[from + 1] ?? 0;
    }
  }

  #forget(): void {
    this.#templates = [undefined];
    this.#edges.fill(0);
  }

  #signed(at: number, bytes: number): number {
    if (bytes === 4) return this.#view.getInt32(at, true);
    return bytes === 1 ? this.#view.getInt8(at) : this.#view.getInt16(at, true);
  }
}

/** Operands whose sources look at a number of the tail: one that has not looked will not with another number either. */
function varyingOf({ instruction, places, fields, tail }: KeptBytes): readonly VaryingOperand[] {
  if (tail.length === 0) return [];
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
